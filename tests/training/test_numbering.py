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
