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
    (note,) = check_data(plain, ("a", "b"), 8, 2, 0)
    assert "give --summarize auto" in note.sentence, "without lags there is no stride"


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


def test_a_loud_regime_beside_a_quiet_one_has_no_spikes(generator):
    """The quiet one holds most rows, so its steps are the usual ones of the whole channel."""
    loud = np.repeat(np.arange(40) % 4 == 0, 50)
    values = np.where(loud, 20.0, 1.0)[:, None] * generator.normal(size=(2_000, 1))
    assert codes(values) == []
    values[25::200] += 40 * np.where(loud, 20.0, 1.0)[25::200, None]
    assert codes(values) == ["heavy_tails"]


def test_a_repeated_far_value_is_named_as_a_missing_code(plain):
    plain[[100, 700, 900], 1] = -9999
    notes = check_data(plain, ("a", "b"), 1, 2, 1)
    assert [code for code, _ in notes] == ["missing_code"]
    assert "channel 'b' holds -9999 in 3 rows" in notes[0].sentence


def test_a_rare_switch_is_no_missing_code(plain):
    plain[:, 1] = np.arange(2_000) % 1_000 < 10
    assert codes(plain) == []


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
