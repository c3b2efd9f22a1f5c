import numpy as np
import pytest

from gmvae_cli.training.diagnostics import check_data


def codes(values, stride=1, regimes=2, lags=1):
    names = tuple(f"x{index}" for index in range(values.shape[1]))
    notes = check_data(values, names, stride, regimes, lags)
    assert all(sentence == sentence.strip() and not sentence.endswith(".") for _, sentence in notes)
    return [code for code, _ in notes]


@pytest.fixture
def plain(generator):
    return generator.normal(size=(2_000, 2))


def test_a_plain_recording_has_no_note(plain):
    assert codes(plain) == []


def test_a_wide_stride_says_oversampled(plain):
    assert codes(plain, stride=8) == ["oversampled"]


def test_a_trend_is_seen(plain):
    plain[:, 1] += 0.01 * np.arange(2_000)
    assert codes(plain) == ["trend"]


def test_a_random_walk_is_seen():
    walk = np.random.default_rng(3).normal(size=(5_000, 1)).cumsum(0)
    assert codes(walk) == ["unit_root"]


def test_channels_that_say_the_same_are_seen(plain):
    assert codes(np.column_stack([plain, -3 * plain[:, 0] + 5])) == ["duplicate_channels"]


def test_spikes_are_seen(plain):
    plain[::200, 0] += 50
    assert codes(plain) == ["heavy_tails"]


def test_few_rows_for_many_regimes_are_seen(plain):
    assert codes(plain[:60], regimes=6) == ["too_short"]


def test_missing_values_and_constants_do_no_harm(plain):
    plain[:500, 0] = np.nan
    plain[:, 1] = 7.0
    assert codes(plain) == []


@pytest.mark.parametrize("odd", [0, 500, 999])
def test_one_row_that_differs_is_no_trend_and_no_unit_root(odd):
    """Also where it is the first or the last: a numpy warning would be an error here."""
    values = np.zeros((1_000, 1))
    values[odd] = 1.0
    assert check_data(values, ("a",), 1, 2, 1) == []
