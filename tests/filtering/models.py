"""Random models of all kinds, as files, and random rows for them."""

from dataclasses import replace

import numpy as np
import torch
from random_models import random_checkpoint

from gmvae_cli import checkpoint as files
from gmvae_cli.filtering.filter_model import load

KINDS = {
    "no lags": {"P": 0},
    "no lags, no intercept, Student noise": {"P": 0, "intercept": False, "noise": "student"},
    "one lag": {},
    "three lags": {"P": 3},
    "a stride": {"P": 2, "stride": 3},
    "no intercept": {"intercept": False},
    "one channel": {"D": 1, "P": 2},
    "one regime": {"K": 1},
    "independent rows": {"prior": "iid"},
    "an evidence scale": {"scale": 7.5},
    "Student noise": {"noise": "student", "P": 2},
    "Student noise, a stride and a scale": {"noise": "student", "P": 2, "stride": 2, "scale": 3.0},
}


def random_model(seed, *, stride=1, scale=1.0, intercept=True, names=(), training=None, **shape):
    """A checkpoint whose emission fits its shape."""
    checkpoint = random_checkpoint(seed, **shape)
    model = replace(checkpoint.model, stride=stride, intercept=intercept)
    parameters = checkpoint.parameters
    emission = parameters.emission
    if not intercept:
        emission = replace(emission, weights=emission.weights[..., :-1])
    parameters = replace(parameters, emission=emission, evidence_scale=torch.tensor(scale, dtype=torch.float64))
    training = {"time": "t", "step": 1.0, "time_unit": "units"} if training is None else training
    return replace(checkpoint, model=model, parameters=parameters, encoder=None, names=names, training=training)


def as_filter(checkpoint, folder):
    """The model of a checkpoint as a filter reads it, out of its file."""
    path = str(folder / "model.safetensors")
    files.save(path, checkpoint)
    return load(path)


def random_rows(seed, T, D):
    """Values with missing cells and rows, and steps with holes and breaks."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(T, D)) * 2
    values[rng.random(T) < 0.03] = np.nan
    values[rng.random((T, D)) < 0.04] = np.nan
    values[rng.random((T, D)) < 0.02] *= 40
    steps = rng.choice([0, 1, 2, 5], size=T, p=[0.01, 0.94, 0.03, 0.02])
    steps[0] = 0
    return values, steps


def block_model(seed, block_rows, **shape):
    """A model of the means and spreads of blocks of two columns."""
    checkpoint = random_model(seed, D=4, **shape)
    return replace(
        checkpoint,
        model=replace(checkpoint.model, summarize=block_rows),
        channels=("x0", "x1"),
        std_epsilon=torch.tensor([0.1, 0.2], dtype=torch.float64),
    )
