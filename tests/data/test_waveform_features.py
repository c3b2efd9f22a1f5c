import numpy as np
import pytest

from gmvae_cli.data import waveform_features as features
from gmvae_cli.data.block_features import STD_EPSILON
from gmvae_cli.data.series_data import SeriesData


@pytest.fixture
def values(generator):
    return np.cumsum(generator.normal(size=(900, 2)), axis=0)


def described(values, block_rows):
    with SeriesData.from_arrays(values) as data:
        thresholds = features.measure_thresholds(data, block_rows)
        return features.describe_blocks(data, block_rows, thresholds, STD_EPSILON * data.scale)[0], thresholds


def test_shares_are_those_counted_by_hand(values):
    """The first dilation and the last channel of a block in the middle, convolved row by row."""
    shares, thresholds = described(values, 20)
    D, S, k, Q = thresholds.shape
    kernel, block = features._KERNELS[0], 10
    weights = np.full(9, -1)
    weights[kernel] = 2
    rows = [values[row - 4 : row + 5, 1] @ weights for row in range(20 * block, 20 * block + 20)]
    expected = (np.array(rows)[:, None] > thresholds[1, 0, 0]).mean(axis=0)
    np.testing.assert_allclose(shares[block].reshape(-1)[S * k * Q : S * k * Q + Q], expected)
    assert shares.shape == (45, D * S * k * Q + 2 * D)


def test_portions_of_a_reading_are_the_whole(values, monkeypatch):
    whole, _ = described(values, 20)
    monkeypatch.setattr(features, "READ_ROWS", 100)
    np.testing.assert_array_equal(described(values, 20)[0], whole)


def test_a_level_and_a_unit_change_shares_not_at_all(values):
    """Kernels sum to 0 and thresholds follow the unit; only mean and spread, the last columns, change."""
    whole, _ = described(values, 20)
    np.testing.assert_array_equal(described(16 * values - 32, 20)[0][:, :-4], whole[:, :-4])


def test_a_block_half_missing_has_no_features(values):
    values[200:215, 0] = np.nan
    shares, _ = described(values, 20)
    assert np.isnan(shares[10]).any()
    assert not np.isnan(shares[12]).any()
    with SeriesData.from_arrays(values) as data:
        assert np.isnan(features.waveform_features(data, 20, 3).read(0, 45)[0]).any(axis=1).tolist().index(True) <= 10


def test_the_first_feature_is_the_slow_one_and_changes_have_unit_variance(generator):
    """A slow square wave of standard deviation 0.5 beside five sources of noise of 1, mixed into twenty columns."""
    slow = np.repeat([0.0, 1, 0, 1], 50)
    sources = np.column_stack([slow, generator.normal(size=(200, 5))])
    mixed = np.concatenate([sources @ generator.normal(size=(6, 20)), generator.normal(size=(200, 2))], axis=1)
    found = mixed @ features.slow_projection(mixed, 1, 4)
    assert abs(np.corrcoef(found[:, 0], slow)[0, 1]) > 0.9
    assert max(abs(np.corrcoef(column, slow)[0, 1]) for column in mixed.T) < 0.5
    changes = found[features.LAG :] - found[: -features.LAG]
    np.testing.assert_allclose(np.square(changes[:, 1:]).mean(axis=0) / 2, 1, rtol=0.2)


def test_another_reading_with_the_same_description_gives_the_same_features(values):
    with SeriesData.from_arrays(values) as data:
        learned = features.waveform_features(data, 20, 3)
        again = features.with_projection(data, 20, learned.waveforms)
        np.testing.assert_array_equal(again.read(0, 45)[0], learned.read(0, 45)[0])
        assert again.channels == ("waveform 0", "waveform 1", "waveform 2")
        np.testing.assert_array_equal(again.edges, learned.edges)


def test_a_constant_series_has_features_of_zero():
    with SeriesData.from_arrays(np.full((300, 1), 5.0)) as data:
        np.testing.assert_array_equal(features.waveform_features(data, 10, 2).read(0, 30)[0], 0)


def test_convolutions_stay_within_a_series(values):
    """Two series end to end have the blocks that each has alone, whatever lies beside them."""
    steps = np.minimum(np.arange(900), 1)
    steps[400] = 0
    with SeriesData.from_arrays(values, steps) as data, SeriesData.from_arrays(values[400:]) as alone:
        thresholds, std_epsilon = features.measure_thresholds(data, 40), STD_EPSILON * data.scale
        both = features.describe_blocks(data, 40, thresholds, std_epsilon)[0]
        second = features.describe_blocks(alone, 40, thresholds, std_epsilon)[0]
    np.testing.assert_array_equal(both[10:], second)


def test_features_of_a_long_series_are_learned_from_pieces(generator, monkeypatch):
    """So the cost is flat: the description of all blocks would take 3 GB for 10^7 rows of period 50."""
    seen = []
    learn = features.slow_projection

    def noted(described, *rest):
        seen.append(described)
        return learn(described, *rest)

    monkeypatch.setattr(features, "slow_projection", noted)
    with SeriesData.from_arrays(generator.normal(size=(40_000, 1))) as data:
        assert features.waveform_features(data, 20, 3).rows == 2_000
    assert [len(described) for described in seen] == [1_000]
