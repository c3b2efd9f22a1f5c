"""A model of the rows themselves, with the number of regimes by BIC: the answer where it explains them.

It is fitted to a sample of a long recording, in pieces. A regime whose visits are passages (`metrics.passages`), as
every further regime of a recording with abrupt changes is at some point, counts for nothing and is dropped.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.config import ModelConfig, TrainConfig
from gmvae_cli.core import Parameters
from gmvae_cli.data.lagged_rows import LaggedRows, Rows, training_rows
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.metrics.passages import labelled_by
from gmvae_cli.metrics.segments import runs
from gmvae_cli.model.ar_density import log_likelihoods
from gmvae_cli.model.chain import Chain, persistent, stationary
from gmvae_cli.system.concurrency import Processes
from gmvae_cli.system.device import configure_process
from gmvae_cli.system.progress import Progress, silent
from gmvae_cli.training.em import EM, SEARCH_ROWS
from gmvae_cli.training.expectation import smoothed_labels
from gmvae_cli.training.fit import fit_em_only
from gmvae_cli.training.initialization import num_known
from gmvae_cli.training.sampling import subsample, with_labelled

REGIME_COUNTS = range(2, 10)  # numbers of regimes that are tried, beside 1
RESTARTS = 8  # of a fit: more changed no choice on simulated series
PASSES = 12  # of EM in a fit, likewise
# Levels are fitted on only where they are not so many nats a row behind after their first passes; chosen: machine logs
# and autoregressions lose some tenths of a nat or more
_FIRST_PASSES, _FAR_BEHIND = 2, 0.1
# Rows that a fit sees, in pieces that hold whole visits of some hundred rows: so many values, and so of a wide file
# fewer rows, since a pass over a row takes time with the square of its channels
_FIT_ROWS, _FIT_VALUES, _FEWEST_FIT_ROWS, _PIECES = 20_000, 200_000, 6_000, 10
_START_SHARE = 0.4  # of so many rows, on which starts compete
_SUFFICIENT_REGIMES = 5  # with so many a correct model of fewer regimes still leaves white errors
# Numbers of regimes that are tried beside the best so far. The BIC of 1 to 9 regimes had one valley in 14 of 15
# recordings, simulated ones, logs and levels, and in the other one its lowest is found all the same
_BESIDE = (1, -1, -2)
# Evidence scale up to which errors count as white: machine logs have 1.11 to 1.27, recordings of motion 1.6 and more.
# In few channels a wave that is cut into its phases has 1.12 to 1.19 as well, so there they must be white indeed.
_WHITE_SCALE, _FEW_CHANNELS = 1.4, 2
_PASSING_VISIT = 4  # rows; visits that last as long on average are no passages, nor noise
_SAME_REGIMES = 0.1  # nats a row; two halves of a regime whose visits all last 8 rows differ by 0.02
# Nats a row. Two logs of 300,000 rows: phases of a wave explain 0.004 and 0.016 more, a state of 73 rows in 20,000 0.07
_ABOUT_AS_WELL = 0.03
_MORE_REGIMES = 3  # beyond those asked for, since some may turn out to be passages


class RowModel(NamedTuple):
    """A model of the rows, fitted by maximum likelihood.

    Args:
        labels: (n,) smoothed labels of the fitted rows, passages joined.
        bic: Bayesian information criterion, nats: num_free_parameters log n - 2 log-likelihood.
        passing: (K,) bool, regimes that label little but passages.
        distinct: whether no two other regimes behave alike, as they do where one regime's visits are all equally long:
            two in turn explain that better than one.
        visit: rows that a visit lasts on average.
    """

    model: ModelConfig
    parameters: Parameters
    labels: NDArray[np.int64]
    bic: float
    passing: NDArray[np.bool_]
    distinct: bool
    visit: float

    @property
    def white(self) -> bool:
        """Whether the errors are about as independent as those of a correct model."""
        few = self.parameters.emission.scale_tril.shape[-1] <= _FEW_CHANNELS
        return float(self.parameters.evidence_scale) <= (1 if few else _WHITE_SCALE)

    @property
    def credible(self) -> bool:
        """Whether the model may be right: errors are white, exactly so of one regime, and visits last."""
        scale = float(self.parameters.evidence_scale)
        return scale == 1 if self.model.regimes == 1 else self.white and self.visit >= _PASSING_VISIT


class FitTask(NamedTuple):
    """A model to be fitted, perhaps by a worker process, and its rows.

    Args:
        values: (n, D), steps: (n,) as of `SeriesData.read`. mean, scale: (D,) of the whole recording.
        model: with so many regimes. known: (n,) as of `SeriesData.from_arrays`. labels: L, how many labels there are.
    """

    values: NDArray[np.float64]
    steps: NDArray[np.int64]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    model: ModelConfig
    seed: int
    known: NDArray[np.int64] | None = None
    labels: int = 0

    def with_regimes(self, regimes: int) -> "FitTask":
        """Return the same task with another number of regimes."""
        return self._replace(model=replace(self.model, regimes=regimes))

    def rows(self) -> Rows:
        """Return the rows, standardised as those of the whole recording."""
        with SeriesData.from_arrays(self.values, self.steps, known=self.known) as data:
            known = np.arange(self.labels)
            return LaggedRows(data, self.model, self.mean, self.scale, known=known).rows(0, data.rows)


def fitted_rows(rows: int, channels: int) -> int:
    """Return how many rows of a recording a fit sees."""
    return min(rows, _most_fitted_rows(channels))


def _most_fitted_rows(channels: int) -> int:
    return min(max(_FIT_VALUES // channels, _FEWEST_FIT_ROWS), _FIT_ROWS)


def fit_task(data: SeriesData, config: TrainConfig) -> FitTask:
    """Take the rows of a recording, or evenly spaced pieces of a long one, to fit the model of a configuration."""
    pieces = [(0, data.rows)]
    num_rows = fitted_rows(data.rows, len(data.channels))
    labels = 0 if data.known is None else len(data.known.names)
    if data.rows > num_rows:
        count = max(_PIECES, 2 * labels)
        length = num_rows // count
        starts = np.linspace(0, data.rows - length, count).astype(int)
        if data.known is not None:
            starts = with_labelled(starts, data.rows, length, data.known.counts_in)
        pieces = [(start, start + length) for start in starts.tolist()]
    known = None if data.known is None else np.concatenate([data.known.read(*piece) for piece in pieces])
    parts = [data.read(start, stop) for start, stop in pieces]
    values = np.concatenate([values for values, _ in parts])
    steps = np.concatenate([np.append(0, steps[1:]) for _, steps in parts])
    whole = training_rows(data, config.model)
    return FitTask(values, steps, whole.mean, whole.scale, config.model, config.seed, known, labels)


def row_models(task: FitTask, regimes: int | None, progress: Progress, processes: Processes) -> Iterator[RowModel]:
    """Yield the model with so many regimes that are no passages; with None those of about the smallest BIC, best first.

    Where even many regimes leave errors that are not white, or some that are passages, it is the model as fitted.
    """
    first = _fitted(task.with_regimes(regimes or max(_SUFFICIENT_REGIMES, task.labels)))
    fits = {first.model.regimes: first}
    if regimes is None and first.white:
        while counts := _untried(fits, task.labels):
            _fit_all(task, counts, fits, progress, processes)
        yield from (_without_passages(task, fit) for fit in _by_bic(fits))
        return
    if regimes is not None and first.white and first.passing.any():
        _fit_all(task, range(regimes + _MORE_REGIMES, regimes, -1), fits, progress, processes)
        lasting = {count: fit for count, fit in fits.items() if np.count_nonzero(~fit.passing) == regimes}
        yield _without_passages(task, _by_bic(lasting)[0]) if lasting else first
        return
    yield first


def _by_bic(fits: dict[int, RowModel]) -> list[RowModel]:
    """Sort the fits of distinct regimes, if there are any, by BIC; leave out those that explain the rows clearly worse.

    More rows tell more apart, at last the phases of a wave within a regime, which no second search would find again.
    """
    every = [fits[count] for count in sorted(fits)]
    ranked = sorted([fit for fit in every if fit.distinct] or every, key=lambda fit: fit.bic)
    return [fit for fit in ranked if fit.bic <= ranked[0].bic + 2 * _ABOUT_AS_WELL * len(fit.labels)]


def _untried(fits: dict[int, RowModel], known: int) -> list[int]:
    """List the numbers of regimes beside the best of the fits that are not among them, the largest first.

    Args:
        known: how many regimes there are at least.
    """
    best = _by_bic(fits)[0].model.regimes
    beside = (best + more for more in _BESIDE)
    least, most = max(1, known), max(REGIME_COUNTS[-1], known + _MORE_REGIMES)
    return [count for count in beside if least <= count <= most and count not in fits]


def _fit_all(
    task: FitTask, counts: Sequence[int], fits: dict[int, RowModel], progress: Progress, processes: Processes
) -> None:
    """Add fits with so many regimes, in worker processes; the longest should come first."""
    progress("regimes", 0, len(counts))
    for done, (index, fit) in enumerate(processes.run(_fitted, [task.with_regimes(count) for count in counts])):
        fits[counts[index]] = fit
        progress("regimes", done + 1, len(counts))


def _fitted(task: FitTask) -> RowModel:
    """Fit a model: starts compete on some of the rows, EM sees all."""
    configure_process()
    rows, model = task.rows(), task.model
    em = EM.over(rows, model, len(task.mean), None, pooled_rows=SEARCH_ROWS)
    config = TrainConfig(model=model, polish=0, restarts=RESTARTS // 2)
    compared = subsample(rows, round(_START_SHARE * _most_fitted_rows(em.num_channels)))
    start = fit_em_only(compared, config, em.num_channels, task.seed, silent, SEARCH_ROWS)
    return _improved(rows, em, start)


def _improved(rows: Rows, em: EM, start: Parameters) -> RowModel:
    """Run EM and describe what it leads to: regimes that differ in level alone, if that has the smaller BIC.

    Such regimes have few parameters, and many channels of a short recording tell them apart although covariances and
    autoregressions of their own would cost more than they explain.                [Fraley and Raftery 2002, JASA 97]
    """
    model = em.config
    parameters, bic = _fitted_bic(rows, em, start)
    if model.intercept and model.regimes > 1:
        alike = replace(em, levels=True)
        started = _fitted_bic(rows, alike, parameters, _FIRST_PASSES)
        if started[1] - bic < 2 * _FAR_BEHIND * len(rows):
            parameters, bic = min((parameters, bic), _fitted_bic(rows, alike, started[0]), key=lambda fitted: fitted[1])
    labels = smoothed_labels(rows, parameters, em.iid_prior)
    starts = rows.steps == 0
    joined = labels[labelled_by(labels, starts, model.context_rows)]
    counts = np.bincount(joined, minlength=model.regimes)
    visits = runs(joined, starts)
    visits_of = np.bincount(joined[visits.start], minlength=model.regimes)
    half = counts <= np.bincount(labels, minlength=model.regimes) / 2
    passing = half & (counts < _PASSING_VISIT * np.maximum(visits_of, 1))
    passing[: num_known(rows)] = False
    distances = _distances(rows, parameters, labels)
    distances[: num_known(rows), : num_known(rows)] = np.inf  # somebody told them apart
    distances = distances[~passing][:, ~passing]
    distinct = not bool((distances < _SAME_REGIMES).any())
    return RowModel(model, parameters, joined, bic, passing, distinct, len(rows) / len(visits))


def _fitted_bic(rows: Rows, em: EM, start: Parameters, passes: int = PASSES) -> tuple[Parameters, float]:
    """Run EM; return what it leads to and its BIC."""
    parameters = em.fit_em_and_scale(rows, start[None], passes)[0][0]
    usable = int(rows.usable.sum())
    log_likelihood = float(em.score(rows, parameters[None])[0]) * usable
    bic = em.config.num_free_parameters(em.num_channels, em.levels) * np.log(usable) - 2 * log_likelihood
    return parameters, float(bic)


def _distances(rows: Rows, parameters: Parameters, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Measure how much better rows of either regime of a pair are explained by their own, nats a row: (K, K).

    The diagonal, and the entries of a regime without rows, are infinite.
    """
    scores = log_likelihoods(rows.y, parameters.emission, rows.partial, rows.lag_index).double().numpy()  # (K, n)
    usable = rows.usable.numpy()
    K = len(scores)
    lost = np.full((K, K), np.inf)  # by the rows labelled as one regime (row) under another (column)
    for regime in range(K):
        mine = usable & (labels == regime)
        if mine.any():
            lost[regime] = (scores[regime, mine] - scores[:, mine]).mean(axis=1)
    distances: NDArray[np.float64] = lost + lost.T
    np.fill_diagonal(distances, np.inf)
    return distances


def _without_passages(task: FitTask, fit: RowModel) -> RowModel:
    """Run EM again without the regimes that label little but passages."""
    kept = np.flatnonzero(~fit.passing)
    if len(kept) == fit.model.regimes or not len(kept):
        return fit
    task = task.with_regimes(len(kept))
    rows = task.rows()
    emission = fit.parameters.emission
    tril = emission.scale_tril if task.model.covariance == "shared" else emission.scale_tril[kept]
    matrix = persistent(len(kept), fit.visit)
    start = replace(
        fit.parameters,
        emission=replace(emission, weights=emission.weights[kept], scale_tril=tril),
        chain=Chain(stationary(matrix), matrix),
    )
    return _improved(rows, EM.over(rows, task.model, len(task.mean), None, pooled_rows=SEARCH_ROWS), start)
