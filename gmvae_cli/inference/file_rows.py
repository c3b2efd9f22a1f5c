"""Labelled rows of a file, made of the labels of its rows or of blocks of them."""

from collections.abc import Callable, Iterable, Iterator

from gmvae_cli.data.lagged_rows import LaggedRows
from gmvae_cli.inference.labelled_rows import LabelledRows, in_portions, with_passages_joined
from gmvae_cli.inference.placed_changes import levels_of_blocks, with_changes_placed


def rows_of_file(
    labelled: Callable[[], Iterator[LabelledRows]], lagged_rows: LaggedRows, longest_passage: int, portion: int
) -> Iterator[LabelledRows]:
    """Yield all rows of the file in order, in portions of so many rows.

    Args:
        labelled: yields all rows of the series, or the blocks that stand for them; called twice where changes are
            placed at rows of the file.
        longest_passage: rows of the series, in which rows or blocks pass to the visits beside them; 0: none do.
    """
    data, model = lagged_rows.data, lagged_rows.model
    lengths = lagged_rows.file_rows(0, len(lagged_rows))
    rows = labelled()
    if longest_passage and data.blocks_of is None:
        rows = with_passages_joined(rows, longest_passage)
    if lengths is not None:
        rows = _expanded(rows, lagged_rows, max(1, portion // model.summarize))
    if longest_passage and data.blocks_of is not None:
        levels = levels_of_blocks(data, labelled(), model.regimes, model.summarize)
        shortest = model.shortest_visit if model.shortest_visit > 1 else 0
        rows = with_changes_placed(rows, data.blocks_of, levels, model.summarize, longest_passage, shortest)
    take, left = in_portions(rows), len(lagged_rows) if lengths is None else int(lengths.sum())
    while left:
        part = take(min(portion, left))
        left -= len(part)
        yield part.with_unknown()


def _expanded(blocks: Iterable[LabelledRows], lagged_rows: LaggedRows, count: int) -> Iterator[LabelledRows]:
    """Yield the rows of labelled blocks, those of `count` blocks at once."""
    first = 0
    for block in blocks:
        for start in range(0, len(block), count):
            part = block.rows(start, start + count)
            lengths = lagged_rows.file_rows(first, first + len(part))
            first += len(part)
            if lengths is not None:
                yield part.expanded(lengths)
