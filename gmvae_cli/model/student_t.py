"""Student t noise: its density, the weights of rows, and the inflation of the scale after lags that were outliers.

    x_t = Pi_k h_t + L_k e_t / sqrt(w_t v_t),   e_t ~ Normal(0, I),   w_t ~ Gamma(nu / 2, nu / 2)

with D channels and nu degrees of freedom. An outlier does harm twice: in its own row, which its weight w_t makes
harmless, and as a lag of the next rows, where it would favour the regimes with the smallest lag weights, and dominate
the regression. So v_t is the smallest over the lags of the weight that the lag's row has in the regime that explains it
best, and 1 where all of them are inliers. That is a function of the past, so x_t | past, z_t = k keeps a Student t
density, with the scale matrix Sigma_k / v_t. Updates take v as given. 1 / v_t is called the lag inflation.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

# Of freedom: from the tails of a Cauchy law to an excess kurtosis of 6 / 996, which only millions of rows tell from 0
DEGREES = (1.0, 1000.0)


class LagIndex(NamedTuple):
    """Positions of the rows that are lags of n rows y, for P lags a stride of s rows apart.

    Args:
        history: (M, m) rows [x, h] before the first.
        rows: (P, n) int64, row t - ps as a column of [history, y]; -1 where it is not at hand, or not usable and so
            without a weight.
    """

    history: Tensor
    rows: Tensor

    @classmethod
    def of(cls, y: Tensor, usable: Tensor, num_lags: int, stride: int) -> "LagIndex":
        """Index consecutive rows y (M, n), of which those marked in (n,) are usable, and none is known before them."""
        count = torch.arange(y.shape[1], device=y.device)
        rows = count - stride * torch.arange(1, num_lags + 1, device=y.device)[:, None]
        return cls(y[:, :0], torch.where((rows >= 0) & usable[rows.clamp_min(0)], rows, -1))

    def cut(self, y: Tensor, start: int, stop: int) -> "LagIndex":
        """Index the rows [start, stop) of y (M, n) alone; all before them become history, as far as it is needed."""
        rows, first = self.rows[:, start:stop], self.history.shape[1] + start
        known = rows[rows >= 0]
        low = min(first, int(known.min())) if len(known) else first
        history = torch.cat([self.history, y[:, :start]], dim=1)[:, low:]
        return LagIndex(history, torch.where(rows >= 0, rows - low, -1))

    @classmethod
    def joined(cls, parts: Sequence["LagIndex"]) -> "LagIndex":
        """Index several stretches of rows, put one after the other."""
        total = sum(part.history.shape[1] for part in parts)
        before, offset, rows = 0, total, []
        for part in parts:
            m, n = part.history.shape[1], part.rows.shape[1]
            moved = torch.where(part.rows < m, part.rows + before, part.rows - m + offset)
            rows.append(torch.where(part.rows >= 0, moved, -1))
            before, offset = before + m, offset + n
        return cls(torch.cat([part.history for part in parts], dim=1), torch.cat(rows, dim=1))


def bounded(squares: Tensor) -> Tensor:
    """Replace infinite squares, of any shape, by the largest number: they are outliers, and would end as NaN."""
    return squares.clamp_max(torch.finfo(squares.dtype).max)


def lag_inflation(squares: Tensor, degrees: Tensor, num_channels: int, lag_index: LagIndex) -> Tensor:
    """Compute 1 / v_t = max(1, max over lags of min over k of (nu + r^2) / (nu + D)): (..., n).

    r^2 is that of the lag's row. The result is 1 where no lag's row is at hand.

    Args:
        squares: (..., K, m + n) squared whitened residuals r^2 of [history, y]. degrees: (..., 1).
        lag_index: of the n rows y.
    """
    best = bounded(squares.amin(-2))  # (..., m + n)
    inverse = ((degrees.to(best) + best) / (degrees.to(best) + num_channels)).clamp_min(1)
    inverse = torch.cat([inverse, torch.ones_like(inverse[..., :1])], dim=-1)  # to which -1 points
    rows = pad(lag_index.rows, (0, 0, 0, 1), value=-1)  # (P + 1, n)
    return inverse[..., rows].amax(-2)


def log_ratio(squares: Tensor, degrees: Tensor, lag_inflation: Tensor | None) -> Tensor:
    """Compute log(1 + v r^2 / nu), (..., K, n), from r^2 (..., K, n), nu (..., 1) and lag inflation 1 / v (..., n)."""
    ratio = bounded(squares) / degrees.to(squares)[..., None]
    return ratio.log1p() if lag_inflation is None else (ratio / lag_inflation[..., None, :]).log1p()


def log_density(
    squares: Tensor, log_det: Tensor, degrees: Tensor, num_channels: int, lag_inflation: Tensor | None = None
) -> Tensor:
    """Compute the log density of the multivariate t law, nats.

    log t = log G((nu + D) / 2) - log G(nu / 2) - D / 2 log(pi nu / v) - log |L| - (nu + D) / 2 log(1 + v r^2 / nu)

    with the gamma function G                                        [Kotz and Nadarajah 2004, "Multivariate t", ch. 1]

    Args:
        squares: (..., K, n) r^2. log_det: (..., K) log |L_k| + D / 2 log 2 pi. degrees: (..., 1).
        lag_inflation: (..., n) 1 / v; None: 1.
    Returns:
        (..., K, n).
    """
    half = 0.5 * degrees.double()  # (..., 1)
    gammas = torch.lgamma(half + 0.5 * num_channels) - torch.lgamma(half) - 0.5 * num_channels * half.log()
    peak, power = (gammas - log_det).to(squares), (half + 0.5 * num_channels).to(squares)
    scores = peak[..., None] - power[..., None] * log_ratio(squares, degrees, lag_inflation)
    return scores if lag_inflation is None else scores - 0.5 * num_channels * lag_inflation.log()[..., None, :]


class Weights(NamedTuple):
    """Weights of rows in each regime, and their part in the update of nu; each (..., K, n).

    Args:
        total: E[w_t v_t | x_t, h_t, z_t = k], by which moments are weighted. mean: E[w_t | x_t, h_t, z_t = k].
        slope, curvature: first and second derivative of the row's log density in nu.
    """

    total: Tensor
    mean: Tensor
    slope: Tensor
    curvature: Tensor


def row_weights(squares: Tensor, degrees: Tensor, num_channels: int, lag_inflation: Tensor | None) -> Weights:
    """Compute the row weights w = E[w_t | x_t, h_t, z_t = k] = (nu + D) / (nu + v r^2), and derivatives of log t in nu.

    d/dnu log t = (a(nu / 2) - a((nu + D) / 2) + 1 + log w - w) / 2  with a(u) = log u - digamma(u), and
    dw/dnu = w (1 - w) / (nu + D)                                            [Liu and Rubin 1995, Statistica Sinica 5]

    Args:
        squares: (..., K, n) r^2. degrees: (..., 1). lag_inflation: (..., n) 1 / v; None: 1.
    """
    half, whole = 0.5 * degrees, 0.5 * (degrees + num_channels)
    log_mean = (whole / half).log().to(squares)[..., None] - log_ratio(squares, degrees, lag_inflation)
    excess = log_mean.expm1()  # w - 1, which for large nu is small; so is all that is summed
    level = half.log() - torch.digamma(half) - whole.log() + torch.digamma(whole)
    bend = 0.5 / half - 0.5 * torch.polygamma(1, half) - 0.5 / whole + 0.5 * torch.polygamma(1, whole)
    slope = 0.5 * (level.to(squares)[..., None] + (log_mean - excess))
    curvature = 0.5 * (bend.to(squares)[..., None] + (0.5 / whole).to(squares)[..., None] * excess.square())
    mean = excess + 1
    return Weights(mean if lag_inflation is None else mean / lag_inflation[..., None, :], mean, slope, curvature)


def update_degrees(degrees: Tensor, slope: Tensor, curvature: Tensor) -> Tensor:
    """Take a Newton step in 1 / nu, in which the expected log-likelihood is nearly quadratic, at most by a factor of 2.

    The EM algorithm's own step takes hundreds of passes where nu is large; this one looks at log t itself, in which the
    weights are integrated out.                                               [ECME: Liu and Rubin 1994, Biometrika 81]

    Args:
        degrees: (..., 1) as they were.
        slope, curvature: (..., 1) first and second derivative of the expected log-likelihood of all rows in nu.
    Returns:
        (..., 1) within `DEGREES`.
    """
    inverse = 1 / degrees
    first, second = -slope * degrees**2, curvature * degrees**4 + 2 * slope * degrees**3
    newton = torch.where(second < 0, inverse - first / second, torch.where(first > 0, torch.inf, 0))
    inverse = newton.clamp(inverse / 2, inverse * 2)
    return (1 / inverse).clamp(*DEGREES)
