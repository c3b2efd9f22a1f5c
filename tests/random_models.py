"""Random parameters, checkpoints and recordings that several tests start from."""

import json
from dataclasses import replace

import numpy as np
import safetensors.torch
import torch
from reference import random_chain

from gmvae_cli.checkpoint import Checkpoint
from gmvae_cli.config import ModelConfig
from gmvae_cli.core import Encoder, Parameters
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.inference import apply
from gmvae_cli.model.ar_density import Emission
from gmvae_cli.model.chain import Chain, stationary


def random_parameters(rng, K, D, P, shared=False):
    """A decoder with an intercept and Normal noise, and equally likely regimes."""
    covariance = [np.eye(D) * 0.3 + (a := rng.normal(size=(D, D)) * 0.4) @ a.T for _ in range(1 if shared else K)]
    emission = Emission.from_lags(
        torch.as_tensor(rng.normal(size=(K, P, D, D)) * 0.4),
        torch.as_tensor(rng.normal(size=(K, D))),
        torch.linalg.cholesky(torch.as_tensor(np.stack(covariance))),
    )
    law = torch.full((K,), 1 / K, dtype=torch.float64)
    return Parameters(emission, Chain(law, law.repeat(K, 1)))


def random_observed(rng, D, n):
    """(D, n) bool with rows of every kind."""
    return torch.as_tensor(rng.random((D, n)) < 0.6)


def random_checkpoint(seed, K=3, D=2, P=1, prior="markov", noise="normal"):
    rng = np.random.default_rng(seed)
    emission = random_parameters(rng, K, D, P).emission
    pi, A = (torch.as_tensor(part) for part in random_chain(rng, K))
    A = pi.expand(K, K) if prior == "iid" else 0.8 * torch.eye(K, dtype=A.dtype) + 0.2 * A
    pi = pi if prior == "iid" else stationary(A)
    model = ModelConfig(regimes=K, lags=P, prior=prior, noise=noise)
    degrees = torch.tensor([2.5], dtype=torch.float64) if noise == "student" else None
    torch.manual_seed(seed)
    return Checkpoint(
        model=model,
        channels=tuple(f"x{d}" for d in range(D)),
        mean=torch.as_tensor(rng.normal(size=D)),
        scale=torch.as_tensor(rng.uniform(0.5, 2, size=D)),
        parameters=Parameters(replace(emission, degrees=degrees), Chain(pi, A)),
        encoder=Encoder(D, model).state_dict(),
    )


def random_data(seed, T, D=2):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(T, D)) * 2
    values[rng.random(T) < 0.05] = np.nan
    values[rng.random((T, D)) < 0.05] = np.nan
    steps = rng.choice([0, 1, 1, 1, 1, 1, 1, 3], size=T)
    steps[0] = 0
    return SeriesData.from_arrays(values, steps)


def collected(data, checkpoint, posterior, block_rows):
    with apply.infer(data, checkpoint, posterior, block_rows=block_rows) as inferred:
        blocks = list(inferred.blocks())
        parts = [np.concatenate([getattr(b, name) for b in blocks]) for name in ("regimes", "probs", "log_likelihood")]
        return *parts, inferred.log_likelihood, inferred.elbo()


def rewritten(path, tensors, **header):
    with safetensors.safe_open(path, "pt") as file:
        content = json.loads(file.metadata()["gmvae"])
    safetensors.torch.save_file(tensors, path, {"gmvae": json.dumps(content | header)})
