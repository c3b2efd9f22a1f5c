"""A switching autoregressive series with its true regimes, drawn in parallel blocks of rows.

In numpy alone: `gmvae simulate` starts without torch, whose import takes seconds.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Regimes = NDArray[np.int64]

SMALLEST_RADIUS, LARGEST_RADIUS = 0.6, 0.97  # spectral radii of random regimes: a disturbance halves in 1.4 to 23 rows
# The next two are constants, not fitted to the machine, so that a seed gives the same rows everywhere.
CHUNK_ROWS = 1 << 18  # rows drawn at a time
BURN_IN_ROWS = 1000  # drawn before every series and dropped: a disturbance has faded to 0.97^1000 = 6e-14


@dataclass(frozen=True, kw_only=True)
class Process:
    """A switching autoregression x_t = sum_l W_zl x_{t-ls} + b_z + L_z e_t, e_t ~ Normal(0, I), of K regimes.

    With degrees of freedom nu, e_t is Student t instead, Normal(0, I) / sqrt(w_t) with w_t ~ Gamma(nu / 2, nu / 2).
    """

    ar_weights: Array  # (K, P, D, D), lag 1 first
    ar_bias: Array  # (K, D)
    scale_tril: Array  # (K, D, D), or (1, D, D) where all regimes share it
    initial_probs: Array  # (K,)
    transition_matrix: Array  # (K, K), row = from
    stride: int = 1
    degrees: float | None = None

    @property
    def num_regimes(self) -> int:
        """K."""
        return int(self.ar_bias.shape[0])

    @property
    def num_channels(self) -> int:
        """D."""
        return int(self.ar_bias.shape[1])

    @property
    def num_lags(self) -> int:
        """P."""
        return int(self.ar_weights.shape[1])


def transition_matrix(num_regimes: int, dwell: float) -> Array:
    """Return the matrix (K, K), row = from, whose visits last `dwell` rows on average, then any other regime.

    A_kk = 1 - 1 / dwell; with one regime A = 1.
    """
    K = num_regimes
    if K == 1:
        return np.ones((1, 1))
    off_diagonal = 1 / dwell / (K - 1)
    return np.full((K, K), off_diagonal) + (1 - 1 / dwell - off_diagonal) * np.eye(K)


def regime_law(num_regimes: int, generator: np.random.Generator) -> Array:
    """Draw a law of K regimes, flat Dirichlet above a floor of 0.5 / K for each, so that no regime is rare: (K,)."""
    floor = np.full(num_regimes, 0.5 / num_regimes)
    probs: Array = floor + 0.5 * generator.dirichlet(np.ones(num_regimes))
    return probs


def random_process(
    num_regimes: int,
    num_channels: int,
    num_lags: int,
    *,
    dwell: float | None,
    shared_covariance: bool,
    intercept: bool,
    generator: np.random.Generator,
) -> Process:
    """Draw regimes of spectral radius 0.6 to 0.97, again until the switching process is stable in mean square.

    Each lag is a random orthogonal matrix, the further back the smaller, scaled to the radius drawn.

    Args:
        dwell: expected rows of a visit; None for regimes drawn anew at every row.
        shared_covariance: one covariance for all regimes. Eigenvalues lie between 0.5 and 2.
        intercept: whether regimes have a bias, Normal(0, 1) for each channel.
    """
    K, D, P = num_regimes, num_channels, num_lags
    if dwell is None:
        initial_probs = regime_law(K, generator)
        chain = np.tile(initial_probs, (K, 1))
    else:
        initial_probs = np.full(K, 1 / K)
        chain = transition_matrix(K, dwell)
    while True:
        ar_weights = np.stack([_regime_weights(P, D, generator) for _ in range(K)])
        if mean_square_radius(ar_weights, chain) < 1:
            break
    return Process(
        ar_weights=ar_weights,
        ar_bias=generator.standard_normal((K, D)) if intercept else np.zeros((K, D)),
        scale_tril=np.stack([_noise_scale(D, generator) for _ in range(1 if shared_covariance else K)]),
        initial_probs=initial_probs,
        transition_matrix=chain,
    )


def _beside(ar_weights: Array) -> Array:
    """Put lag matrices beside one another, lag 1 first: (.., P, D, D) -> (.., D, PD)."""
    *leading, P, D, _ = ar_weights.shape
    return np.moveaxis(ar_weights, -3, -2).reshape(*leading, D, P * D)


def companion(ar_weights: Array) -> Array:
    """Write lag matrices as a map of [x_{t-1}, .., x_{t-P}] to [x_t, .., x_{t-P+1}]: (.., P, D, D) -> (.., PD, PD).

    Without lags it is that of one lag of weight 0.
    """
    *leading, P, D, _ = ar_weights.shape
    if P == 0:
        return np.zeros((*leading, D, D))
    shift = np.broadcast_to(np.eye((P - 1) * D, P * D), (*leading, (P - 1) * D, P * D))
    return np.concatenate([_beside(ar_weights), shift], axis=-2)


def spectral_radii(ar_weights: Array) -> Array:
    """Compute the largest modulus of the eigenvalues of each regime's companion matrix: (K, P, D, D) -> (K,)."""
    radii: Array = np.abs(np.linalg.eigvals(companion(ar_weights))).max(axis=-1)
    return radii


