import numpy as np
import pytest
import torch

from gmvae_cli.model.chain_autograd import chain_posterior


def by_logsumexp(potentials, log_initial, log_transition, steps):
    """The same two results, written so that automatic differentiation can follow."""
    _, L, K = potentials.shape

    def moves(t):
        kinds = {
            0: log_initial.expand(K, K),
            1: log_transition,
            3: torch.linalg.matrix_power(log_transition.detach().exp(), 3).log(),
        }
        return torch.stack([kinds[int(step)] for step in steps[:, t]])

    forward = [log_initial + potentials[:, 0]]
    for t in range(1, L):
        forward.append((forward[-1][:, :, None] + moves(t)).logsumexp(1) + potentials[:, t])
    backward = [torch.zeros_like(forward[0])]
    for t in range(L - 1, 0, -1):
        backward.insert(0, (moves(t) + (potentials[:, t] + backward[0])[:, None]).logsumexp(2))
    probs = torch.stack([(f + b).softmax(-1) for f, b in zip(forward, backward, strict=True)], 1)
    return forward[-1].logsumexp(-1), probs


def test_gradient_equals_automatic_differentiation():
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    B, L, K = 5, 9, 3
    steps = np.ones((B, L), int)
    steps[1, 3], steps[2, 4], steps[0, 0] = 0, 3, 3
    inputs = 2 * normal(B, L, K), normal(K).log_softmax(-1), normal(K, K).log_softmax(-1)
    u, v = normal(B), normal(B, L, K)
    results = []
    for function in (by_logsumexp, chain_posterior):
        leaves = [tensor.clone().requires_grad_() for tensor in inputs]
        log_z, probs = function(*leaves, steps)
        gradients = torch.autograd.grad((log_z * u).sum() + (probs * v).sum(), leaves)
        results.append([log_z, probs, *gradients])
    for theirs, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("A", [[[0.9, 0.1, 0], [0, 0.9, 0.1], [0, 0, 1]], np.eye(3).tolist()], ids=["onward", "stuck"])
def test_unreachable_regimes_have_finite_gradients(A, dtype):
    """Where predicted probabilities are 0, and where messages fall below the smallest number."""
    generator = torch.Generator().manual_seed(0)
    log_transition = torch.tensor(A, dtype=dtype).log().clamp_min(-1e4).requires_grad_()
    log_initial = torch.tensor([0, -1e4, -1e4], dtype=dtype, requires_grad=True)
    potentials = torch.randn(2, 30, 3, generator=generator, dtype=dtype) - torch.tensor([0.0, 500, 1000], dtype=dtype)
    leaves = [potentials.requires_grad_(), log_initial, log_transition]
    log_z, probs = chain_posterior(*leaves)
    gradients = torch.autograd.grad(log_z.sum() + (probs * torch.arange(3)).sum(), leaves)
    assert all(bool(torch.isfinite(part).all()) for part in (log_z, probs, *gradients))
