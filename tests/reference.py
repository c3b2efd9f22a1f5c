"""Slow, obvious twins of the mathematics, which share no code with it."""

import itertools

import numpy as np
from scipy.stats import multivariate_normal


def move(pi, A, step):
    """The matrix by which the chain moves into a row with this step: 0 a new start, n A^n."""
    return np.tile(pi, (len(pi), 1)) if step == 0 else np.linalg.matrix_power(A, int(step))


def enumerate_paths(log_likelihoods, pi, A, steps):
    """All K^T paths: (log evidence, smoothed (T, K), pair sums (K, K) of rows with step 1, {path: log joint})."""
    T, K = log_likelihoods.shape
    joint = {}
    for path in itertools.product(range(K), repeat=T):
        with np.errstate(divide="ignore"):
            total = np.log(pi[path[0]]) + log_likelihoods[0, path[0]]
            for t in range(1, T):
                total += np.log(move(pi, A, steps[t])[path[t - 1], path[t]]) + log_likelihoods[t, path[t]]
        joint[path] = total
    evidence = np.logaddexp.reduce(list(joint.values()))
    smoothed, pairs = np.zeros((T, K)), np.zeros((K, K))
    for path, total in joint.items():
        weight = np.exp(total - evidence)
        smoothed[np.arange(T), path] += weight
        for t in range(1, T):
            if steps[t] == 1:
                pairs[path[t - 1], path[t]] += weight
    return evidence, smoothed, pairs, joint


def filter_rows(log_likelihoods, pi, A, steps):
    """Step by step: filtered (T, K) and log p(x_t | past) (T,)."""
    filtered, rows, previous = [], [], None
    for t, scores in enumerate(log_likelihoods):
        predicted = pi if t == 0 else previous @ move(pi, A, steps[t])
        joint = predicted * np.exp(scores)
        rows.append(np.log(joint.sum()))
        previous = joint / joint.sum()
        filtered.append(previous)
    return np.array(filtered), np.array(rows)


def ar_log_likelihoods(x, weights, bias, covariance):
    """log Normal(x_t; sum_p W_kp x_t-p + b_k, Sigma_k) by scipy, row by row; 0 where lags lack. x (T, D) -> (T, K)."""
    K, P, _D, _ = weights.shape
    out = np.zeros((len(x), K))
    for t in range(P, len(x)):
        for k in range(K):
            mean = bias[k] + sum(weights[k, p] @ x[t - 1 - p] for p in range(P))
            out[t, k] = multivariate_normal(mean, covariance[k]).logpdf(x[t])
    return out


def random_chain(rng, K):
    """pi (K,) and A (K, K)."""
    return rng.dirichlet(np.ones(K)), rng.dirichlet(np.ones(K), size=K)
