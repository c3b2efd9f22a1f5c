"""The most probable regime path among those whose visits all last `m` rows or more, exactly.

V_t(j) is the score of the best such path of the rows up to t whose visit to regime j may end at t:

    V_t(j) = max( V_t-1(j) + s_t(j),   max_{i != j} V_t-m(i) + log A_ij + l_t-m+1(j) + s_t-m+2(j) + ... + s_t(j) )

with s_t(j) = log A_jj + l_t(j). It is the recursion of an explicit-duration chain whose durations are geometric from
m rows on (Ferguson, 1980; Yu, 2010, "Hidden semi-Markov models"). Behind a hole A is its power. Where a series starts,
V_t(j) = log pi_j + l_t(j), whatever came before, and no visit may begin in the next m - 1 rows: so the first visit has
m rows, one that would have fewer at the end is never entered, and a series shorter than m is one visit.

Where rows pass between regimes (`metrics.passages`), a path may take each of the first p rows of a visit, whose lags
lie in the regime that has ended, for one of the regime that explains it best: max_k l_t(k) stands in place of l_t(j).

No row needs V of the m - p - 1 rows before it except the last, so as many rows are computed at once: the second term
is known for all of them, and the first is a cumulative maximum. For small m, lanes of rows run side by side. Each
starts from a guess, made of the rows before it as if nothing were known further back, and is run again from the
message of the lane before as long as that differs by more than a constant (Maleki, Musuvathi and Mytkowicz, 2014,
"Parallelizing dynamic programming through rank convergence"): the answer is that of one lane, at worst at its cost.

Shapes: n rows of a block, K regimes, B lanes of L rows, k rows of a chunk.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gmvae_cli.model.chain import Chain, matrix_powers

Array = NDArray[np.float64]
Marks = NDArray[np.integer[Any]]

_IMPOSSIBLE = -1e30  # log 0: finite, so that a path that must take such a step still has a score
_LANE_ROWS = 256  # at least; with 512 lanes take 7 % longer at m = 5, 19 % at m = 2 (98,304 rows, K = 5)
_LANE_DWELLS = 8  # rows of a lane, in shortest visits: a guess is made of half as many rows
_SAME, _SAME_SHARE = 1e-9, 1e-12  # of two messages, nats, and relative: a thousand times the rounding of their sums


class Shortest(NamedTuple):
    """Rows of the shortest visit, m, at least 2; of them the first `passing`, p, at most m - 2, may pass."""

    rows: int
    passing: int = 0


class DwellMessage(NamedTuple):
    """Scores of paths through some rows, all that rows behind them need.

    Args:
        settled: (K, ...) V of the last row. begun: (K, m - p - 1, ...) scores up to the last row of the best paths
            whose visit to each regime began p + 1, p + 2, .. m - 1 rows ago, the earliest first; -inf where none may.
        passing: (K, p, ...) the same of those that began 1, .. p rows ago. age: rows since the series started.
    """

    settled: Array
    begun: Array
    passing: Array
    age: int = 0

    @classmethod
    def unknown(cls, num_regimes: int, rule: "Shortest", lanes: tuple[int, ...] = ()) -> "DwellMessage":
        """Return the message of rows of which nothing is known."""
        begun = np.full((num_regimes, rule.rows - 1, *lanes), -np.inf)
        return cls(np.zeros((num_regimes, *lanes)), begun[:, rule.passing :], begun[:, : rule.passing])


def mark_type(num_regimes: int) -> np.dtype[Any]:
    """Return the type of marks: a regime number, and above it the bits `_settles` and `_starts`."""
    return np.dtype(np.uint8 if num_regimes <= 64 else np.uint16)


def _settles(dtype: np.dtype[Any]) -> Any:
    """Return the bit of a row in which a visit has lasted m rows, on the best path whose visit may end there."""
    return dtype.type(1 << (8 * dtype.itemsize - 1))


def _starts(dtype: np.dtype[Any]) -> Any:
    """Return the bit of a row that starts a series."""
    return dtype.type(1 << (8 * dtype.itemsize - 2))


class _Moves:
    """Scores and moves of n rows.

    Args:
        potentials: (n, K) nats. steps: (n,) as in `lattice`. age: of the row before the first.
    Attributes:
        scores: (K, n) l_t(j), less their maximum. stay: (K, n) s_t(j), -inf where a series starts. early: (n,) rows
            that no visit may have as its first row behind those that pass, unless it starts a series. starts: (n,).
        keep: (K, n) log A_jj, 0 where a series starts.
        leave: (K, K) log A, -inf on its diagonal. hole_rows, hole_leave: rows behind holes (H,), theirs (H, K, K).
        initial: (K,) log pi.
    """

    def __init__(self, potentials: Array, steps: NDArray[np.int64], chain: Chain, age: int, rule: Shortest) -> None:
        self.scores = np.ascontiguousarray((potentials - potentials.max(1, keepdims=True)).T)
        self.starts = steps == 0
        rows = np.arange(len(steps))
        start = np.maximum.accumulate(np.where(self.starts, rows, -age))
        self.age = int(len(rows) - start[-1])
        self.early = rows - start < rule.rows + rule.passing
        self.initial = _log(chain.initial_probs)
        unique, which = np.unique(steps, return_inverse=True)
        powers = _log(matrix_powers(chain.transition_matrix[None].cpu(), unique)[0])  # (U, K, K)
        staying = np.diagonal(powers, axis1=1, axis2=2).copy()
        staying[unique == 0] = 0
        self.keep = staying[which].T
        self.stay = np.where(self.starts, -np.inf, self.scores + self.keep)
        powers[:, np.arange(len(self.initial)), np.arange(len(self.initial))] = -np.inf
        self.leave = _log(chain.transition_matrix)
        np.fill_diagonal(self.leave, -np.inf)
        self.hole_rows = np.flatnonzero(steps > 1)
        self.hole_leave = powers[which[self.hole_rows]]


def _log(probs: torch.Tensor) -> Array:
    logs: Array = probs.double().log().clamp_min(_IMPOSSIBLE).cpu().numpy()
    return logs


@dataclass(frozen=True)
class _Lanes:
    """Consecutive rows as B lanes of L rows, the last axis of every array; fields as in `_Moves`.

    Args:
        scores, stay, keep: (K, L, B). early, starts: (L, B) bool. leave: (K, K). initial: (K,).
        hole_level, hole_lane: (H,) where rows behind holes lie, by level. hole_leave: (H, K, K).
    """

    scores: Array
    stay: Array
    keep: Array
    early: NDArray[np.bool_]
    starts: NDArray[np.bool_]
    leave: Array
    initial: Array
    hole_level: NDArray[np.int64]
    hole_lane: NDArray[np.int64]
    hole_leave: Array

    @classmethod
    def laid(cls, moves: _Moves, first: int, lanes: int, length: int) -> "_Lanes":
        """Lay out rows from `first` on."""
        stop = first + lanes * length

        def laid(rows: NDArray[Any]) -> NDArray[Any]:
            return np.ascontiguousarray(rows[..., first:stop].reshape(*rows.shape[:-1], lanes, length).swapaxes(-1, -2))

        here = slice(*np.searchsorted(moves.hole_rows, (first, stop)))
        lane, level = np.divmod(moves.hole_rows[here] - first, length)
        order = np.argsort(level, kind="stable")
        rows = map(laid, (moves.scores, moves.stay, moves.keep, moves.early, moves.starts))
        holes = level[order], lane[order], moves.hole_leave[here][order]
        return cls(*rows, moves.leave, moves.initial, *holes)  # type: ignore[call-arg]

    def of(self, wanted: NDArray[np.int64]) -> "_Lanes":
        """Return some of the lanes, (b,) in ascending order."""
        if len(wanted) == self.scores.shape[-1]:
            return self
        position = np.full(self.scores.shape[-1], -1)
        position[wanted] = np.arange(len(wanted))
        kept = position[self.hole_lane] >= 0
        rows = (array[..., wanted] for array in (self.scores, self.stay, self.keep, self.early, self.starts))
        holes = self.hole_level[kept], position[self.hole_lane[kept]], self.hole_leave[kept]
        return _Lanes(*rows, self.leave, self.initial, *holes)  # type: ignore[call-arg,arg-type]

    def entered(self, first: int, settled: Array, source: Marks | None) -> Array:
        """Compute max_{i != j} V(i) + log A_ij into the rows from `first` on: (K, k, B).

        Args:
            settled: (K, k, B) V of the rows before each. source: (K, k, B) gets the i that attains it, the lowest.
        """
        best: Array = settled[0] + self.leave[0][:, None, None]
        candidate = np.empty_like(best)
        for regime in range(1, len(settled)):
            np.add(settled[regime], self.leave[regime][:, None, None], out=candidate)
            if source is not None:
                np.copyto(source, regime, where=candidate > best, casting="unsafe")
            np.maximum(best, candidate, out=best)
        here = slice(*np.searchsorted(self.hole_level, (first, first + settled.shape[1])))
        if here.stop > here.start:
            level, lane = self.hole_level[here] - first, self.hole_lane[here]
            scores = settled[:, level, lane].T[:, :, None] + self.hole_leave[here]  # (H, from, to)
            best[:, level, lane] = scores.max(1).T
            if source is not None:
                source[:, level, lane] = scores.argmax(1).T
        return best

    def run(self, message: DwellMessage, first: int = 0, marks: Marks | None = None) -> DwellMessage:
        """Carry a message through the rows of every lane, from level `first` on.

        Args:
            marks: (K, L, B) of `mark_type`, all 0, gets the marks of `extended`.
        """
        (settled, begun, passing, _), L, chunk = message, self.scores.shape[1], message.begun.shape[1]
        for start in range(first, L, chunk):
            rows = slice(start, min(start + chunk, L))
            stay, starts = self.stay[:, rows], self.starts[rows]
            k = stay.shape[1]
            passed = np.add.accumulate(stay, axis=1)
            best = np.maximum.accumulate(np.concatenate([settled[:, None], begun[:, :k]], axis=1), axis=1)
            values, ends = best.copy(), best[:, 1:] > best[:, :-1]  # (K, k + 1, B), from the row before
            values[:, 1:] += passed
            if starts.any():
                self._start(rows, values[:, 1:], ends)
            entered = self.entered(start, values[:, :-1], None if marks is None else marks[:, rows])
            if marks is not None:
                marks[:, rows] |= ends * _settles(marks.dtype)
                if starts.any():
                    ended = values[:, :-1].argmax(0).astype(marks.dtype)  # of the series before
                    np.copyto(marks[:, rows], ended | _starts(marks.dtype), where=starts)
            if passing.shape[1]:
                entered, passing = self._passed(rows, passing, entered)
            entered[:, self.early[rows]] = -np.inf
            entered += self.scores[:, rows]
            entered[:, :-1] += np.add.accumulate(stay[:, :0:-1], axis=1)[:, ::-1]
            settled = values[:, -1]
            peak = settled.max(0)
            begun = np.concatenate([begun[:, k:] + passed[:, -1:], entered], axis=1) - peak
            settled, passing = settled - peak, passing - peak
        return DwellMessage(settled, begun, passing)

    def _passed(self, rows: slice, passing: Array, entered: Array) -> tuple[Array, Array]:
        """Let visits pass p rows: of (K, p + k, B) that begin return (K, k, B) that have passed, and the rest."""
        kept = np.add.accumulate(self.keep[:, rows], axis=1)
        queue = np.concatenate([passing, entered - kept], axis=1)
        k = entered.shape[1]
        return queue[:, :k] + kept, queue[:, k:] + kept[:, -1:]

    def _start(self, rows: slice, values: Array, ends: NDArray[np.bool_]) -> None:
        """Begin series anew in a chunk (K, k, B): V is log pi plus the rows since the start, which end no visit."""
        lanes = np.flatnonzero(self.starts[rows].any(0))
        begun = self.starts[rows][:, lanes].copy()  # (k, b)
        first = self.scores[:, rows, lanes] + self.initial[:, None, None]
        total = np.where(begun, first, self.stay[:, rows, lanes])
        reach = 1
        while reach < len(begun):  # sums over 2, 4, 8 .. rows, none across a start
            total[:, reach:] += np.where(begun[reach:], 0, total[:, :-reach])
            begun[reach:] |= begun[:-reach].copy()
            reach *= 2
        values[:, :, lanes] = np.where(begun, total, values[:, :, lanes])
        ends[:, :, lanes] &= ~begun


def extended(
    potentials: Array,
    steps: NDArray[np.int64],
    chain: Chain,
    rule: Shortest,
    message: DwellMessage | None = None,
    barred: NDArray[np.bool_] | None = None,
) -> tuple[Marks, DwellMessage]:
    """Carry the scores of the best paths through the next rows.

    Args:
        potentials: (n, K) nats, float64. steps: (n,) as in `lattice`.
        message: of the rows before; None: the chain starts here.
        barred: (n,) more rows that no visit may have as its first row behind those that pass; None: none.
    Returns:
        marks (n, K) for `traced`, and the message of the last row.
    """
    n, K = potentials.shape
    if message is None:
        message = DwellMessage.unknown(K, rule)
        steps = np.concatenate([[0], steps[1:]])
    moves = _Moves(potentials, steps, chain, message.age, rule)
    if barred is not None:
        moves.early |= barred
    length = max(_LANE_ROWS, _LANE_DWELLS * rule.rows)
    count = n // length
    rest = n - count * length
    marks = []
    for first, lanes, rows in ((0, count, length), (count * length, 1, rest)):
        if lanes * rows:
            part, message = _carried(_Lanes.laid(moves, first, lanes, rows), message, rule)
            marks.append(part)
    return np.concatenate(marks), message._replace(age=moves.age)


def _carried(lanes: _Lanes, message: DwellMessage, rule: Shortest) -> tuple[Marks, DwellMessage]:
    """Carry a message through all lanes, one after another in effect.

    Returns:
        marks (B L, K), and the message of the last row.
    """
    K, L, B = lanes.scores.shape
    marks: Marks = np.zeros((K, L, B), mark_type(K))
    guess = DwellMessage.unknown(K, rule, (B,))
    if B > 1:
        guess = lanes.run(guess, L // 2)
    both = zip(message[:3], guess[:3], strict=True)
    begins = [np.concatenate([one[..., None], other[..., :-1]], -1) for one, other in both]
    ends = [array.copy() for array in begins]
    todo = np.arange(B)
    while len(todo):
        part: Marks = np.zeros((K, L, len(todo)), marks.dtype)
        settled, begun, passing = (begin[..., todo] for begin in begins)
        found = lanes.of(todo).run(DwellMessage(settled, begun, passing), 0, part)
        marks[..., todo] = part
        wrong = np.zeros(B, np.bool_)
        for begin, end, value in zip(begins, ends, found[:3], strict=True):
            end[..., todo] = value
            same = np.isclose(begin[..., 1:], end[..., :-1], rtol=_SAME_SHARE, atol=_SAME)
            wrong[1:] |= ~same.all(tuple(range(begin.ndim - 1)))
        todo = np.flatnonzero(wrong)
        for begin, end in zip(begins, ends, strict=True):
            begin[..., todo] = end[..., todo - 1]
    settled, begun, passing = (end[..., -1] for end in ends)
    return marks.transpose(2, 1, 0).reshape(-1, K), DwellMessage(settled, begun, passing)


class Visit(NamedTuple):
    """The visit that a best path is in at the last row of some rows.

    Args:
        regime: of the last row. begin: row that it begins in, counted from the end of the rows (-1 is the last), where
            rows behind them told; None: their marks tell.
    """

    regime: int
    begin: int | None = None


def traced(marks: Marks, visit: Visit, shortest: int) -> tuple[NDArray[np.int64], Visit]:
    """Read back the best path through some rows.

    Args:
        marks: (n, K) from `extended`. visit: of the last row. shortest: m.
    Returns:
        regimes (n,), and the visit of the row before the first.
    """
    starts = _starts(marks.dtype)
    rows = np.arange(len(marks))[:, None]
    latest = np.maximum.accumulate(np.where(marks >= starts, rows, -1), axis=0)  # (n, K) the last row with a mark
    regime, begin = visit.regime, None if visit.begin is None else len(marks) + visit.begin
    regimes, begins, last = [regime], list[int](), len(marks) - 1
    while True:
        if begin is None and (mark := int(latest[last, regime])) >= 0:
            begin = mark if marks[mark, regime] & starts else mark - shortest + 1
        if begin is None or begin < 0:
            break
        begins.append(begin)
        regime, last = int(marks[begin, regime] & (starts - 1)), begin - 1
        begin = None
        if last < 0:
            break
        regimes.append(regime)
    edges = np.array([0, *begins[::-1], len(marks)] if not begins or begins[-1] else [*begins[::-1], len(marks)])
    return np.repeat(regimes[::-1], np.diff(edges)), Visit(regime, begin)
