"""`gmvae train`: learn the regimes of a recording and save a model."""

import hashlib
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gmvae_cli.checkpoint import Checkpoint, load, write
from gmvae_cli.commands.dry_run import TRAIN_ROWS_PER_SECOND, TRAIN_SECONDS, Plan, plan
from gmvae_cli.config import SeriesConfig, TrainConfig
from gmvae_cli.core import Encoder, Parameters
from gmvae_cli.data.lagged_rows import LaggedRows, training_rows
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.errors import CheckpointError, Note
from gmvae_cli.files.atomic import atomic, require_apart
from gmvae_cli.files.series_reader import SeriesReader, open_series
from gmvae_cli.inference import apply
from gmvae_cli.inference.posterior import Inference
from gmvae_cli.metrics import partition
from gmvae_cli.model import ar_dynamics
from gmvae_cli.selection.search import OnNote, data_notes, dwell_rows, make_choices
from gmvae_cli.system.device import configure_process, device_of
from gmvae_cli.system.progress import Progress
from gmvae_cli.training import diagnostics
from gmvae_cli.training.fit import Fit, fit
from gmvae_cli.training.resume import NOTHING, ResumeFile
from gmvae_cli.training.sampling import require_rows

_PACKAGES = ("torch", "numpy", "pyarrow")
_SAME_SHARE = 0.01  # shares this close are no order; the regime seen first comes first


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What training found. Log-likelihood and ELBO are nats a row with evidence, in standardised units."""

    rows: int
    regimes: int
    channels: list[str]
    elbo_per_row: float | None
    log_likelihood_per_row: float | None
    log_likelihood_per_row_data_units: float | None
    amortisation_gap: float | None
    evaluated_on: str
    shares: list[float]
    expected_dwell: list[float]
    evidence_scale: float
    stride: int
    summarize: int
    agreement: float | None
    steps: int
    seconds: float
    rows_per_second: float
    converged: bool
    warnings: list[Note]
    model: str
    series: int
    holes: int
    breaks: int
    missing: int
    resumed: bool


def train(
    inputs: Sequence[str],
    model_path: str,
    config: TrainConfig,
    series: SeriesConfig,
    resume: bool | None,
    progress: Progress,
    on_note: OnNote | None = None,
) -> TrainResult:
    """Train on one table and write the model, whole or not at all.

    What is done is kept in a resume file beside the model, which is removed at success.

    Args:
        resume: go on from the resume file, if there is one; None keeps none, for a command that cannot go on.
        on_note: called with each property of the rows that may mislead a comparison of time scales, before it starts.
    """
    started = time.perf_counter()
    configure_process()
    require_apart({"--model": model_path}, inputs)
    device = device_of(config.device)
    older = load(config.init) if config.init else None
    reference = load(config.align_to) if config.align_to else None
    reader = open_series(inputs, series)
    with atomic(model_path) as temporary, reader.read_data(None, progress) as data:
        resume_log = NOTHING
        if resume is not None:
            resume_log = ResumeFile(f"{model_path}.resume", _identity(data, config, series, device))
        config, chosen = make_choices(config, data, progress, on_note)
        lagged_rows = training_rows(data, config.model, device)
        dwell = chosen.dwell if chosen else dwell_rows(config, data)
        initial = (
            chosen.initial if chosen else _initial(older, config, data.channels, lagged_rows.mean, lagged_rows.scale)
        )
        notes: list[tuple[str, str]] = [*data.notes, *(data_notes(data, config) if chosen else [])]
        resumed = bool(resume) and resume_log.load()
        with resume_log:
            result = fit(
                lagged_rows,
                config,
                dwell,
                progress,
                initial,
                resume_log,
                skip_annealing=chosen is not None and chosen.skip_annealing,
            )
            trained = _checkpoint(result.parameters, result.encoder, lagged_rows, data.channels, result.standard_errors)
            trained, counts = _named(trained, reference, config, data, progress)
            figures = _figures(trained, result, lagged_rows, counts)
            notes += diagnostics.on_model(trained, figures, lagged_rows.data.mean)
            if chosen is not None and chosen.agreement is not None:
                notes += diagnostics.on_agreement(chosen.agreement)
            else:
                notes += diagnostics.on_training(figures, result)
            warnings = [Note(*note) for note in notes]
            summary = figures | {"converged": result.converged, "steps": result.steps, "seed": config.seed}
            summary |= _origin(reader, data, config)
            write(temporary, replace(trained, training=summary | {"warnings": [note.to_json() for note in warnings]}))
    resume_log.remove()
    if resume_log.problem:
        warnings.append(Note("no_resume_file", f"an interrupted run would be lost: {resume_log.problem}"))
    seconds = time.perf_counter() - started
    return TrainResult(
        rows=data.rows,
        regimes=config.model.regimes,
        channels=list(data.channels),
        evidence_scale=float(result.parameters.evidence_scale),
        stride=config.model.stride,
        summarize=config.model.summarize,
        agreement=chosen.agreement if chosen else None,
        steps=result.steps,
        seconds=seconds,
        rows_per_second=data.rows / seconds,
        converged=result.converged,
        warnings=warnings,
        model=model_path,
        series=data.num_series,
        holes=data.holes,
        breaks=data.breaks,
        missing=int(data.missing.sum()),
        resumed=resumed,
        **figures,
    )


def dry_run(inputs: Sequence[str], config: TrainConfig, series: SeriesConfig, progress: Progress) -> Plan:
    """What `train` would read and need, refused where it would be; nothing is trained or written."""
    configure_process()
    device = device_of(config.device)
    with open_series(inputs, series).read_data(None, progress) as data:
        if config.search is None or config.search.time_scale is not None:  # the comparison takes as long as training
            config, _ = make_choices(config, data, progress)
        require_rows(training_rows(data, config.model, device), config)
        needed = 8 * data.rows  # the labelling that counts the regimes' rows
        return plan(data, needed, None, rows_per_second=TRAIN_ROWS_PER_SECOND, seconds=TRAIN_SECONDS)


def _identity(data: SeriesData, config: TrainConfig, series: SeriesConfig, device: torch.device) -> dict[str, Any]:
    """All that decides what training finds; a run with another identity cannot go on from this one."""
    options = asdict(config) | asdict(series)
    open_choices = [name for name, value in (options.pop("search") or {}).items() if value is None]
    options |= options.pop("model") | {"device": str(device)} | dict.fromkeys(open_choices, "auto")
    return {
        "the input": f"{data.rows:,} rows, digest {data.fingerprint()}",
        **{f"--{name.replace('_', '-')}": value for name, value in options.items()},
        **{
            f"the content of --{name}": _content(path)
            for name, path in (("init", config.init), ("align-to", config.align_to))
        },
        **{f"the version of {name}": version(name) for name in ("gmvae", *_PACKAGES)},
        "the processor": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
    }


def _content(path: str | None) -> str | None:
    """A digest of a file."""
    if path is None:
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _initial(
    older: Checkpoint | None,
    config: TrainConfig,
    channels: tuple[str, ...],
    mean: NDArray[np.float64],
    scale: NDArray[np.float64],
) -> Parameters | None:
    """The decoder and prior of an older model, for columns standardised as these are."""
    if older is None:
        return None
    for name in ("regimes", "lags", "stride", "summarize", "prior", "covariance", "noise", "intercept"):
        was, now = getattr(older.model, name), getattr(config.model, name)
        if was != now:
            raise CheckpointError(f"{config.init}: its {name} is {was}, but this run's is {now}; they must agree")
    _require_channels(config.init, older, channels)
    units = older.mean, older.scale, torch.as_tensor(mean), torch.as_tensor(scale)
    return older.parameters.rescaled(older.model.lags, *units)


def _require_channels(path: str | None, older: Checkpoint, channels: tuple[str, ...]) -> None:
    if older.channels != channels:
        raise CheckpointError(
            f"{path}: trained on {len(older.channels)} channels ({', '.join(older.channels)}), but this run has "
            f"{len(channels)} ({', '.join(channels)})"
        )


def _checkpoint(
    parameters: Parameters,
    encoder: Encoder,
    lagged_rows: LaggedRows,
    channels: tuple[str, ...],
    standard_errors: Tensor | None = None,
) -> Checkpoint:
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
    )


# --- names of regimes ------------------------------------------------------------------------------------------------


def _named(
    trained: Checkpoint, reference: Checkpoint | None, config: TrainConfig, data: SeriesData, progress: Progress
) -> tuple[Checkpoint, NDArray[np.int64]]:
    """The model with its regimes numbered by share, or as in an older model; and how many rows each regime labels."""
    K = config.model.regimes
    counts, first = np.zeros(K, np.int64), np.full(K, data.rows)
    overlap = np.zeros((K, reference.model.regimes if reference else 1), np.int64)
    if reference is not None:
        _require_channels(config.align_to, reference, data.channels)
    with apply.infer(data, trained, "smooth", config.device, progress=progress) as inferred:
        start = 0
        for block in inferred.blocks():
            present, at = np.unique(block.regimes, return_index=True)
            first[present] = np.minimum(first[present], start + at)
            counts += np.bincount(block.regimes, minlength=K)
            start += len(block.regimes)
        if reference is not None:
            with apply.infer(data, reference, "smooth", config.device, progress=progress) as older:
                for ours, theirs in zip(inferred.blocks(), older.blocks(), strict=True):
                    np.add.at(overlap, (ours.regimes, theirs.regimes), 1)
    order = _by_share(counts, first) if reference is None else _as_before(trained, reference, overlap)
    index = torch.as_tensor(order)
    encoder = dict(trained.encoder or {})
    last = max(name for name in encoder if name.endswith("weight")).removesuffix("weight")
    for name in (f"{last}weight", f"{last}bias"):
        encoder[name] = encoder[name][index]
    assert trained.standard_errors is not None
    parameters, errors = trained.parameters.permuted(index), trained.standard_errors[index]
    return replace(trained, parameters=parameters, encoder=encoder, standard_errors=errors), counts[order]


def _by_share(counts: NDArray[np.int64], first: NDArray[np.int64]) -> NDArray[np.int64]:
    """Old numbers in their new order: by decreasing share, where shares are as good as equal by first appearance."""
    order = np.argsort(-counts, kind="stable")
    leaders = -counts[order] / max(counts.sum(), 1)
    groups, leader = np.zeros(len(order), np.int64), leaders[0]
    for place in range(1, len(order)):
        near = leaders[place] - leader < _SAME_SHARE
        groups[place] = groups[place - 1] + (0 if near else 1)
        leader = leader if near else leaders[place]
    return order[np.lexsort((first[order], groups))]


def _as_before(trained: Checkpoint, reference: Checkpoint, overlap: NDArray[np.int64]) -> NDArray[np.int64]:
    """Old numbers in their new order: each regime takes the number of the older model's regime that it stands for.

    What regimes do decides: the rows they share, and for regimes that share none how alike their predictions are.
    """
    K = len(overlap)
    union = overlap.sum(1, keepdims=True) + overlap.sum(0, keepdims=True) - overlap
    likeness = overlap / np.maximum(union, 1)
    if all(getattr(reference.model, name) == getattr(trained.model, name) for name in ("lags", "stride", "summarize")):
        lags = trained.model.lags
        ours, theirs = (model.parameters.with_intercept(lags) for model in (trained, reference))
        theirs = theirs.rescaled(lags, reference.mean, reference.scale, trained.mean, trained.scale)
        emissions = ours.emission, theirs.emission
        weights = torch.cat([emission.weights for emission in emissions])
        tril = torch.cat([emission.scale_tril.expand(len(emission.weights), -1, -1) for emission in emissions])
        distance = ar_dynamics.divergence(weights, tril)[:K, K:].numpy()
        likeness = likeness + 0.01 / (1 + distance)
    numbers = partition.match(likeness[:, :K])
    free = iter(sorted(set(range(K)) - {number for number in numbers if number >= 0}))
    named = np.array([number if number >= 0 else next(free) for number in numbers])
    return np.argsort(named)


# --- figures ---------------------------------------------------------------------------------------------------------


def _figures(trained: Checkpoint, result: Fit, lagged_rows: LaggedRows, counts: NDArray[np.int64]) -> dict[str, Any]:
    """The numbers of a run, on held-out rows where there are any (then of the model that never saw them)."""
    lagged_rows, judged = replace(lagged_rows, dtype=torch.float64), trained
    if result.validation:
        judged = _checkpoint(*result.validated, lagged_rows, trained.channels)
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
        "shares": (counts / counts.sum()).tolist(),
        "expected_dwell": trained.expected_dwell,
    }


def _origin(reader: SeriesReader, data: SeriesData, config: TrainConfig) -> dict[str, Any]:
    """What a later run on another file needs to know of this one."""
    return {
        "rows": data.rows,
        "series_count": data.num_series,
        "time": reader.layout.time,
        "series": reader.layout.series,
        "step": data.step,
        "time_unit": data.time_unit,
        "estimator": config.estimator,
        "versions": {name: version(name) for name in ("gmvae", *_PACKAGES)},
    }
