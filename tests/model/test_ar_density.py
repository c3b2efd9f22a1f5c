import numpy as np
import pytest
import torch
from random_models import random_observed, random_parameters
from reference import ar_log_likelihoods
from scipy.stats import multivariate_normal

from gmvae_cli.model.ar_density import Emission, context, log_likelihoods, patterns


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("K", "D", "P"), [(1, 1, 1), (3, 2, 1), (2, 3, 3), (4, 4, 2)])
def test_log_likelihoods_equal_scipy(K, D, P, shared):
    rng = np.random.default_rng(K + 10 * D + 100 * P)
    emission = random_parameters(rng, K, D, P, shared).emission
    x = rng.normal(size=(25, D))
    tril = emission.scale_tril.expand(K, D, D)
    expected = ar_log_likelihoods(
        x, *(t.numpy() for t in (emission.ar_weights(P), emission.ar_bias(P), tril @ tril.mT))
    )
    y = context(torch.as_tensor(x.T), P, 1, True)
    np.testing.assert_allclose(log_likelihoods(y, emission).T, expected[P:], rtol=1e-10)


def test_context_puts_lag_one_first_and_the_intercept_last():
    x = torch.arange(10.0)[None]
    y = context(x, 2, 3, True)
    assert y[:, 0].tolist() == [6, 3, 0, 1]
    assert y.shape == (4, 4)


def test_context_of_too_few_rows_is_empty():
    assert context(torch.zeros(2, 3), 2, 2, False).shape == (6, 0)


def test_restarts_are_models_side_by_side():
    rng = np.random.default_rng(0)
    models = [random_parameters(rng, 3, 2, 1).emission for _ in range(4)]
    stacked = Emission(torch.stack([m.weights for m in models]), torch.stack([m.scale_tril for m in models]))
    y = torch.as_tensor(rng.normal(size=(5, 30)))
    for index, model in enumerate(models):
        torch.testing.assert_close(log_likelihoods(y, stacked)[index], log_likelihoods(y, model))


def test_many_rows_are_scored_piece_by_piece():
    """More than a cache holds, against the way that gradients take, in one product."""
    rng = np.random.default_rng(2)
    emission = random_parameters(rng, 2, 2, 1).emission
    y = torch.as_tensor(rng.normal(size=(5, 20_000)))
    whole = log_likelihoods(y.clone().requires_grad_(), emission).detach()
    torch.testing.assert_close(log_likelihoods(y, emission), whole)


def test_patterns_group_the_partly_observed_rows():
    observed = random_observed(np.random.default_rng(0), 3, 60)
    result = patterns(observed)
    rows = torch.cat([pattern.rows for pattern in result])
    assert sorted(rows.tolist()) == [t for t in range(60) if 0 < observed[:, t].sum() < 3]
    for pattern in result:
        for t in pattern.rows.tolist():
            assert observed[:, t].nonzero()[:, 0].tolist() == pattern.channels.tolist()
    assert patterns(torch.ones(2, 5, dtype=torch.bool)) == []


def test_partly_observed_rows_have_their_marginal_density():
    rng = np.random.default_rng(1)
    K, D, n = 2, 3, 40
    emission = random_parameters(rng, K, D, 1).emission
    y = np.concatenate([rng.normal(size=(2 * D, n)), np.ones((1, n))])
    observed = random_observed(rng, D, n)
    result = log_likelihoods(torch.as_tensor(y), emission, patterns(observed))
    covariance = (emission.scale_tril @ emission.scale_tril.mT).numpy()
    for t in range(n):
        o = observed[:, t].numpy()
        for k in range(K):
            if o.any():
                mean = (emission.weights[k].numpy() @ y[D:, t])[o]
                expected = multivariate_normal(mean, covariance[k][np.ix_(o, o)]).logpdf(y[:D, t][o])
                assert float(result[k, t]) == pytest.approx(expected, rel=1e-9)
