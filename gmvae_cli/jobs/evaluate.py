"""`gmvae evaluate`: judge labels against the truth, and a model by its likelihood."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from gmvae_cli import metrics
from gmvae_cli.config import EvaluateConfig, SeriesConfig
from gmvae_cli.errors import ConfigError, SeriesError
from gmvae_cli.progress import Progress
from gmvae_cli.series import SeriesReader, open_series

SMALLER_IS_BETTER = ("hausdorff",)


@dataclass(frozen=True, kw_only=True)
class EvaluateResult:
    """The scores; None where there is nothing to judge by (no truth, no model, no encoder).

    `confusion` counts rows by true label (its rows, named by `labels_true`) and by the predicted label that stands for
    it (`labels_predicted`, None where no label does). `missed` has one sentence for every gate that was missed.
    """

    rows: int
    unlabelled: int
    accuracy: float | None = None
    ari: float | None = None
    nmi: float | None = None
    ami: float | None = None
    v_measure: float | None = None
    macro_f1: float | None = None
    covering: float | None = None
    change_point_precision: float | None = None
    change_point_recall: float | None = None
    change_point_f1: float | None = None
    hausdorff: float | None = None
    segments_true: int | None = None
    segments_predicted: int | None = None
    confusion: list[list[int]] | None = None
    labels_true: list[str] | None = None
    labels_predicted: list[str | None] | None = None
    elbo_per_row: float | None = None
    log_likelihood_per_row: float | None = None
    missed: tuple[str, ...] = ()


GATES = (
    "accuracy",
    "ari",
    "nmi",
    "ami",
    "v_measure",
    "macro_f1",
    "covering",
    "change_point_precision",
    "change_point_recall",
    "change_point_f1",
    "hausdorff",
    "elbo_per_row",
    "log_likelihood_per_row",
)


def evaluate(
    path: str, config: EvaluateConfig, series: SeriesConfig, model: str | None, progress: Progress
) -> EvaluateResult:
    """Score the predicted labels of a file, or those that a model gives it, against its true ones.

    Rows without a true label are left out, and the rows around them close up. Scores of change points are per series.

    Args:
        model: labels the rows and adds its likelihoods; then the file may lack the truth (likelihoods only).
    """
    gates = [_gate(text) for text in config.fail_under]
    if model is None:
        labels = _Labels(open_series([path], series), (config.truth, config.predicted), progress)
        result = _scores(labels, labels.codes[1], labels.names[1], config)
    else:
        result = _with_model(path, series, model, config, progress)
    missed = (_missed(name, limit, getattr(result, name)) for name, limit in gates)
    return replace(result, missed=tuple(sentence for sentence in missed if sentence))


class _Labels:
    """Label columns of a file as codes, -1 where a cell has none, and the rows where a series starts."""

    def __init__(self, reader: SeriesReader, columns: Sequence[str], progress: Progress) -> None:
        self.columns = columns
        *coders, ids = (_Coder() for _ in (*columns, "series"))
        blocks: list[list[metrics.Labels]] = [[] for _ in columns]
        starts: list[metrics.Labels] = []
        rows, series_before = 0, -2  # of no series
        for table in reader.labels(columns):
            *labels, series = table.columns
            for coder, column, codes in zip(coders, labels, blocks, strict=True):
                codes.append(coder.encode(column))
            series = ids.encode(series)
            starts.append(rows + np.flatnonzero(np.diff(series, prepend=series_before)))
            rows, series_before = rows + len(series), series[-1]
            progress("evaluate", rows, reader.rows)
        self.source = reader.name
        self.codes = [np.concatenate(codes) for codes in blocks]
        self.names = [list(coder.codes) for coder in coders]
        self.starts = np.concatenate(starts)


class _Coder:
    """Text to 0, 1, .. in order of appearance; null to -1."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}

    def encode(self, column: pa.ChunkedArray) -> metrics.Labels:
        """(n,) codes."""
        encoded = column.combine_chunks().dictionary_encode()
        known = [self.codes.setdefault(text, len(self.codes)) for text in encoded.dictionary.to_pylist()]
        codes: metrics.Labels = np.array([*known, -1], dtype=np.int32)[encoded.indices.fill_null(-1).to_numpy()]
        return codes


