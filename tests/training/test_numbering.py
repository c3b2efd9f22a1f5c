import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from random_models import random_checkpoint

from gmvae_cli.core import Encoder
from gmvae_cli.training.numbering import order_by_share, permuted


@pytest.mark.parametrize(
    ("counts", "first", "expected"),
    [
        pytest.param([10, 70, 20], [0, 1, 2], [1, 2, 0], id="shares"),
        pytest.param([500, 504, 10], [9, 0, 3], [1, 0, 2], id="nearly equal shares go by first appearance"),
        pytest.param([504, 500, 10], [9, 0, 3], [1, 0, 2], id="whichever of them is larger"),
    ],
)
def test_regimes_are_ordered_by_share_and_by_first_appearance(counts, first, expected):
    assert order_by_share(np.array(counts), np.array(first)).tolist() == expected


@pytest.mark.parametrize("layers", [1, 6])
def test_renaming_regimes_permutes_the_potentials_of_an_encoder_of_any_depth(layers):
    before = random_checkpoint(0)
    before = replace(before, model=replace(before.model, layers=layers), standard_errors=torch.zeros(3, 1, 2, 2))
    before = replace(before, encoder=Encoder(2, before.model).state_dict())
    order = torch.tensor([2, 0, 1])
    y, observed = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)), torch.ones(2, 5)
    potentials = before.build_encoder("m")(y, observed)
    torch.testing.assert_close(permuted(before, order).build_encoder("m")(y, observed), potentials[:, order])


@pytest.mark.parametrize("options", [[], ["--summarize", 8], ["--noise", "student"]], ids=["rows", "blocks", "student"])
def test_shares_are_those_of_the_labels_that_infer_writes(run, tmp_path, options):
    """The last E-step counts them in float32; 5,000 rows hold no tie so close."""
    series, model, out = (str(tmp_path / name) for name in ("s.csv", "m.safetensors", "o.csv"))
    run("simulate", series, "--steps", 5_000, "--dwell", 100, "--seed", 2)
    trained = json.loads(run("train", series, "--model", model, "--steps", 5, *options, "--json").stdout)
    labelled = json.loads(run("infer", series, "--model", model, "--output", out, "--json").stdout)
    assert trained["shares"] == pytest.approx(labelled["shares"], abs=1e-12)
    assert trained["shares"] == sorted(trained["shares"], reverse=True)
