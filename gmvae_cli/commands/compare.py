"""`gmvae compare`: label the same rows by two models, and say what would change if one replaced the other."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gmvae_cli.checkpoint import Checkpoint, load
from gmvae_cli.commands.gates import missed
from gmvae_cli.config import CompareConfig, InferConfig, SeriesConfig
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.errors import ConfigError, Note, SeriesError
from gmvae_cli.files.atomic import require_apart
from gmvae_cli.files.inputs import SUFFIXES, expand, suffix_of
from gmvae_cli.files.series_reader import SeriesReader
from gmvae_cli.inference import apply
from gmvae_cli.inference.labelled_rows import LabelledRows, in_portions
from gmvae_cli.inference.scored_rows import BLOCK_ROWS
from gmvae_cli.metrics import partition
from gmvae_cli.metrics.segments import runs
from gmvae_cli.outputs.label_table import require_rows_stay
from gmvae_cli.outputs.moved_rows import PairedSegments
from gmvae_cli.system.device import configure_process
from gmvae_cli.system.progress import Progress


@dataclass(frozen=True, kw_only=True)
class CompareResult:
    """Labels of the same rows by two models, A and B, compared.

    Args:
        agreement: share of the rows that have the same regime in both, after the best one-to-one matching.
        ari: adjusted Rand index, which needs no matching.
        matched: a list of pairs, with `regime_a`, `name_a`, `regime_b`, `name_b` (None where a regime has no match),
            `rows_a`, `rows_b`, and `rows` that are in both.
        moved: other pairs of regimes that share rows, with `rows` and their `share`; the largest first.
        log_likelihood_per_row_a, log_likelihood_per_row_b: nats in data units, over the rows that both can score; their
            difference is B less A, None where the models do not score the same cells.
    """

    model_a: str
    model_b: str
    rows: int
    series: int
    agreement: float
    ari: float
    matched: list[dict[str, Any]]
    moved: list[dict[str, Any]]
    segments_a: int
    segments_b: int
    log_likelihood_per_row_a: float | None
    log_likelihood_per_row_b: float | None
    log_likelihood_difference: float | None
    output: str | None
    seconds: float
    warnings: list[Note]
    missed: tuple[str, ...] = ()


def compare(
    path_a: str,
    path_b: str,
    inputs: Sequence[str],
    output: str | None,
    config: CompareConfig,
    series: SeriesConfig,
    progress: Progress,
) -> CompareResult:
    """Label rows by two models, side by side in blocks, and count the pairs of their regimes.

    Args:
        output: path of the list of the stretches that moved; None: none is wanted.
    Raises:
        ConfigError: stdin as the input, or an output that replaces a file. CheckpointError, SeriesError: a model or a
            file that cannot be used.
    """
    started = time.perf_counter()
    configure_process()
    paths = path_a, path_b
    _require(inputs, paths, output)
    models = load(path_a), load(path_b)
    pairs = _Pairs(*(model.model.regimes for model in models))
    with _read(inputs, series, models, paths, progress) as (reader, tables), tempfile.TemporaryFile() as waiting:
        moves = None if output is None else PairedSegments(waiting, output, reader.layout, tables[0], models)
        notes = [*tables[0].notes, *tables[1].notes]
        with ExitStack() as opened:
            blocks = []
            for path, model, data in zip(paths, models, tables, strict=True):
                how = InferConfig(posterior=config.posterior, device=config.device)
                lasting, more = apply.with_shortest_visit(model, how, data)
                inferred = apply.infer(data, lasting, how.posterior, how.device, model_path=path, progress=progress)
                blocks.append(opened.enter_context(inferred).blocks())
                notes += more
            _count(pairs, reader, tables[0].rows, blocks, moves, progress)
        matched, moved = pairs.described(*models)
        if moves is not None:
            moves.write([(move["regime_a"], move["regime_b"]) for move in moved], series)
    means = pairs.log_likelihoods()
    is_comparable = _scores(models[0]) == _scores(models[1])
    notes = [*dict.fromkeys(notes), *_notes(matched, path_a, is_comparable)]
    result = CompareResult(
        model_a=path_a,
        model_b=path_b,
        rows=pairs.rows,
        series=tables[0].num_series,
        agreement=sum(pair["rows"] for pair in matched) / pairs.rows,
        ari=float(partition.adjusted_rand(pairs.table)),
        matched=matched,
        moved=moved,
        segments_a=pairs.segments[0],
        segments_b=pairs.segments[1],
        log_likelihood_per_row_a=None if means is None else means[0],
        log_likelihood_per_row_b=None if means is None else means[1],
        log_likelihood_difference=means[1] - means[0] if means is not None and is_comparable else None,
        seconds=time.perf_counter() - started,
        output=output,
        warnings=notes,
    )
    return replace(result, missed=missed(config.gates, result))


def _require(inputs: Sequence[str], models: tuple[str, str], output: str | None) -> None:
    """Check that the inputs can be read for each model, and that the output replaces nothing."""
    if "-" in inputs:
        raise ConfigError("- (stdin) can be read once only, but each model reads the rows for itself; name a file")
    require_apart({"--output": output}, [*models, *(file.path for file in expand(inputs))])
    if output is not None and suffix_of(output) is None:
        raise ConfigError(f"--output is '{output}', but its name must end in one of {', '.join(SUFFIXES)}")


@contextmanager
def _read(
    inputs: Sequence[str],
    config: SeriesConfig,
    models: tuple[Checkpoint, Checkpoint],
    paths: tuple[str, str],
    progress: Progress,
) -> Iterator[tuple[SeriesReader, tuple[SeriesData, SeriesData]]]:
    """Read the rows for each model; once, where both read them in the same way. Yields the reader of the first, too."""
    reader_a, reader_b = (apply.open_for(inputs, config, *of_model) for of_model in zip(models, paths, strict=True))
    is_same = (reader_a.layout, reader_a.config) == (reader_b.layout, reader_b.config)
    with reader_a.read_data(None, progress, keep_constant=True) as data:
        if is_same:
            yield reader_a, (data, data)
            return
        with reader_b.read_data(None, progress, keep_constant=True) as other:
            if other.rows != data.rows:
                raise SeriesError(
                    f"{data.name}: {paths[0]} reads {data.rows:,} rows of it, but {paths[1]} {other.rows:,}; give the "
                    "options of reading that hold for this file"
                )
            yield reader_a, (data, other)


def _count(
    pairs: "_Pairs",
    reader: SeriesReader,
    total: int,
    blocks: Sequence[Iterator[LabelledRows]],
    moves: PairedSegments | None,
    progress: Progress,
) -> None:
    """Count the labels of all rows, and list their stretches if that is wanted, which takes the cells of the rows."""
    takes = [in_portions(labelled) for labelled in blocks]
    if moves is None:
        while pairs.rows < total:
            pairs.add(*(take(min(BLOCK_ROWS, total - pairs.rows)) for take in takes))
            progress("compare", pairs.rows, total)
        return
    require_rows_stay(reader)
    for part in reader.parts():
        file = part.files[0].relative if len(reader.files) > 1 else None
        for cells in part.tables(BLOCK_ROWS, typed=moves.typed and reader.format == "csv"):
            labels = [take(cells.num_rows) for take in takes]
            pairs.add(*labels)
            moves.add(cells, part.name, file, *labels)
            progress("compare", pairs.rows, total)


class _Pairs:
    """Counts over rows that two models label.

    Attributes:
        table: (K_a, K_b) rows with each pair of regimes. segments: of each model.
    """

    def __init__(self, num_regimes_a: int, num_regimes_b: int) -> None:
        self.table = np.zeros((num_regimes_a, num_regimes_b), np.int64)
        self.segments = [0, 0]
        self._last: list[int | None] = [None, None]
        self._scored, self._sums = 0, np.zeros(2)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.table.sum())

    def add(self, *blocks: LabelledRows) -> None:
        """Count the next rows, as each model labels them."""
        one, two = blocks
        self.table += partition.contingency(one.regimes, two.regimes, *self.table.shape)
        for model, block in enumerate(blocks):
            self.segments[model] += len(runs(block.regimes, block.starts, self._last[model]).begun)
            self._last[model] = int(block.regimes[-1])
        both = ~np.isnan(one.log_likelihood) & ~np.isnan(two.log_likelihood)
        self._scored += int(both.sum())
        self._sums += [block.log_likelihood[both].sum() for block in blocks]

    def log_likelihoods(self) -> list[float] | None:
        """Average the log-likelihood by each model over the rows that both can score; None where there is none."""
        return [float(total) / self._scored for total in self._sums] if self._scored else None

    def described(self, *models: Checkpoint) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """List the matched regimes, then those without a match; and the other pairs that share rows."""
        used_a, used_b = (np.unique(model.merged) for model in models)
        table = self.table[np.ix_(used_a, used_b)]
        match = partition.match_labels(table)
        lone = np.setdiff1d(np.arange(len(used_b)), match)
        pairs = [*enumerate(match.tolist()), *((-1, int(column)) for column in lone)]
        matched = []
        for row, column in pairs:
            own, other = (None if row < 0 else int(used_a[row])), (None if column < 0 else int(used_b[column]))
            rows = {
                "rows_a": int(table[row].sum()) if row >= 0 else 0,
                "rows_b": int(table[:, column].sum()) if column >= 0 else 0,
                "rows": int(table[row, column]) if min(row, column) >= 0 else 0,
            }
            matched.append(_named(models, own, other) | rows)
        others = [pair for pair in np.argwhere(table).tolist() if match[pair[0]] != pair[1]]
        moved = [
            _named(models, int(used_a[row]), int(used_b[column]))
            | {"rows": int(table[row, column]), "share": float(table[row, column] / table.sum())}
            for row, column in others
        ]
        return matched, sorted(moved, key=lambda move: -move["rows"])


def _named(models: Sequence[Checkpoint], *regimes: int | None) -> dict[str, Any]:
    """Name a pair of regimes, either of which may be None."""
    pair: dict[str, Any] = {}
    for letter, model, regime in zip("ab", models, regimes, strict=True):
        pair[f"regime_{letter}"] = regime
        pair[f"name_{letter}"] = model.names[regime] or None if model.names and regime is not None else None
    return pair


def _scores(model: Checkpoint) -> tuple[set[str], int, int]:
    """Return what a model scores: the channels, and the blocks that it makes of rows."""
    return set(model.channels), model.model.summarize, model.model.waveforms


def _notes(matched: Sequence[dict[str, Any]], path_a: str, is_comparable: bool) -> list[Note]:
    """Warn of what a change of models would confuse in whatever reads the labels."""
    notes = []
    whole = [pair for pair in matched if None not in (pair["regime_a"], pair["regime_b"])]
    numbers = [f"{pair['regime_a']} is {pair['regime_b']}" for pair in whole if pair["regime_a"] != pair["regime_b"]]
    if numbers:
        sentence = f"regimes of A have other numbers in B ({', '.join(numbers)})"
        notes.append(Note("other_numbers", f"{sentence}; train with --align-to {path_a} keeps them"))
    names = [
        f"'{pair['name_a']}' is " + (f"'{pair['name_b']}'" if pair["name_b"] else "without a name")
        for pair in whole
        if pair["name_a"] not in (None, pair["name_b"])
    ]
    if names:
        sentence = f"regimes of A have other names in B ({', '.join(names)})"
        notes.append(Note("other_names", f"{sentence}; gmvae rename gives names"))
    if not is_comparable:
        sentence = "the models score other channels or blocks, so their log-likelihoods cannot be compared"
        notes.append(Note("not_comparable", f"{sentence}; compare labels alone"))
    return notes
