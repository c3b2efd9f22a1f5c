"""Slow, obvious twins of the mathematics, which share no code with it."""

import itertools

import numpy as np
from scipy.special import gammaln
from scipy.stats import multivariate_normal


def move(pi, A, step):
    """The matrix by which the chain moves into a row with this step: 0 a new start, n A^n."""
    return np.tile(pi, (len(pi), 1)) if step == 0 else np.linalg.matrix_power(A, int(step))


def enumerate_paths(log_likelihoods, pi, A, steps):
    """All K^T paths: (log marginal, smoothed (T, K), pair sums (K, K) of rows with step 1, {path: log joint})."""
    T, K = log_likelihoods.shape
    joint = {}
    for path in itertools.product(range(K), repeat=T):
        with np.errstate(divide="ignore"):
            total = np.log(pi[path[0]]) + log_likelihoods[0, path[0]]
            for t in range(1, T):
                total += np.log(move(pi, A, steps[t])[path[t - 1], path[t]]) + log_likelihoods[t, path[t]]
        joint[path] = total
    log_marginal = np.logaddexp.reduce(list(joint.values()))
    smoothed, pairs = np.zeros((T, K)), np.zeros((K, K))
    for path, total in joint.items():
        weight = np.exp(total - log_marginal)
        smoothed[np.arange(T), path] += weight
        for t in range(1, T):
            if steps[t] == 1:
                pairs[path[t - 1], path[t]] += weight
    return log_marginal, smoothed, pairs, joint


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


def adjusted_rand_index(counts):
    """Agreement on pairs of rows, 0 by chance, 1 for equal partitions, trivial ones too.  [Hubert and Arabie 1985]"""
    n = int(counts.sum())
    together = _pairs(counts)
    true, predicted = _pairs(counts.sum(axis=1)), _pairs(counts.sum(axis=0))
    expected = true * predicted / max(_pairs(np.array([n])), 1)
    largest = (true + predicted) / 2
    return 1.0 if largest == expected else (together - expected) / (largest - expected)


def normalized_mutual_information(counts):
    """MI / mean of the two entropies; 1 where both have one label, 0 where one has."""
    mean = (_entropy(counts.sum(axis=1)) + _entropy(counts.sum(axis=0))) / 2
    return 1.0 if mean == 0 else min(1.0, _mutual_information(counts) / mean)


def adjusted_mutual_information(counts):
    """(MI - E MI) / (mean entropy - E MI), 0 by chance; E over all of the same sizes.  [Vinh, Epps, Bailey 2010]"""
    true, predicted = counts.sum(axis=1), counts.sum(axis=0)
    if np.count_nonzero(true) == np.count_nonzero(predicted) == 1:
        return 1.0
    mean = (_entropy(true) + _entropy(predicted)) / 2
    expected = _expected_mutual_information(true[true > 0], predicted[predicted > 0])
    room = mean - expected
    if abs(room) < np.finfo(float).eps:  # all rows differ: chance cannot do worse
        return 1.0
    return min(1.0, (_mutual_information(counts) - expected) / room)


def v_measure(counts):
    """Harmonic mean of homogeneity, MI / H(true), and completeness, MI / H(predicted); 1 where that entropy is 0."""
    information = _mutual_information(counts)
    true, predicted = _entropy(counts.sum(axis=1)), _entropy(counts.sum(axis=0))
    homogeneity = 1.0 if true == 0 else information / true
    completeness = 1.0 if predicted == 0 else information / predicted
    total = homogeneity + completeness
    return 0.0 if total == 0 else min(1.0, 2 * homogeneity * completeness / total)


def _pairs(sizes):
    return sum(size * (size - 1) // 2 for size in sizes.ravel().tolist())  # integers of Python: they never overflow


def _entropy(sizes):
    probs = sizes[sizes > 0] / sizes.sum()
    return max(0.0, float(-(probs * np.log(probs)).sum())) if len(probs) > 1 else 0.0


def _mutual_information(counts):
    n = counts.sum()
    expected = np.outer(counts.sum(axis=1) / n, counts.sum(axis=0) / n)
    present = counts > 0
    joint = counts[present] / n
    return max(0.0, float((joint * np.log(joint / expected[present])).sum()))


def _expected_mutual_information(true, predicted):
    """E MI for partitions with these sizes: n_ij is hypergeometric, summed to 30 standard deviations from its mean."""
    n = int(true.sum())

    def log_choose(top, bottom):
        """Log of the binomial coefficient."""
        return gammaln(top + 1.0) - gammaln(bottom + 1.0) - gammaln(top - bottom + 1.0)

    total = 0.0
    for a in true.tolist():
        for b in predicted.tolist():
            mean = a * b / n
            reach = 30 * (mean * (1 - a / n) * (1 - b / n)) ** 0.5 + 30
            lowest, highest = max(1, a + b - n, int(mean - reach)), min(a, b, int(mean + reach) + 1)
            shared = np.arange(lowest, highest + 1, dtype=np.float64)
            log_probs = log_choose(a, shared) + log_choose(n - a, b - shared) - log_choose(n, b)
            total += float((shared / n * np.log(n * shared / (a * b)) * np.exp(log_probs)).sum())
    return total