def mean_square_radius(ar_weights: Array, chain: Array, iterations: int = 600) -> float:
    """Compute the spectral radius of [A_ij F_j (x) F_j]; below 1 the process has a stationary covariance.

    The operator sends K covariances X_i to Y_j = F_j (sum_i A_ij X_i) F_j^T, with F_j the companion matrix of regime j
    [Costa, Fragoso, Marques 2005, ch. 3]. It keeps them positive semidefinite, so its radius is the growth of their
    trace from X_i = I, here averaged over the second half of the iterations.

    Args:
        ar_weights: (K, P, D, D). chain: (K, K) A. iterations: 600 give a radius to 1e-6, measured on random processes.
    """
    maps = companion(ar_weights)  # (K, PD, PD)
    K, S, _ = maps.shape
    covariances = np.broadcast_to(np.eye(S), (K, S, S))
    log_growth = 0.0
    for iteration in range(iterations):
        covariances = maps @ np.tensordot(chain.T, covariances, axes=1) @ maps.transpose(0, 2, 1)
        trace = float(np.trace(covariances, axis1=1, axis2=2).sum())
        if trace == 0:
            return 0.0
        covariances = covariances / trace
        if iteration >= iterations // 2:
            log_growth += math.log(trace)
    return math.exp(log_growth / (iterations - iterations // 2))


def regime_path(uniforms: Array, chain: Array, first: int, num_blocks: int | None = None) -> Regimes:
    """Draw regimes z_1..z_n of a Markov chain that follows regime `first`, row t by the uniform number u_t.

    z_t = number of j < K with sum_{i <= j} A[z_{t-1}, i] <= u_t. Every row is thus a map of {0..K-1} to itself; blocks
    compose their maps in lockstep, one pass carries the regime across blocks, and the rows of all blocks follow in
    lockstep again.

    Args:
        uniforms: (n,) u_t. chain: (K, K) A. num_blocks: None takes about sqrt(n); it never changes the answer.
    Returns:
        (n,).
    """
    K = chain.shape[0]
    thresholds = np.cumsum(chain, axis=1)[:, : K - 1]
    moves = np.zeros((len(uniforms), K), dtype=np.int32)  # where each regime goes
    for threshold in thresholds.T:
        moves += uniforms[:, None] >= threshold
    L, B = _block_shape(len(uniforms), num_blocks)
    blocks = _in_blocks(moves, L, B, np.arange(K))
    lanes = np.arange(B)
    reached = np.broadcast_to(np.arange(K), (B, K))
    for move in blocks:
        reached = np.take_along_axis(move, reached, axis=1)
    regime = np.empty(B, dtype=np.int64)
    for block, goes_to in enumerate(reached.tolist()):
        regime[block] = first
        first = goes_to[first]
    path = np.empty((L, B), dtype=np.int64)
    for row, move in enumerate(blocks):
        path[row] = regime = move[lanes, regime]
    return path.T.reshape(-1)[: len(uniforms)]


def autoregression(
    ar_weights: Array, inputs: Array, regimes: Regimes, past: Array, num_blocks: int | None = None
) -> Array:
    """Compute x_t = sum_l W[z_t, l] x_{t-l} + inputs_t for independent lanes, by an affine scan in blocks of rows.

    First, all blocks in lockstep, the affine map of a block's rows, s -> M s + v with M = prod F_z; then M and v carry
    the state s = [x_{t-1}, ..., x_{t-P}] from block to block; then, in lockstep again, the rows from the exact states.

    Args:
        ar_weights: (K, P, D, D), lag 1 first. inputs: (n, R, D) for R lanes. regimes: (n, R).
        past: (R, P, D), the rows before the first, the latest first.
        num_blocks: blocks of rows; None takes about sqrt(n). It changes the answer by rounding only.
    Returns:
        (n, R, D).
    """
    n, R, D = inputs.shape
    P = ar_weights.shape[1]
    S = P * D
    top = _beside(ar_weights)  # (K, D, S)
    L, B = _block_shape(n, num_blocks)
    inputs = _in_blocks(inputs, L, B, np.zeros((R, D)))
    regimes = _in_blocks(regimes, L, B, np.zeros(R, dtype=np.int64))
    # The map of a block, as S columns that follow the homogeneous recursion and one that follows the inputs from rest
    columns = np.zeros((B, R, S, S + 1))
    columns[..., :S] = np.eye(S)
    for row_inputs, row_regimes in zip(inputs, regimes, strict=True):
        x = top[row_regimes] @ columns  # (B, R, D, S + 1)
        x[..., S] += row_inputs
        columns = np.concatenate([x, columns[:, :, : S - D]], axis=2) if P > 1 else x[:, :, :S]
    state = past.reshape(R, S, 1)
    states = np.empty((B, R, S, 1))
    for block in range(B):
        states[block] = state
        state = columns[block, ..., :S] @ state + columns[block, ..., S:]
    rows = np.empty((L, B, R, D))
    for row, (row_inputs, row_regimes) in enumerate(zip(inputs, regimes, strict=True)):
        x = top[row_regimes] @ states  # (B, R, D, 1)
        x[..., 0] += row_inputs
        rows[row] = x[..., 0]
        states = np.concatenate([x, states[:, :, : S - D]], axis=2) if P > 1 else x[:, :, :S]
    return rows.transpose(1, 0, 2, 3).reshape(L * B, R, D)[:n]


def draw(
    process: Process, num_steps: int, generator: np.random.Generator, burn_in_rows: int = BURN_IN_ROWS
) -> Iterator[tuple[Array, Regimes]]:
    """Draw a series, chunk by chunk: rows (n, D) and their regimes (n,).

    The regime of the first row comes from the initial law, its lags from rows drawn before it and dropped; without
    these they are 0.
    """
    K, D, P, R = process.num_regimes, process.num_channels, process.num_lags, process.stride
    past = np.zeros((R, P, D))

    def rows(count: int, regime: int | None) -> tuple[Array, Regimes]:
        """Draw the next rows; `regime` is that of the row before them, None where the chain begins."""
        nonlocal past
        uniforms = generator.random(count)
        first = np.zeros(0, dtype=np.int64)
        if regime is None:
            regime = min(int(np.searchsorted(np.cumsum(process.initial_probs), uniforms[0], side="right")), K - 1)
            first = np.array([regime])
        regimes = np.concatenate([first, regime_path(uniforms[len(first) :], process.transition_matrix, regime)])
        noise = generator.standard_normal((count, D))
        if process.degrees is not None:
            noise /= np.sqrt(generator.chisquare(process.degrees, (count, 1)) / process.degrees)
        inputs = process.ar_bias[regimes] + _noise(process.scale_tril, regimes, noise)
        # Rows a stride apart are a recursion of their own: one lane for each residue
        lane_rows = -(-count // R)
        padding = lane_rows * R - count
        lanes = np.pad(inputs, ((0, padding), (0, 0))).reshape(lane_rows, R, D)
        x = autoregression(process.ar_weights, lanes, np.pad(regimes, (0, padding)).reshape(lane_rows, R), past)
        flat = x.reshape(-1, D)[:count]
        history = np.concatenate([past[:, ::-1].transpose(1, 0, 2).reshape(-1, D), flat])
        past = history[len(history) - P * R :].reshape(P, R, D).transpose(1, 0, 2)[:, ::-1]
        return flat, regimes

    if burn_in_rows:
        rows(burn_in_rows, None)
    regime = None
    for start in range(0, num_steps, CHUNK_ROWS):
        x, regimes = rows(min(CHUNK_ROWS, num_steps - start), regime)
        regime = int(regimes[-1])
        yield x, regimes


def empty_cells(x: Array, share: float, generator: np.random.Generator) -> Array:
    """Make this share of the cells of rows (n, D) missing (NaN), each by chance of its own."""
    return np.where(generator.random(x.shape) < share, np.nan, x)


def add_spikes(x: Array, share: float, scale: Array, generator: np.random.Generator) -> Array:
    """Shift one channel of this share of the rows (n, D) by 20 times its `scale` (D,); later rows do not follow."""
    n, D = x.shape
    hit = generator.random(n) < share
    channel: Regimes = generator.integers(D, size=(n,))
    size = np.where(hit, generator.choice(np.array([-20.0, 20.0]), size=n), 0.0)
    spiked: Array = x + size[:, None] * scale * (channel[:, None] == np.arange(D))
    return spiked


def _regime_weights(num_lags: int, num_channels: int, generator: np.random.Generator) -> Array:
    """Draw W_l = (c / 2)^l Q_l, Q_l orthogonal, with c such that the companion has the radius drawn: (P, D, D)."""
    if num_lags == 0:
        return np.zeros((0, num_channels, num_channels))
    lag = np.arange(1, num_lags + 1)[:, None, None]
    weights = np.stack([_orthogonal(num_channels, generator) for _ in range(num_lags)]) / 2.0**lag
    radius = generator.uniform(SMALLEST_RADIUS, LARGEST_RADIUS)
    scaled: Array = weights * (radius / spectral_radii(weights[None])[0]) ** lag
    return scaled


def _noise_scale(num_channels: int, generator: np.random.Generator) -> Array:
    """Draw the Cholesky factor (D, D) of a covariance with eigenvalues from 0.5 to 2, evenly in their logarithm."""
    axes = _orthogonal(num_channels, generator)
    covariance = axes * np.exp2(generator.uniform(-1, 1, num_channels)) @ axes.T
    return np.linalg.cholesky((covariance + covariance.T) / 2).astype(np.float64)


def _orthogonal(size: int, generator: np.random.Generator) -> Array:
    """Draw an orthogonal matrix (size, size), uniform over all (Haar): signs are fixed, which QR leaves open."""
    q, r = np.linalg.qr(generator.standard_normal((size, size)))
    signed: Array = q * np.sign(np.diag(r))
    return signed


def _noise(scale_tril: Array, regimes: Regimes, normals: Array) -> Array:
    """Scale standard noise e (n, D) to L_z e, regime by regime."""
    if len(scale_tril) == 1:
        shared: Array = normals @ scale_tril[0].T
        return shared
    noise = np.empty_like(normals)
    for regime, factor in enumerate(scale_tril):
        members = regimes == regime
        noise[members] = normals[members] @ factor.T
    return noise


def _block_shape(num_rows: int, num_blocks: int | None) -> tuple[int, int]:
    """Choose L rows in each of B blocks; by default B is about 2 L, as a step of all blocks costs more."""
    if num_blocks is None:
        num_blocks = max(1, math.isqrt(2 * num_rows))
    rows = max(1, -(-num_rows // num_blocks))
    return rows, max(1, -(-num_rows // rows))


def _in_blocks(rows: NDArray, L: int, B: int, padding: NDArray) -> NDArray:  # type: ignore[type-arg]
    """Put row t of every block side by side: (n, ...) -> (L, B, ...); the last block is filled with padding (...)."""
    fill = np.broadcast_to(padding, (L * B - len(rows), *padding.shape)).astype(rows.dtype)
    filled = np.concatenate([rows, fill]).reshape(B, L, *rows.shape[1:])
    return np.ascontiguousarray(np.moveaxis(filled, 1, 0))
