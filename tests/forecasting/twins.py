"""Slow, obvious twins of forecasts, which share no code with them."""

import itertools

import numpy as np


def decoder(model):
    """Weights (K, P, D, D), bias (K, D) and noise covariance (K, D, D) of a filter model, in standardised units."""
    (K, D, _), P = model.weights.shape, model.config.lags
    weights = model.weights[..., : P * D].reshape(K, D, P, D).transpose(0, 2, 1, 3)
    bias = model.weights[..., -1] if model.config.intercept else np.zeros((K, D))
    return weights, bias, model.scale_tril @ model.scale_tril.transpose(0, 2, 1)


def chain(model):
    """The transition matrix (K, K)."""
    if model.config.prior == "iid":
        return np.tile(model.initial_probs, (len(model.initial_probs), 1))
    return model.transition_matrix


def ahead_given_path(model, past, path):
    """Mean (h D,) and covariance of all rows ahead, given their regimes: x = M x + c + e, so x = (I - M)^-1 (c + e)."""
    weights, bias, noise = decoder(model)
    H, D, stride = len(path), past.shape[1], model.config.stride
    M, c, Q = np.zeros((H * D, H * D)), np.zeros(H * D), np.zeros((H * D, H * D))
    for t, k in enumerate(path):
        rows = slice(t * D, t * D + D)
        c[rows], Q[rows, rows] = bias[k], noise[k]
        for p in range(weights.shape[1]):
            lag = t - (p + 1) * stride
            if lag >= 0:
                M[rows, lag * D : lag * D + D] += weights[k, p]
            else:
                c[rows] += weights[k, p] @ past[lag]
    inverse = np.linalg.inv(np.eye(H * D) - M)
    return inverse @ c, inverse @ Q @ inverse.T


def enumerated(model, law, past, horizon):
    """p(z), mean and standard deviation of every row ahead, summed over all K^h paths of regimes."""
    K, D, A = len(law), past.shape[1], chain(model)
    probs, mean, square = np.zeros((horizon, K)), np.zeros((horizon, D)), np.zeros((horizon, D))
    for path in itertools.product(range(K), repeat=horizon):
        weight = (law @ A)[path[0]] * np.prod([A[i, j] for i, j in itertools.pairwise(path)])
        expected, covariance = ahead_given_path(model, past, path)
        probs[np.arange(horizon), path] += weight
        mean += weight * expected.reshape(horizon, D)
        square += weight * (expected**2 + np.diag(covariance)).reshape(horizon, D)
    return probs, mean, np.sqrt(square - mean**2)


def drawn(model, law, past, horizon, num_paths, rng):
    """Rows ahead (N, h, D), drawn row by row as the density of `student_t` says."""
    weights, bias, _ = decoder(model)
    K, A, nu, (stride, D) = len(law), chain(model), model.degrees, (model.config.stride, past.shape[1])
    regimes = rng.choice(K, num_paths, p=law)
    rows = list(np.broadcast_to(past[:, None], (len(past), num_paths, D)))
    squares = [None] * len(past)  # r^2 of each row in its best regime, None where its own lags are not known
    for t in range(len(past), len(past) + horizon):
        lags = [t - (p + 1) * stride for p in range(weights.shape[1])]
        if t == len(past):  # the rows of the past that have lags
            for row in range(len(past)):
                earlier = [row - (p + 1) * stride for p in range(weights.shape[1])]
                if min(earlier) >= 0:
                    squares[row] = _best(model, rows, row, earlier)
        regimes = (rng.random(num_paths)[:, None] > np.cumsum(A, 1)[regimes]).sum(1).clip(0, K - 1)
        means = np.stack([bias[k] + sum(rows[lag] @ weights[k, p].T for p, lag in enumerate(lags)) for k in range(K)])
        noise = np.einsum("nij,nj->ni", model.scale_tril[regimes], rng.normal(size=(num_paths, D)))
        if nu is not None:
            inflation = np.ones(num_paths)
            for lag in lags:
                if squares[lag] is not None:
                    inflation = np.maximum(inflation, (nu + squares[lag]) / (nu + D))
            noise *= np.sqrt(inflation / rng.gamma(nu / 2, 2 / nu, num_paths))[:, None]
        rows.append(means[regimes, np.arange(num_paths)] + noise)
        squares.append(_best(model, rows, t, lags))
    return np.stack(rows[len(past) :], 1)


def _best(model, rows, row, lags):
    """r^2 (N,) of a row in the regime that explains it best."""
    weights, bias, noise = decoder(model)
    found = []
    for k in range(len(bias)):
        error = rows[row] - bias[k] - sum(rows[lag] @ weights[k, p].T for p, lag in enumerate(lags))
        found.append(np.einsum("ni,ij,nj->n", error, np.linalg.inv(noise[k]), error))
    return np.min(found, 0)
