"""Rows with the labels that inference gives them, and blocks of them cut into portions of other sizes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.data.known_labels import KnownLabels
from gmvae_cli.metrics import passages


@dataclass(frozen=True)
class LabelledRows:
    """Consecutive rows of a file with their labels.

    Args:
        regimes: (n,) int64. probs: (n, K), rows sum to one.
        log_likelihood: (n,) log p(x_t | past), nats, data units; NaN where a row is not usable.
        starts: (n,) bool, rows where the chain starts: the first of a series, or behind a break.
        novelty: (n,) as in `metrics.novelty`, NaN where a row is not usable; None where it is not asked for.
        unknown: (n,) bool, rows in stretches that no regime explains; None where they are not asked for.
    """

    regimes: NDArray[np.int64]
    probs: NDArray[np.float64]
    log_likelihood: NDArray[np.float64]
    starts: NDArray[np.bool_]
    novelty: NDArray[np.float64] | None = None
    unknown: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.regimes)

    def rows(self, start: int, stop: int) -> "LabelledRows":
        """Return rows [start, stop)."""
        return self._mapped(lambda part: part[start:stop])

    def taken(self, rows: NDArray[np.int64]) -> "LabelledRows":
        """Return the rows at some positions (m,)."""
        return self._mapped(lambda part: part[rows])

    def expanded(self, lengths: NDArray[np.int64]) -> "LabelledRows":
        """Replace each row, which stands for a block, by the rows of the block.

        Args:
            lengths: (n,) rows of each block; they share the block's log-likelihood equally.
        """
        starts = np.zeros(lengths.sum(), np.bool_)
        starts[(np.cumsum(lengths) - lengths)[self.starts]] = True
        repeated = self._mapped(lambda part: np.repeat(part, lengths, axis=0))
        return replace(repeated, log_likelihood=np.repeat(self.log_likelihood / lengths, lengths), starts=starts)

    def _mapped(self, function: Callable[[NDArray[Any]], NDArray[Any]]) -> "LabelledRows":
        """Apply a function to each array."""
        parts: dict[str, Any] = {name: None if part is None else function(part) for name, part in vars(self).items()}
        return LabelledRows(**parts)

    @classmethod
    def joined(cls, parts: "Sequence[LabelledRows]") -> "LabelledRows":
        """Concatenate consecutive stretches of rows."""
        columns = {name: [vars(part)[name] for part in parts] for name in vars(parts[0])}
        joined: dict[str, Any] = {
            name: None if column[0] is None else np.concatenate(column) for name, column in columns.items()
        }
        return cls(**joined)

    def with_unknown(self) -> "LabelledRows":
        """Return the same rows, of which those that no regime explains have regime -1."""
        return self if self.unknown is None else replace(self, regimes=np.where(self.unknown, -1, self.regimes))


def in_portions(blocks: Iterable[LabelledRows]) -> Callable[[int], LabelledRows]:
    """Return a function that takes a number of rows and returns that many of the next rows of consecutive blocks."""
    iterator = iter(blocks)
    rest: LabelledRows | None = None

    def take(rows: int) -> LabelledRows:
        nonlocal rest
        parts: list[LabelledRows] = []
        while rows:
            if rest is None or not len(rest):
                rest = next(iterator)
            part, rest = rest.rows(0, rows), rest.rows(rows, len(rest))
            parts.append(part)
            rows -= len(part)
        return parts[0] if len(parts) == 1 else LabelledRows.joined(parts)

    return take


def with_passages_joined(blocks: Iterable[LabelledRows], longest: int) -> Iterator[LabelledRows]:
    """Yield the same rows in other blocks; those that pass between regimes take label and probabilities of the next.

    Args:
        blocks: consecutive. longest: rows of a passage at most, as in `passages.labelled_by`.
    """

    def sources(rows: LabelledRows, _: int) -> NDArray[np.int64]:
        return passages.labelled_by(rows.regimes, rows.starts, longest)

    return relabelled(blocks, passages.context_rows(longest), sources)


def held_to_known(
    blocks: Iterable[LabelledRows], known: KnownLabels, regimes: NDArray[np.int64]
) -> Iterator[LabelledRows]:
    """Yield the same rows, those with a known label as of its regime and sure of it.

    Args:
        blocks: consecutive, of all rows. regimes: (L,) of each label.
    """
    start = 0
    for block in blocks:
        labels = known.read(start, start + len(block))
        labelled = np.flatnonzero(labels >= 0)
        start += len(block)
        numbers, probs = block.regimes.copy(), block.probs.copy()
        numbers[labelled] = regimes[labels[labelled]]
        probs[labelled] = np.eye(probs.shape[1])[numbers[labelled]]
        yield replace(block, regimes=numbers, probs=probs)


def relabelled(
    blocks: Iterable[LabelledRows], near: int, sources: Callable[[LabelledRows, int], NDArray[np.int64]]
) -> Iterator[LabelledRows]:
    """Yield the same rows in other blocks, each with label and probabilities of the row that `sources` names.

    Args:
        blocks: consecutive. near: rows on either side of a row that decide on it.
        sources: called with n rows and the number of the first; returns for each (n,) a row among them.
    """
    held: list[LabelledRows] = []
    first = done = 0  # number of the first row held; rows of those held that were yielded, and decide on those behind
    for block in blocks:
        rows = LabelledRows.joined([*held, block])
        decided = max(done, len(rows) - near)
        yield _taken(rows, sources(rows, first)).rows(done, decided)
        kept = max(0, decided - near)
        held, first, done = [rows.rows(kept, len(rows))], first + kept, decided - kept
    for rows in held:
        yield _taken(rows, sources(rows, first)).rows(done, len(rows))


def _taken(rows: LabelledRows, source: NDArray[np.int64]) -> LabelledRows:
    return replace(rows, regimes=rows.regimes[source], probs=rows.probs[source])