def _scores(
    labels: _Labels, predicted: metrics.Labels, predicted_names: list[str], config: EvaluateConfig
) -> EvaluateResult:
    true = labels.codes[0]
    labelled, left_out = true >= 0, np.flatnonzero(true < 0)
    if len(left_out) == len(true):
        raise SeriesError(f"{labels.source}: column '{labels.columns[0]}' is empty, so there is no truth to judge by")
    unjudged = np.flatnonzero(labelled & (predicted < 0))
    if len(unjudged):
        raise SeriesError(
            f"{labels.source}: row {unjudged[0] + 1}: column '{config.predicted}' is empty beside a true label; "
            "every row with a true label needs a predicted one"
        )
    starts = np.unique(labels.starts - np.searchsorted(left_out, labels.starts))
    true, true_names = _in_order(true[labelled], labels.names[0])
    predicted, predicted_names = _in_order(predicted[labelled], predicted_names)
    starts = starts[starts < len(true)]
    counts = metrics.contingency(true, predicted, len(true_names), len(predicted_names))
    confusion, columns = metrics.matched_confusion(counts)
    agreement = metrics.partition_scores(true, predicted)
    changes = metrics.pooled_change_scores(true, predicted, starts, config.tolerance)
    return EvaluateResult(
        rows=len(labelled),
        unlabelled=len(left_out),
        accuracy=metrics.accuracy(counts),
        ari=agreement["ari"],
        nmi=agreement["nmi"],
        ami=agreement["ami"],
        v_measure=agreement["v_measure"],
        macro_f1=metrics.macro_f1(counts),
        covering=metrics.covering(true, predicted, starts),
        change_point_precision=changes.precision,
        change_point_recall=changes.recall,
        change_point_f1=changes.f1,
        hausdorff=changes.hausdorff,
        segments_true=len(np.union1d(metrics.change_points(true), starts)),
        segments_predicted=len(np.union1d(metrics.change_points(predicted), starts)),
        confusion=confusion.tolist(),
        labels_true=true_names,
        labels_predicted=[None if column < 0 else predicted_names[column] for column in columns],
    )


def _in_order(codes: metrics.Labels, names: list[str]) -> tuple[metrics.Labels, list[str]]:
    """The same labels with codes in the order of their names, whole numbers by value."""
    try:
        order = sorted(range(len(names)), key=lambda code: int(names[code]))
    except ValueError:
        order = sorted(range(len(names)), key=lambda code: names[code])
    return np.argsort(order).astype(np.int32)[codes], [names[code] for code in order]


def _with_model(
    path: str, series: SeriesConfig, model: str, config: EvaluateConfig, progress: Progress
) -> EvaluateResult:
    from gmvae_cli.apply import judge

    reader, regimes, num_regimes, log_likelihood, elbo = judge([path], series, model, config.device, progress)
    if config.truth in reader.layout.columns:
        labels = _Labels(reader, (config.truth,), progress)
        result = _scores(labels, regimes, [str(regime) for regime in range(num_regimes)], config)
    elif config.truth != EvaluateConfig.truth:
        raise SeriesError(
            f"{reader.name}: no column '{config.truth}'; columns are: {', '.join(reader.layout.columns[:20])}"
        )
    else:
        result = EvaluateResult(rows=len(regimes), unlabelled=len(regimes))
    return replace(result, log_likelihood_per_row=log_likelihood, elbo_per_row=elbo)


def _gate(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    if name not in GATES:
        raise ConfigError(f"--fail-under names '{name}', but must name one of {', '.join(GATES)}, as in ari=0.9")
    try:
        limit = float(value)
    except ValueError:
        limit = math.nan
    if not math.isfinite(limit):
        raise ConfigError(f"--fail-under {name} is given '{value}', but needs a number, as in {name}=0.9")
    return name, limit


def _missed(name: str, limit: float, value: float | None) -> str | None:
    if value is None:
        return f"missed --fail-under {name}={limit:g}: {name} is undefined here"
    excess = value - limit if name in SMALLER_IS_BETTER else limit - value
    if excess <= 0:
        return None
    side = "above" if name in SMALLER_IS_BETTER else "below"
    return f"missed --fail-under {name}={limit:g}: {name} is {value:.6g}, {excess:.3g} {side}"
