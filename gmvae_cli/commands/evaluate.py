"""`gmvae evaluate`: judge labels against the truth, and a model by its likelihood."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from gmvae_cli.commands.gates import missed, parse
from gmvae_cli.config import EvaluateConfig, SeriesConfig
from gmvae_cli.errors import SeriesError
from gmvae_cli.files.series_reader import SeriesReader, open_series
from gmvae_cli.metrics import partition
from gmvae_cli.metrics.change_points import pooled_change_scores
from gmvae_cli.metrics.segments import runs
from gmvae_cli.system.progress import Progress

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
    gates = parse(config.fail_under, GATES)
    if model is None:
        reader = open_series([path], series)
        tally = _Tally(reader.name, config)
        for true, predicted, ids in _columns(reader, (config.truth, config.predicted), progress):
            tally.add(true, tally.predicted.encode(predicted), ids)
        result = _scores(tally)
    else:
        result = _with_model(path, series, model, config, progress)
    return replace(result, missed=missed(gates, result, SMALLER_IS_BETTER))


def _columns(reader: SeriesReader, names: Sequence[str], progress: Progress) -> Iterator[list[pa.ChunkedArray]]:
    """Label columns and series ids of a file, block by block."""
    rows = 0
    for table in reader.labels(names):
        yield table.columns
        rows += table.num_rows
        progress("evaluate", rows, reader.rows)


class _Coder:
    """Text to 0, 1, .. in order of appearance; null to -1."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}

    def encode(self, column: pa.ChunkedArray) -> partition.Labels:
        """(n,) codes."""
        encoded = column.combine_chunks().dictionary_encode()
        known = [self.codes.setdefault(text, len(self.codes)) for text in encoded.dictionary.to_pylist()]
        codes: partition.Labels = np.array([*known, -1], dtype=np.int32)[encoded.indices.fill_null(-1).to_numpy()]
        return codes


class _Tally:
    """What the scores are made of, counted block by block; rows without a true label are left out and close up.

    Attributes:
        rows, labelled: rows seen, and those of them that have a true label. counts: as `metrics.contingency`.
    """

    def __init__(self, source: str, config: EvaluateConfig) -> None:
        self.source, self.config = source, config
        self.true, self.predicted, self._ids = _Coder(), _Coder(), _Coder()
        self.rows = self.labelled = 0
        self.counts: partition.Labels = np.zeros((0, 0), np.int64)
        self._edges: tuple[list[partition.Labels], ...] = ([], [], [])
        self._last = (-1, -1, -1)  # of the last labelled row: true label, predicted label, series
        self._series, self._last_id = 0, -1

    def add(self, true: pa.ChunkedArray, predicted: partition.Labels, ids: pa.ChunkedArray) -> None:
        """Take in a block: true labels and series ids as text, predicted labels as codes, -1 for none."""
        codes, series = self.true.encode(true), self._numbered(self._ids.encode(ids))
        labelled = codes >= 0
        unjudged = np.flatnonzero(labelled & (predicted < 0))
        if len(unjudged):
            raise SeriesError(
                f"{self.source}: row {self.rows + unjudged[0] + 1}: column '{self.config.predicted}' is empty beside a "
                "true label; every row with a true label needs a predicted one"
            )
        self.rows += len(codes)
        columns = [column[labelled] for column in (codes, predicted, series)]
        self._count(columns[0], columns[1])  # also where no row counts: its predicted labels are known from now on
        if not len(columns[0]):
            return
        begins = np.diff(columns[-1], prepend=self._last[-1]) != 0
        for edges, column, last in zip(self._edges, columns, self._last, strict=True):
            edges.append(self.labelled + runs(column, begins, last).begun)
        self.labelled += len(columns[0])
        self._last = (int(columns[0][-1]), int(columns[1][-1]), int(columns[2][-1]))

    def edges(self) -> tuple[partition.Labels, ...]:
        """First rows of true segments, of predicted segments and of series, among labelled rows."""
        return tuple(np.concatenate(edges) for edges in self._edges)

    def _numbered(self, ids: partition.Labels) -> partition.Labels:
        """(n,) how many series began up to each row."""
        changed = np.diff(ids, prepend=self._last_id) != 0
        series: partition.Labels = self._series + np.cumsum(changed)
        self._series, self._last_id = int(series[-1]), int(ids[-1])
        return series

    def _count(self, true: partition.Labels, predicted: partition.Labels) -> None:
        shape = len(self.true.codes), len(self.predicted.codes)
        counts = partition.contingency(true.astype(np.int64), predicted, *shape)
        counts[: self.counts.shape[0], : self.counts.shape[1]] += self.counts
        self.counts = counts


def _scores(tally: _Tally) -> EvaluateResult:
    if not tally.labelled:
        raise SeriesError(f"{tally.source}: column '{tally.config.truth}' is empty, so there is no truth to judge by")
    true_order, true_names = _in_order(tally.true)
    predicted_order, predicted_names = _in_order(tally.predicted)
    counts = tally.counts[true_order][:, predicted_order]
    confusion, columns = partition.matched_confusion(counts)
    agreement = partition.partition_scores(counts)
    true_edges, predicted_edges, starts = tally.edges()
    changes = pooled_change_scores(true_edges, predicted_edges, starts, tally.labelled, tally.config.tolerance)
    return EvaluateResult(
        rows=tally.rows,
        unlabelled=tally.rows - tally.labelled,
        accuracy=partition.accuracy(counts),
        ari=agreement["ari"],
        nmi=agreement["nmi"],
        ami=agreement["ami"],
        v_measure=agreement["v_measure"],
        macro_f1=partition.macro_f1(counts),
        covering=partition.covering(true_edges, predicted_edges, tally.labelled),
        change_point_precision=changes.precision,
        change_point_recall=changes.recall,
        change_point_f1=changes.f1,
        hausdorff=changes.hausdorff,
        segments_true=len(true_edges),
        segments_predicted=len(predicted_edges),
        confusion=confusion.tolist(),
        labels_true=true_names,
        labels_predicted=[None if column < 0 else predicted_names[column] for column in columns],
    )


def _in_order(coder: _Coder) -> tuple[list[int], list[str]]:
    """Codes in the order of their names, whole numbers by value, and the names."""
    names = list(coder.codes)
    try:
        order = sorted(range(len(names)), key=lambda code: int(names[code]))
    except ValueError:
        order = sorted(range(len(names)), key=lambda code: names[code])
    return order, [names[code] for code in order]


def _with_model(
    path: str, series: SeriesConfig, model: str, config: EvaluateConfig, progress: Progress
) -> EvaluateResult:
    from gmvae_cli.inference.apply import judge
    from gmvae_cli.inference.posterior import in_portions
    from gmvae_cli.system.device import configure_process

    configure_process()
    with judge([path], series, model, config.device, progress) as judged:
        reader = judged.reader
        if config.truth in reader.layout.columns:
            tally = _Tally(reader.name, config)
            tally.predicted.codes = {str(regime): regime for regime in range(judged.num_regimes)}
            take = in_portions(judged.blocks())
            for true, ids in _columns(reader, (config.truth,), progress):
                tally.add(true, take(len(true)).regimes, ids)
            result = _scores(tally)
        elif config.truth != EvaluateConfig.truth:
            raise SeriesError(
                f"{reader.name}: no column '{config.truth}'; columns are: {', '.join(reader.layout.columns[:20])}"
            )
        else:
            result = EvaluateResult(rows=judged.rows, unlabelled=judged.rows)
        return replace(result, log_likelihood_per_row=judged.log_likelihood, elbo_per_row=judged.elbo)
