"""The whole training of a model that is ready to be saved: fitted, numbered, scored, with warnings."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from gmvae_cli.checkpoint import Checkpoint
from gmvae_cli.config import TrainConfig
from gmvae_cli.core import Encoder, Parameters
from gmvae_cli.data.lagged_rows import LaggedRows, training_rows
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.errors import CheckpointError, Note
from gmvae_cli.inference.posterior import Inference
from gmvae_cli.metrics.novelty_tail import larger, tail_of
from gmvae_cli.recognition.column_roles import Layout
from gmvae_cli.system.device import device_of
from gmvae_cli.system.progress import Progress
from gmvae_cli.training import diagnostics
from gmvae_cli.training.fit import Fit, fit
from gmvae_cli.training.given_labels import KnownSummary, named, summary_of
from gmvae_cli.training.numbering import number_regimes
from gmvae_cli.training.resume import NOTHING, ResumeLog
from gmvae_cli.training.sampling import spread

PACKAGES = ("torch", "numpy", "pyarrow")  # whose versions decide the bytes of a model
_TAIL_ROWS = 50_000  # of all rows, for the tail of the novelty: five of them lie above 4, in a second at most


@dataclass(frozen=True)
class Start:
    """The point from which training begins.

    Args:
        initial: parameters in the units of `training_rows`; None: training looks for its own.
        dwell: rows of the model that a visit is expected to last, None where nothing is known.
        agreement: root mean square ARI of a consensus that `initial` comes from with the labellings that it was made
            of, or mean ARI with those of as many regimes where they are of waveforms; None where likelihood alone
            decides.
        reason: one sentence that says how the regimes were chosen; empty where nothing was left to the data.
        names: of the regimes of `initial`, which stay theirs; empty where they have none.
    """

    initial: Parameters | None = None
    dwell: float | None = None
    agreement: float | None = None
    reason: str = ""
    names: tuple[str, ...] = ()

    @property
    def skip_annealing(self) -> bool:
        """Whether training stays where it starts: at a consensus, which steps on the likelihood would leave."""
        return self.agreement is not None


@dataclass(frozen=True)
class TrainedModel:
    """A model with its training summary inside, and the run that made it.

    Args:
        scores: `held_out_scores`, with `shares` and `expected_dwell` (rows) of the regimes.
        notes: warnings, also in the checkpoint's summary.
        known: known labels beside what the model says of their rows; None without any.
    """

    checkpoint: Checkpoint
    fit: Fit
    scores: dict[str, Any]
    notes: list[Note]
    known: KnownSummary | None = None


def train_model(
    data: SeriesData,
    layout: Layout,
    config: TrainConfig,
    start: Start,
    progress: Progress,
    notes: Sequence[Note],
    resume_log: ResumeLog = NOTHING,
    reference: Checkpoint | None = None,
) -> TrainedModel:
    """Train a model on a recording.

    Args:
        config: leaves nothing to the data. layout: the columns of the file, kept in the model.
        notes: on the data, which come before those on the model.
        resume_log: work that an interrupted run has done. reference: number the regimes as in this model.
    Raises:
        SeriesError: too few usable rows for the model.
    """
    lagged_rows = training_rows(data, config.model, device_of(config.device))
    result = fit(
        lagged_rows, config, start.dwell, progress, start.initial, resume_log, skip_annealing=start.skip_annealing
    )
    return summarise(result, lagged_rows, data, layout, config, start, progress, notes, reference)


def summarise(
    result: Fit,
    lagged_rows: LaggedRows,
    data: SeriesData,
    layout: Layout,
    config: TrainConfig,
    start: Start,
    progress: Progress,
    notes: Sequence[Note],
    reference: Checkpoint | None = None,
) -> TrainedModel:
    """Number, score and judge a model that was fitted to `lagged_rows` of `data`; as `train_model`."""
    trained = checkpoint_of(result.parameters, result.encoder, lagged_rows, data.channels, result.standard_errors)
    trained = replace(trained, names=named(data.known, start.names, result.order))
    trained, labels = number_regimes(trained, result.labels, reference, data, config.device, progress)
    scores = held_out_scores(trained, result, lagged_rows)
    shares = (labels.rows.numpy() / labels.rows.numpy().sum()).tolist()
    row_means = trained.mean + trained.scale * labels.sums / labels.values  # NaN without a value
    scores |= {"shares": shares, "expected_dwell": trained.expected_dwell}
    about_model = diagnostics.on_model(trained, scores, lagged_rows.data.mean)
    if start.agreement is not None:
        about_training = diagnostics.on_agreement(start.agreement)
    else:
        about_training = diagnostics.on_training(scores, result)
    trained, known = summary_of(data, trained, config.device, progress)
    warnings = [*notes, *about_model, *about_training, *(known.notes if known else ())]
    tail = {"novelty_tail": scores.pop("novelty_tail")}
    summary = scores | tail | {"converged": result.converged, "steps": result.steps, "seed": config.seed}
    summary |= (
        {"row_means": row_means.tolist()}
        | _origin(layout, data, config)
        | {"warnings": [note.to_json() for note in warnings]}
    )
    return TrainedModel(replace(trained, training=summary), result, scores, warnings, known)


def checkpoint_of(
    parameters: Parameters,
    encoder: Encoder,
    lagged_rows: LaggedRows,
    channels: tuple[str, ...],
    standard_errors: Tensor | None = None,
) -> Checkpoint:
    """Put parameters and encoder together with their columns and units; standard_errors (K, P, D, D) or None."""
    std_epsilon = lagged_rows.data.std_epsilon
    return Checkpoint(
        model=lagged_rows.model,
        channels=channels,
        mean=torch.as_tensor(lagged_rows.mean),
        scale=torch.as_tensor(lagged_rows.scale),
        parameters=parameters,
        encoder={name: value.detach().cpu() for name, value in encoder.state_dict().items()},
        standard_errors=standard_errors,
        std_epsilon=None if std_epsilon is None else torch.as_tensor(std_epsilon),
        waveforms=lagged_rows.data.waveforms,
    )


def held_out_scores(trained: Checkpoint, result: Fit, lagged_rows: LaggedRows) -> dict[str, Any]:
    """Score the model before its last passes on the rows that it never saw; without such rows the model on all.

    The scores are of the rows alone, whatever regimes of them are known, so that they compare with those of `infer`.

    Returns:
        `elbo_per_row`, `log_likelihood_per_row`, `amortisation_gap` (nats per usable row, standardised units, evidence
        scale 1), `log_likelihood_per_row_data_units`; None where no row is usable. `evaluated_on`: which rows.
        `novelty_tail`: as in `metrics.novelty_tail`, of the same rows, and of all.
    """
    lagged_rows, judged = replace(lagged_rows, dtype=torch.float64, known=None), trained
    tail_of_all = []
    if result.validation:
        tail_of_all = _novelty_tail(trained, replace(lagged_rows, ranges=spread(len(lagged_rows), _TAIL_ROWS)))
        judged = checkpoint_of(*result.validated, lagged_rows, trained.channels)
        lagged_rows = replace(lagged_rows, ranges=result.validation)
    encoder = judged.build_encoder("model")
    with (
        Inference.over(lagged_rows, judged, "smooth", evidence_scale=1.0) as exact,
        Inference.over(lagged_rows, judged, "encoder", encoder, evidence_scale=1.0) as amortised,
    ):
        rows, total = exact.usable * lagged_rows.model.summarize, amortised.elbo()
        log_likelihood = exact.log_likelihood / rows if rows else None
        elbo = total / rows if rows and total is not None else None
        in_data_units = (exact.log_likelihood - exact.log_volume) / rows if rows else None
    known = log_likelihood is not None and elbo is not None
    return {
        "elbo_per_row": elbo,
        "log_likelihood_per_row": log_likelihood,
        "log_likelihood_per_row_data_units": in_data_units,
        "amortisation_gap": log_likelihood - elbo if known else None,  # type: ignore[operator]
        "evaluated_on": "validation" if result.validation else "train",
        "novelty_tail": larger(_novelty_tail(judged, lagged_rows), tail_of_all),
    }


def _novelty_tail(model: Checkpoint, lagged_rows: LaggedRows) -> list[list[float]]:
    """Return the tail of the novelty of some rows."""
    with Inference.over(lagged_rows, model, "filter", novelty=True) as applied:
        return tail_of(applied.novelty())


def _origin(layout: Layout, data: SeriesData, config: TrainConfig) -> dict[str, Any]:
    """Collect the facts about the file that later runs on other files use."""
    return {
        "rows": data.rows,
        "series_count": data.num_series,
        "time": layout.time,
        "series": layout.series,
        "reading": layout.reading(),
        "step": data.step,
        "time_unit": data.time_unit,
        "estimator": config.estimator,
        "versions": {name: version(name) for name in ("gmvae", *PACKAGES)},
    }


def initial_of(older: Checkpoint, config: TrainConfig, data: SeriesData) -> Parameters:
    """Convert the parameters of an older model, the one of --init, to columns standardised as those of this run.

    Raises:
        CheckpointError: it has another shape, or other channels.
    """
    for name in ("regimes", "lags", "stride", "summarize", "prior", "covariance", "noise", "intercept"):
        was, now = getattr(older.model, name), getattr(config.model, name)
        if was != now:
            raise CheckpointError(f"{config.init}: its {name} is {was}, but this run's is {now}; they must agree")
    require_channels(config.init, older, data.channels)
    lagged_rows = training_rows(data, config.model)
    units = older.mean, older.scale, torch.as_tensor(lagged_rows.mean), torch.as_tensor(lagged_rows.scale)
    return older.parameters.rescaled(older.model.lags, *units)


def require_channels(path: str | None, older: Checkpoint, channels: tuple[str, ...]) -> None:
    """Check that a model has the channels of this run.

    Raises:
        CheckpointError: it has others.
    """
    if older.channels != channels:
        raise CheckpointError(
            f"{path}: trained on {len(older.channels)} channels ({', '.join(older.channels)}), but this run has "
            f"{len(channels)} ({', '.join(channels)})"
        )
