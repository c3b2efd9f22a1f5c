"""First parameters, from a subsample: clusters of windows where regimes persist, short runs where they do not.

Starts compete by the likelihood of all rows that they are fitted to. They have equally many parameters, so overfitting
says little between them, while chance decides on a few rows: of five set-points in 2,500 rows the right start leads by
11 nats, and lost on 250 rows that were held out; of 4 or 6 levels in 24 channels, 2,000 rows, 4 of 8 series were lost.
All restarts run side by side in one batched tensor.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from gmvae_cli.config import TrainConfig
from gmvae_cli.core import Parameters
from gmvae_cli.data.lagged_rows import Rows
from gmvae_cli.metrics import partition
from gmvae_cli.metrics.segments import runs
from gmvae_cli.model.ar_density import Emission, log_likelihoods, whitener
from gmvae_cli.model.chain import Chain, persistent, stationary
from gmvae_cli.model.known_regimes import UNKNOWN, clamped
from gmvae_cli.model.moments import products, symmetric, update_emission, update_iid, weighted_moments, window_moments
from gmvae_cli.system.progress import Progress
from gmvae_cli.training.em import EM, FIRST_DEGREES
from gmvae_cli.training.expectation import collect
from gmvae_cli.training.sampling import subsample

START_ROWS = 20_000  # rows that starts are fitted to: accuracy 0.9991 on 4 seeds of 4 (truth 0.999), 0.3 s at K = D = 4
_SHORT_ROWS = 3_000  # rows of a short run: 0.25 s for 32 runs, and the best four agree to 4 decimals on 7 sets of 8
# Runs for each restart; of rows of more entries as many as cost the same, but one: 16 would be a third of the search in
# 60 channels, where windows of 5 rows find what persists, and any run finds what does not
_SHORT_RUNS, _SHORT_ENTRIES = 4, 20
_SHORT_PASSES = 15  # updates of a short run, after which its likelihood ranks it
_CLUSTER_PASSES = 15  # of assigning and refitting windows, which touch no row; chosen, not measured
# Window lengths in rows, a clustering for each: one is near the dwell whatever that is. A window much longer than the
# dwell fails: at a dwell of 50 rows, accuracy 0.75 with 400 rows against 0.997 with 20.
_WINDOWS = (10, 20, 50, 100, 200, 400)
_LEVEL_WINDOWS = (5, 10, 20, 50)  # the same for clusterings by level, which need fewer rows; chosen, not measured
_LEVEL_PASSES = 15  # of k-means; chosen, not measured
# Share of its variance that a channel counts as noise at least when levels are compared: one that never changes within
# a window is not all that counts; chosen, not measured
_LEAST_NOISE = 1e-3
_SHORT_DWELL = 5.0  # rows of a visit, to begin with, in a start that knows nothing of persistence; chosen, not measured
_COMPETITION = ((6, 4), (12, 2), (20, 1))  # EM passes, and how many starts go on; chosen, not measured
# Rows for each entry of the context with which starts see channels that do not correlate: best where a sixth of the
# variance is predicted. 60 channels, 3,000 rows: with 0 a right start loses on held-out rows against one large regime.
# Two channels, 2,000 rows, a variance that is predicted nearly whole: with 15 in all every start loses what tells the
# regimes apart (77 nats), so there are all of them only where ten rows or fewer stand beside each coefficient (with one
# or fewer, columns of a category that have nothing to do with the regimes mislead one series of three).
_UNRELATED_ROWS, _ROWS_FOR_A_COEFFICIENT = 5.0, 10
_REINITIALIZED_ROWS = 50  # rows of the window that an empty regime takes: some visits are no longer
_REINITIALIZED_PASSES = 10  # EM passes after it; chosen, not measured


def best_start(
    em: EM,
    sample: Rows,
    config: TrainConfig,
    generator: torch.Generator,
    progress: Progress,
) -> Parameters:
    """Let many starts compete, by likelihood after a few passes of EM; return the winner."""
    rows = subsample(sample, START_ROWS)
    em = with_unrelated_rows(em, rows)
    starts = _short_starts(em, rows, config.restarts, generator)
    if not em.iid_prior:
        windowed = _window_starts(em, rows, config.restarts, generator)
        starts = windowed if windowed and em.dwell is not None else windowed + starts
    parameters = with_noise(em, Parameters.stacked(starts))
    for done, (passes, keep) in enumerate(_COMPETITION):
        parameters, _ = em.run_em(rows, parameters, passes, calibrate=True)
        parameters = parameters[em.score(rows, parameters).argsort(descending=True, stable=True)[:keep]]
        parameters = reinitialize_empty(em, rows, parameters)
        progress("start", done + 1, len(_COMPETITION))
    return parameters[0]


def with_unrelated_rows(em: EM, rows: Rows) -> EM:
    """Return EM for starts: where rows are few beside coefficients, it doubts what channels say about each other."""
    columns = em.pooled.shape[0] - em.num_channels
    coefficients = em.config.regimes * em.num_channels * columns
    return replace(
        em, unrelated_rows=_UNRELATED_ROWS * columns * min(1.0, _ROWS_FOR_A_COEFFICIENT * coefficients / len(rows))
    )


def with_noise(em: EM, parameters: Parameters) -> Parameters:
    """Give parameters with restarts, fitted with Normal noise, the noise of the model."""
    if not em.student:
        return parameters
    degrees = torch.full_like(parameters.emission.scale_tril[..., :1, 0, 0], FIRST_DEGREES)  # (R, 1)
    return replace(parameters, emission=replace(parameters.emission, degrees=degrees))


def reinitialize_empty(em: EM, rows: Rows, parameters: Parameters) -> Parameters:
    """Refit each regime that hardly any row visits to the window that is explained worst; then a few passes of EM."""
    size = rows.y.shape[0]
    empty = collect(rows, parameters, em.iid_prior).statistics.occupancy < size  # (R, K): rows for a regression
    empty[:, : num_known(rows)] = False  # which rows are of it is known
    if not bool(empty.any()):
        return parameters
    length = min(_REINITIALIZED_ROWS, len(rows))
    chosen = em.for_initialization(rows)
    flat, counts = window_moments(rows.y, chosen, length)
    best = torch.where(chosen, log_likelihoods(rows.y, parameters.emission, lag_index=rows.lag_index), 0).amax(-2)
    explained = best[..., : len(counts) * length].reshape(len(best), -1, length).sum(-1) / counts.clamp_min(1)
    worst = torch.where(counts > 0, explained, torch.inf).argsort(-1)  # (R, W)
    weights, scale_tril = parameters.emission.weights.clone(), parameters.emission.scale_tril.clone()
    for restart, regime in empty.nonzero().tolist():
        window = worst[restart, int(empty[restart, :regime].sum()) % worst.shape[1]]
        fitted = em.regression(symmetric(flat[window], size)[None], counts[window][None], size)
        weights[restart, regime] = fitted.weights[0]
        if em.config.covariance == "regime":
            scale_tril[restart, regime] = fitted.scale_tril[0]
    emission = replace(parameters.emission, weights=weights, scale_tril=scale_tril)
    return em.run_em(rows, replace(parameters, emission=emission), _REINITIALIZED_PASSES)[0]


# --- starts ----------------------------------------------------------------------------------------------------------


def _window_starts(em: EM, rows: Rows, restarts: int, generator: torch.Generator) -> list[Parameters]:
    """Cluster windows of several lengths, or of half the expected dwell; return the best of each kind and length."""
    starts = []
    makers = [(start_from_windows, _WINDOWS)] + ([(start_from_levels, _LEVEL_WINDOWS)] if em.config.intercept else [])
    for make, usual in makers:
        for length in usual if em.dwell is None else (max(2, round(em.dwell / 2)),):
            if 3 * em.config.regimes * length > len(rows):
                break
            start = make(em, rows, length, restarts, generator)
            if start is not None:
                starts.append(start)
    return starts


def start_from_windows(em: EM, rows: Rows, length: int, restarts: int, generator: torch.Generator) -> Parameters | None:
    """Cluster windows of `length` rows several times; return the best, None with fewer windows than regimes."""
    flat, counts = _filled_windows(em, rows, length)
    if len(counts) < em.config.regimes:
        return None
    emission, labels, total = cluster_windows(em, flat, counts, restarts, generator, num_known(rows))
    best = int(total.argmax())
    return Parameters(emission[best], _chain_of(em, labels[best, num_known(rows) :], length))


def start_from_levels(em: EM, rows: Rows, length: int, restarts: int, generator: torch.Generator) -> Parameters | None:
    """Cluster windows of `length` rows by their means; return the best, None with fewer windows than regimes."""
    flat, counts = _filled_windows(em, rows, length)
    if len(counts) < em.config.regimes:
        return None
    labels = cluster_levels(em, flat, counts, restarts, generator, num_known(rows))
    member = one_hot(labels, em.config.regimes).double().mT  # (K, W)
    emission = em.regression(symmetric(member @ flat, em.pooled.shape[0])[None], (member @ counts)[None])
    return Parameters(emission[0], _chain_of(em, labels[num_known(rows) :], length))


def _filled_windows(em: EM, rows: Rows, length: int) -> tuple[Tensor, Tensor]:
    """Sum windows as `window_moments` does; windows that lack half the usual rows are left out.

    Where regimes are known, all rows of each are one window, the first ones, and the others are of rows without label.
    """
    chosen = em.for_initialization(rows)
    if rows.known is None:
        flat, counts = window_moments(rows.y, chosen, length)
        filled = counts >= 0.5 * counts[counts > 0].median()
        return flat[filled], counts[filled]
    flat, counts = window_moments(rows.y, chosen & (rows.known < 0), length)
    filled = counts > 0
    if bool(filled.any()):
        filled = counts >= 0.5 * counts[filled].median()
    labelled = one_hot((rows.known + 1), num_known(rows) + 1).mT[1:].to(rows.y) * chosen  # (L, n)
    a, b = torch.triu_indices(rows.y.shape[0], rows.y.shape[0], device=rows.y.device)
    moments = weighted_moments(rows.y, labelled)[:, a, b]
    return torch.cat([moments, flat[filled].double()]), torch.cat([labelled.sum(1).to(counts), counts[filled]])


def num_known(rows: Rows) -> int:
    """Return how many regimes, the first ones, have labelled rows among these."""
    return 0 if rows.known is None else 1 + int(rows.known.max())


def _chain_of(em: EM, labels: Tensor, length: int) -> Chain:
    """Build a chain whose visits last as expected, or as those of the labels (W,) of windows do."""
    if not len(labels):
        labels = labels.new_zeros(1)
    visits = 1 + int((labels[1:] != labels[:-1]).sum())
    matrix = persistent(em.config.regimes, em.dwell or length * len(labels) / visits)
    return Chain(stationary(matrix), matrix)


def start_from_labels(em: EM, rows: Rows, labels: NDArray[np.integer[Any]]) -> Parameters:
    """Fit the model to labels (n,), or those known; visits last as long as those of the labels, or as expected."""
    regimes = em.config.regimes
    if rows.known is not None:
        known = rows.known.cpu().numpy()
        labels = np.where(known >= 0, known, numbers_for_known(labels, known, regimes)[labels])
    probs = (torch.as_tensor(labels) == torch.arange(regimes)[:, None])[None].to(rows.y)  # (1, K, n)
    weights = probs[0] * em.for_initialization(rows)
    emission = em.regression(weighted_moments(rows.y, weights)[None], weights.sum(1)[None])
    matrix = persistent(regimes, em.dwell or len(labels) / len(runs(labels)))[None]
    parameters = with_noise(em, Parameters(emission, Chain(stationary(matrix), matrix), matrix.new_ones(1)))
    return replace(parameters, evidence_scale=em.measured_scale(rows, parameters, probs))[0]


def numbers_for_known(labels: NDArray[np.integer[Any]], known: NDArray[np.int64], regimes: int) -> NDArray[np.int64]:
    """Number the regimes of a labelling so that those come first that rows of known regimes have, each its own.

    Args:
        labels: (n,) of K regimes. known: (n,) known regimes, -1 for none.
    Returns:
        (K,) the new number of each regime.
    """
    overlap = np.zeros((regimes, max(0, int(known.max()) + 1)))
    np.add.at(overlap, (labels[known >= 0], known[known >= 0]), 1)
    matched = partition.match(overlap / np.maximum(overlap.sum(axis=0), 1))
    free = iter(np.setdiff1d(np.arange(regimes), matched).tolist())
    return np.array([number if number >= 0 else next(free) for number in matched])


def _short_starts(em: EM, rows: Rows, restarts: int, generator: torch.Generator) -> list[Parameters]:
    """Make short runs from random responsibilities on some of the rows; return the best."""
    usable = em.for_initialization(rows).nonzero()[:, 0]
    chosen = usable[torch.randperm(len(usable), generator=generator)[:_SHORT_ROWS]]
    if rows.known is not None:
        labelled = usable[rows.known[usable] >= 0]
        few = torch.randperm(len(labelled), generator=generator)[: _SHORT_ROWS // 2]
        chosen = torch.cat([labelled[few], chosen[rows.known[chosen] < 0]])
    runs_each = max(1, min(_SHORT_RUNS, _SHORT_RUNS * _SHORT_ENTRIES // rows.y.shape[0]))
    known = None if rows.known is None else rows.known[chosen]
    emission, law, log_marginal = short_runs(em, rows.y[:, chosen], runs_each * restarts, generator, known)
    best = log_marginal.argsort(descending=True, stable=True)[: max(1, restarts // 2)].tolist()
    if em.iid_prior:
        return [Parameters(emission[i], Chain(law[i], law[i].expand(em.config.regimes, -1))) for i in best]
    matrix = persistent(em.config.regimes, em.dwell or _SHORT_DWELL)
    return [Parameters(emission[i], Chain(stationary(matrix), matrix)) for i in best]


def short_runs(
    em: EM, y: Tensor, restarts: int, generator: torch.Generator, known: Tensor | None = None
) -> tuple[Emission, Tensor, Tensor]:
    """Run a few passes of EM of the iid mixture from random responsibilities, all restarts at once.

    Args:
        y: (M, n) a subsample of fully observed rows. restarts: R. known: (n,) as of `Rows`.
    Returns:
        Emission (R, ...), the law of the regimes (R, K), log-likelihood (R,).
    """
    flat = products(y.double())
    logits = torch.empty(restarts, em.config.regimes, y.shape[1], dtype=y.dtype).exponential_(generator=generator)
    probs = logits / logits.sum(-2, keepdim=True)  # (R, K, n)
    probs = clamped(probs.log().mT, known).softmax(-1).mT if known is not None else probs
    log_marginal = probs.new_zeros(restarts)
    for _ in range(_SHORT_PASSES + 1):
        occupancy = probs.sum(-1, dtype=torch.float64)
        moments = symmetric(probs.double() @ flat.mT, y.shape[0])
        emission = em.regression(moments, occupancy)
        law = update_iid(occupancy, em.config.fixed_prior)
        joint = clamped((log_likelihoods(y, emission) + law.log().to(y)[..., None]).mT, known).mT
        marginal = joint.logsumexp(-2)
        log_marginal = marginal.sum(-1, dtype=torch.float64)
        probs = (joint - marginal[..., None, :]).exp_()
    return emission, law, log_marginal


# --- clusters of windows ---------------------------------------------------------------------------------------------


def cluster_windows(
    em: EM, flat: Tensor, counts: Tensor, restarts: int, generator: torch.Generator, num_fixed: int = 0
) -> tuple[Emission, Tensor, Tensor]:
    """Cluster windows by how well an autoregression predicts them, not by their level.

    Seeds are drawn as in k-means++, with probability proportional to the gain in log-likelihood; then windows go to the
    regime that predicts them best and regimes are refitted from summed moments. A regime left without windows restarts
    from the window that is explained worst.

    Args:
        flat: (W, M (M + 1) / 2) and counts: (W,), from `window_moments`. restarts: R.
        num_fixed: L windows, the first ones, of which the first is of the first regime, and so on.
    Returns:
        Emission with leading restarts R, labels (R, W), total log-likelihood (R,).
    """
    regimes, size = em.config.regimes, em.pooled.shape[0]
    moments = symmetric(flat, size) + counts[:, None, None] * em.rounding
    alone = update_emission(moments[:, None], counts[:, None], em.pooled, em.num_channels, False, size)
    own = _own_scores(flat, counts, alone, size)
    fixed = torch.arange(len(flat))
    known = torch.where(fixed < num_fixed, fixed, UNKNOWN) if num_fixed else None
    seeds = _first_seeds(len(flat), restarts, generator, num_fixed)
    for _ in range(regimes - seeds.shape[1]):
        best = _scores(flat, counts, _cluster_emission(em, flat[seeds], counts[seeds]), size).amax(-2)
        gains = own - best
        gains[:, :num_fixed] = 0
        seeds = torch.cat([seeds, _draw(gains, generator)[:, None]], dim=1)
    emission = _cluster_emission(em, flat[seeds], counts[seeds])
    labels, total = seeds, own
    for _ in range(_CLUSTER_PASSES):
        best, labels = clamped(_scores(flat, counts, emission, size).mT, known).mT.max(-2)  # (R, W)
        total = best.sum(-1)
        member = one_hot(labels, regimes).double().mT  # (R, K, W)
        empty = member.sum(-1) == 0
        if bool(empty.any()):
            worst = (own - best).topk(min(regimes, len(flat)), dim=-1).indices
            worst = worst[:, torch.arange(regimes) % worst.shape[1]]
            member = torch.where(empty[..., None], one_hot(worst, len(flat)).double(), member)
        emission = _cluster_emission(em, member @ flat, member @ counts)
    return emission, labels, total


def _first_seeds(windows: int, restarts: int, generator: torch.Generator, num_fixed: int) -> Tensor:
    """Return the windows that clusters begin with, (R, L): those of known regimes, else one of all at random."""
    if num_fixed:
        return torch.arange(num_fixed).repeat(restarts, 1)
    return torch.randint(windows, (restarts, 1), generator=generator)


def cluster_levels(
    em: EM, flat: Tensor, counts: Tensor, restarts: int, generator: torch.Generator, num_fixed: int = 0
) -> Tensor:
    """Cluster windows by their means, in units of the noise within windows: k-means, seeds drawn as in k-means++.

    Args:
        flat: (W, M (M + 1) / 2) and counts: (W,), from `window_moments` of rows with an intercept. restarts: R.
        num_fixed: as in `cluster_windows`.
    Returns:
        labels (W,) of the restart with the smallest sum of squares.
    """
    regimes, D = em.config.regimes, em.num_channels
    moments = symmetric(flat, em.pooled.shape[0])
    means = moments[:, :D, -1] / counts[:, None].clamp_min(1)  # (W, D)
    squares = moments.diagonal(dim1=-2, dim2=-1)[:, :D] - means.square() * counts[:, None]
    total = em.pooled.diagonal()[:D] - em.pooled[:D, -1].square()
    free = slice(num_fixed if num_fixed < len(counts) else 0, None)  # a known regime has levels that drift
    noise = (
        squares[free].sum(0) / counts[free].sum() + em.rounding.diagonal()[:D]
    )  # a switch within most windows has no other
    points = means / noise.maximum(_LEAST_NOISE * total).sqrt()
    centres = points[_first_seeds(len(points), restarts, generator, num_fixed)]  # (R, 1, D)
    for _ in range(regimes - centres.shape[1]):
        gains = torch.cdist(points.expand(restarts, -1, -1), centres).square().amin(-1) * counts  # (R, W)
        gains[:, :num_fixed] = 0
        centres = torch.cat([centres, points[_draw(gains, generator)][:, None]], dim=1)
    for _ in range(_LEVEL_PASSES):
        distances, labels = torch.cdist(points.expand(restarts, -1, -1), centres).min(-1)  # (R, W)
        labels[:, :num_fixed] = torch.arange(num_fixed)
        member = one_hot(labels, regimes).double().mT * counts  # (R, K, W)
        rows = member.sum(-1, keepdim=True)
        centres = torch.where(rows > 0, member @ points / rows.clamp_min(1), centres)
    return labels[int((distances.square() @ counts).argmin())]


def _cluster_emission(em: EM, sums: Tensor, counts: Tensor) -> Emission:
    """Fit regimes to summed moments of windows; as many pooled rows as there are columns keep short windows sane."""
    size = em.pooled.shape[0]
    return em.regression(symmetric(sums, size), counts, size)


def _own_scores(flat: Tensor, counts: Tensor, alone: Emission, size: int) -> Tensor:
    """Score each window under the regime fitted to it alone: log-likelihood (W,)."""
    matrix, log_det = whitener(alone)
    moments = symmetric(flat, size)
    squares = torch.einsum("dwm,wmn,dwn->w", matrix[:, :, 0], moments, matrix[:, :, 0])
    return -0.5 * squares - log_det[:, 0] * counts


def _scores(flat: Tensor, counts: Tensor, emission: Emission, size: int) -> Tensor:
    """Score each window under each regime, log-likelihood (..., K, W): linear in the moments `flat`."""
    matrix, log_det = whitener(emission)
    precision = torch.einsum("d...m,d...n->...mn", matrix, matrix)
    rows, columns = torch.triu_indices(size, size, device=flat.device)
    factor = torch.where(rows == columns, 1.0, 2.0).double()
    return -0.5 * (precision[..., rows, columns] * factor) @ flat.mT - log_det[..., None] * counts


def _draw(gains: Tensor, generator: torch.Generator) -> Tensor:
    """Draw an index along the last axis with probability proportional to its gain. (..., W) -> (...)."""
    weights = gains.clamp_min(0) + 1e-9 * gains.clamp_min(0).mean(-1, keepdim=True) + 1e-12
    return torch.multinomial(weights, 1, generator=generator)[..., 0]
