import numpy as np
import pytest
import torch
from reference import ar_log_likelihoods

from gmvae_cli.core import Parameters
from gmvae_cli.density import Emission, context, log_likelihoods, whitened_residuals


def random_parameters(rng, K, D, P, shared=False):
    covariance = [np.eye(D) * 0.3 + (a := rng.normal(size=(D, D)) * 0.4) @ a.T for _ in range(1 if shared else K)]
    return Parameters(
        torch.as_tensor(rng.normal(size=(K, P, D, D)) * 0.4),
        torch.as_tensor(rng.normal(size=(K, D))),
        torch.linalg.cholesky(torch.as_tensor(np.stack(covariance))),
        torch.full((K,), 1 / K, dtype=torch.float64),
        torch.full((K, K), 1 / K, dtype=torch.float64),
    )


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("K", "D", "P"), [(1, 1, 1), (3, 2, 1), (2, 3, 3), (4, 4, 2)])
def test_log_likelihoods_equal_scipy(K, D, P, shared):
    rng = np.random.default_rng(K + 10 * D + 100 * P)
    parameters = random_parameters(rng, K, D, P, shared)
    x = rng.normal(size=(25, D))
    tril = parameters.scale_tril.expand(K, D, D)
    expected = ar_log_likelihoods(x, *(t.numpy() for t in (parameters.ar_weights, parameters.ar_bias, tril @ tril.mT)))
    y = context(torch.as_tensor(x.T), P, 1, True)
    np.testing.assert_allclose(log_likelihoods(y, parameters.emission(True)).T, expected[P:], rtol=1e-10)


def test_context_puts_lag_one_first_and_the_intercept_last():
    x = torch.arange(10.0)[None]
    y = context(x, 2, 3, True)
    assert y[:, 0].tolist() == [6, 3, 0, 1]
    assert y.shape == (4, 4)


def test_context_of_too_few_rows_is_empty():
    assert context(torch.zeros(2, 3), 2, 2, False).shape == (6, 0)


def test_restarts_are_models_side_by_side():
    rng = np.random.default_rng(0)
    models = [random_parameters(rng, 3, 2, 1).emission(True) for _ in range(4)]
    both = Emission(torch.stack([m.weights for m in models]), torch.stack([m.scale_tril for m in models]))
    y = torch.as_tensor(rng.normal(size=(5, 30)))
    for index, model in enumerate(models):
        torch.testing.assert_close(log_likelihoods(y, both)[index], log_likelihoods(y, model))


def test_whitened_residuals_of_the_truth_are_white():
    rng = np.random.default_rng(0)
    emission = random_parameters(rng, 1, 3, 1).emission(False)
    h = rng.normal(size=(3, 50_000))
    x = emission.weights[0].numpy() @ h + emission.scale_tril[0].numpy() @ rng.normal(size=h.shape)
    residuals = whitened_residuals(torch.as_tensor(np.concatenate([x, h])), emission)[:, 0]
    np.testing.assert_allclose(np.cov(residuals.numpy()), np.eye(3), atol=0.03)
