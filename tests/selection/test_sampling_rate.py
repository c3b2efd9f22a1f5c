import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from gmvae_cli.selection.sampling_rate import predicted_share, rows_per_block, stride_of


def coloured(rho, shape, rng):
    return lfilter([np.sqrt(1 - rho**2)], [1, -rho], rng.normal(size=shape), axis=-1)


def follows(rows):
    following = torch.ones(rows, dtype=torch.bool)
    following[0] = False
    return following


@pytest.mark.parametrize("radius", [0.6, 0.9, 0.97])
def test_stride_of_an_autoregression_is_one(radius):
    x = coloured(radius, (2, 5_000), np.random.default_rng(1))
    assert stride_of(torch.as_tensor(x), follows(5_000)) == 1


def test_stride_of_a_recording_sampled_too_fast():
    """An Ornstein-Uhlenbeck path of 1,000 rows of memory leaves 2 % of its variance after 10.1 rows: 16."""
    x = coloured(np.exp(-1 / 1000), (1, 100_000), np.random.default_rng(0))
    assert stride_of(torch.as_tensor(x / x.std()), follows(100_000)) == 16


def test_stride_leaves_two_hundred_rows():
    x = torch.linspace(-1, 1, 500, dtype=torch.float64)[None]
    assert stride_of(x, follows(500)) == 2


def test_stride_looks_across_no_break():
    """Series of two rows whose second repeats the first: a row two rows back is of another series."""
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(1, 1_000)), 2, axis=1)
    starts = follows(2_000)
    starts[::2] = False
    assert stride_of(torch.as_tensor(x), starts) == 2


@pytest.mark.parametrize(("rows", "length"), [(100, 1), (2_399, 1), (2_400, 4), (60_000, 100)])
def test_blocks_number_about_six_hundred_or_are_rows(rows, length):
    assert rows_per_block(rows) == length


def test_the_level_of_a_channel_is_not_taken_for_prediction():
    x = torch.as_tensor(coloured(0.5, (2, 2_000), np.random.default_rng(0)))
    level = torch.tensor([[30.0], [-5.0]], dtype=torch.float64)
    share = predicted_share(x, follows(2_000), 1)
    assert share == pytest.approx(0.25, abs=0.05)
    assert predicted_share(x + level, follows(2_000), 1) == pytest.approx(share, rel=1e-9)
