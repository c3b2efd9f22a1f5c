"""`gmvae evaluate`: compare labels with the true ones, and score a model by its likelihood."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from gmvae_cli.commands.gates import missed
from gmvae_cli.config import EvaluateConfig, SeriesConfig
from gmvae_cli.errors import SeriesError
from gmvae_cli.files.series_reader import SeriesReader, open_series
from gmvae_cli.metrics import partition
from gmvae_cli.metrics.change_points import pooled_change_scores
from gmvae_cli.metrics.label_counts import LabelCoder, LabelCounts
from gmvae_cli.recognition.column_roles import require_column
from gmvae_cli.regime_names import NAME_COLUMN
from gmvae_cli.system.progress import Progress

SMALLER_IS_BETTER = ("hausdorff",)


@dataclass(frozen=True, kw_only=True)
class EvaluateResult:
    """Scores; None where they need a truth, a model or an encoder that is lacking.

    `confusion` counts rows by true label (its rows, named by `labels_true`) and by matched predicted label
    (`labels_predicted`, None where a true label has no match). `missed` has a sentence for each gate that was missed.
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


def evaluate(
    path: str, config: EvaluateConfig, series: SeriesConfig, model: str | None, progress: Progress
) -> EvaluateResult:
    """Score the predicted labels of a file, or those that a model gives it, against its true ones.

    Rows without a true label are left out, and the rows around them close up. Scores of change points are per series.

    Args:
        model: path of a model that labels the rows and adds its likelihoods; then the file may lack the truth.
    """
    if model is None:
        reader = open_series([path], series)
        if config.predicted == EvaluateConfig.predicted and NAME_COLUMN in reader.layout.columns:
            config = replace(config, predicted=NAME_COLUMN)
        counts = LabelCounts()
        comparison = _Comparison(reader.name, config, counts)
        for true, predicted, ids in _columns(reader, (config.truth, config.predicted), progress):
            comparison.add(true, _encoded(counts.predicted, predicted), ids)
        result = comparison.result()
    else:
        result = _with_model(path, series, model, config, progress)
    return replace(result, missed=missed(config.gates, result, SMALLER_IS_BETTER))


def _columns(reader: SeriesReader, names: Sequence[str], progress: Progress) -> Iterator[list[pa.ChunkedArray]]:
    """Yield the label columns and the series ids of a file, block by block."""
    rows = 0
    for table in reader.labels(names):
        yield table.columns
        rows += table.num_rows
        progress("evaluate", rows, reader.rows)


class _Comparison:
    """True and predicted labels of one file, compared block by block."""

    def __init__(self, source: str, config: EvaluateConfig, counts: LabelCounts) -> None:
        self.source, self.config, self.counts = source, config, counts
        self._ids = LabelCoder()

    def add(self, true: pa.ChunkedArray, predicted: partition.Labels, ids: pa.ChunkedArray) -> None:
        """Count a block of n rows: true labels and series ids as text, predicted labels (n,) as codes, -1 for none."""
        codes = _encoded(self.counts.true, true)
        lacking = np.flatnonzero((codes >= 0) & (predicted < 0))
        if len(lacking):
            raise SeriesError(
                f"{self.source}: row {self.counts.rows + lacking[0] + 1}: column '{self.config.predicted}' is empty "
                "beside a true label; every row with a true label needs a predicted one"
            )
        self.counts.add(codes, predicted, _encoded(self._ids, ids))

    def result(self) -> EvaluateResult:
        """Compute the scores."""
        counts, config = self.counts, self.config
        if not counts.labelled:
            raise SeriesError(f"{self.source}: column '{config.truth}' is empty, so there is no truth to compare with")
        true_order, true_names = counts.true.in_order()
        predicted_order, predicted_names = counts.predicted.in_order()
        table = counts.table[true_order][:, predicted_order]
        confusion, columns = partition.matched_confusion(table)
        agreement = partition.partition_scores(table)
        true_starts, predicted_starts, series_starts = counts.starts()
        changes = pooled_change_scores(true_starts, predicted_starts, series_starts, counts.labelled, config.tolerance)
        return EvaluateResult(
            rows=counts.rows,
            unlabelled=counts.rows - counts.labelled,
            accuracy=partition.accuracy(table),
            ari=agreement["ari"],
            nmi=agreement["nmi"],
            ami=agreement["ami"],
            v_measure=agreement["v_measure"],
            macro_f1=partition.macro_f1(table),
            covering=partition.covering(true_starts, predicted_starts, counts.labelled),
            change_point_precision=changes.precision,
            change_point_recall=changes.recall,
            change_point_f1=changes.f1,
            hausdorff=changes.hausdorff,
            segments_true=len(true_starts),
            segments_predicted=len(predicted_starts),
            confusion=confusion.tolist(),
            labels_true=true_names,
            labels_predicted=[None if column < 0 else predicted_names[column] for column in columns],
        )


def _encoded(coder: LabelCoder, column: pa.ChunkedArray) -> partition.Labels:
    """Encode a column of text, null as -1.  (n,)"""
    encoded = column.combine_chunks().dictionary_encode()
    return coder.encode(encoded.dictionary.to_pylist(), encoded.indices.fill_null(-1).to_numpy())


def _with_model(
    path: str, series: SeriesConfig, model: str, config: EvaluateConfig, progress: Progress
) -> EvaluateResult:
    from gmvae_cli.inference.apply import judge
    from gmvae_cli.inference.labelled_rows import in_portions
    from gmvae_cli.system.device import configure_process

    configure_process()
    with judge([path], series, model, config.device, progress) as judged:
        reader = judged.reader
        if config.truth in reader.layout.columns:
            counts = LabelCounts(predicted=judged.names)
            comparison = _Comparison(reader.name, config, counts)
            take = in_portions(judged.blocks())
            for true, ids in _columns(reader, (config.truth,), progress):
                comparison.add(true, take(len(true)).regimes, ids)
            result = comparison.result()
        else:
            if config.truth != EvaluateConfig.truth:
                require_column(reader.name, reader.layout.columns, config.truth)
            result = EvaluateResult(rows=judged.rows, unlabelled=judged.rows)
        return replace(result, log_likelihood_per_row=judged.log_likelihood, elbo_per_row=judged.elbo)
