"""The number of regimes of a model of the rows themselves, by BIC: the answer where such a model explains them."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.config import ModelConfig, TrainConfig
from gmvae_cli.core import Parameters
from gmvae_cli.data.lagged_rows import training_rows
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.metrics.segments import runs
from gmvae_cli.system.concurrency import in_processes
from gmvae_cli.system.device import configure_process
from gmvae_cli.system.progress import Progress, silent
from gmvae_cli.training.em import EM
from gmvae_cli.training.expectation import smoothed_labels
from gmvae_cli.training.fit import fit_em_only
from gmvae_cli.training.sampling import subsample

REGIME_COUNTS = range(2, 10)  # numbers of regimes that are tried, beside 1
FIT_ROWS = 8_000  # rows that a fit sees; all are labelled. Keeps the search below 20 s; docs/benchmarks.md
PASSES, RESTARTS = 12, 8  # EM passes and restarts of a fit: more changed no choice on simulated series
_SUFFICIENT_REGIMES = 5  # with so many a correct model of fewer regimes still leaves white errors
_NOISE_VISIT = 12  # rows; a regime whose visits are shorter on average is taken for noise
_OUTLIER_VISIT = 4  # rows; under Student t noise a regime whose visits are shorter on average consists of outliers


class RowModel(NamedTuple):
    """A model of the rows, fitted by maximum likelihood.

    Args:
        labels: (T,) its smoothed labels.
        bic: Bayesian information criterion, nats: num_free_parameters log n - 2 log-likelihood.
        credible: whether it may be right: white errors, and visits that last.
        shortest_visit: rows that the visits to one regime last on average, of the regime where they are shortest.
    """

    model: ModelConfig
    parameters: Parameters
    labels: NDArray[np.int64]
    bic: float
    credible: bool
    shortest_visit: float


class FitTask(NamedTuple):
    """A model to be fitted by a worker process, and its rows: values (n, D) and steps (n,), as of `SeriesData.read`."""

    values: NDArray[np.float64]
    steps: NDArray[np.int64]
    model: ModelConfig
    seed: int


def best_row_model(data: SeriesData, regimes: int | None, config: TrainConfig, progress: Progress) -> RowModel:
    """Return the model of the rows with so many regimes; with None the one of smallest BIC, if any is credible."""
    values, steps = data.read(0, data.rows)
    task = FitTask(values, steps, replace(config.model, regimes=regimes or _SUFFICIENT_REGIMES), config.seed)
    row_model = _fitted(task)
    return _by_bic(task, progress) if row_model.credible and regimes is None else row_model


def _by_bic(task: FitTask, progress: Progress) -> RowModel:
    """Find the model of smallest BIC.

    Under Student t noise outliers, which last a row or two, need no regime of their own.
    """
    counts = [*reversed(REGIME_COUNTS), 1]
    candidates = [task._replace(model=replace(task.model, regimes=count)) for count in counts]
    row_models: dict[int, RowModel] = {}
    for done, (index, row_model) in enumerate(in_processes(_fitted, candidates)):
        row_models[counts[index]] = row_model
        progress("regimes", done + 1, len(counts))
    lasting = [count for count, row_model in row_models.items() if row_model.shortest_visit >= _OUTLIER_VISIT]
    eligible = lasting if task.model.noise == "student" and lasting else row_models
    return row_models[min(sorted(eligible), key=lambda count: row_models[count].bic)]


def _fitted(task: FitTask) -> RowModel:
    """Fit a model to pieces of a long recording, or to all of a short recording."""
    configure_process()
    model = task.model
    with SeriesData.from_arrays(task.values, task.steps) as data:
        lagged_rows = training_rows(data, model)
        all_rows = lagged_rows.rows(0, len(lagged_rows))
    sample = subsample(all_rows, FIT_ROWS)
    config = TrainConfig(model=model, polish=PASSES, restarts=RESTARTS // 2)
    parameters = fit_em_only(sample, config, len(lagged_rows.mean), task.seed, silent)
    em = EM.over(sample, model, len(lagged_rows.mean), None)
    labels = smoothed_labels(all_rows, parameters, em.iid_prior)
    visits = runs(labels)
    rows_of, visits_of = np.bincount(labels), np.bincount(labels[visits.start])
    shortest_visit = float((rows_of / np.maximum(visits_of, 1))[visits_of > 0].min())
    usable = int(sample.usable.sum())
    log_likelihood = float(em.score(sample, parameters[None])[0]) * usable
    bic = model.num_free_parameters(len(lagged_rows.mean)) * np.log(usable) - 2 * log_likelihood
    credible = float(parameters.evidence_scale) == 1 and len(all_rows) >= _NOISE_VISIT * len(visits)
    return RowModel(model, parameters, labels, bic, credible, shortest_visit)
