"""Quartiles by group against numpy, of values of many kinds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gmvae_cli.labelled import quartiles as module
from gmvae_cli.labelled.quartiles import QUARTILES, GroupedValues, quartiles

FLOATS = st.floats(-1e150, 1e150) | st.sampled_from([np.nan, 0.0, -0.0, 1.5, -1.5, 5e-324])


def in_blocks(codes, values, length):
    def rows():
        for start in range(0, len(codes), length):
            yield GroupedValues(codes[start : start + length], values[start : start + length])

    return rows


def require_equal_to_numpy(codes, values, groups, length=16):
    count = np.array([(~np.isnan(values[codes == group])).sum(0) for group in range(groups)])
    found = quartiles(in_blocks(codes, values, length), count)
    assert found.shape == (3, groups, values.shape[1])
    for group in range(groups):
        for channel, column in enumerate(values[codes == group].T):
            known = column[~np.isnan(column)]
            expected = np.quantile(known, QUARTILES) if known.size else np.full(3, np.nan)
            np.testing.assert_allclose(found[:, group, channel], expected, rtol=1e-15, atol=5e-324)


@given(
    st.integers(1, 30).flatmap(
        lambda n: st.tuples(
            arrays(np.int64, n, elements=st.integers(-1, 2)), arrays(np.float64, (n, 2), elements=FLOATS)
        )
    )
)
def test_quartiles_are_those_of_numpy(rows):
    require_equal_to_numpy(*rows, 3)


@pytest.mark.parametrize("held", [0, 1 << 22])
@pytest.mark.parametrize("kind", ["normal", "heavy", "rounded", "constant", "two levels"])
def test_many_values_of_one_kind(generator, monkeypatch, kind, held):
    monkeypatch.setattr(module, "_HELD_VALUES", held)
    normal = generator.standard_normal((5_000, 2))
    values = {
        "normal": normal,
        "heavy": np.exp(9 * normal),
        "rounded": np.round(normal, 1),
        "constant": np.full(normal.shape, 3.7),
        "two levels": np.where(normal > 0, 100.0, -100.0) + np.round(normal, 3),
    }[kind]
    require_equal_to_numpy(generator.integers(0, 2, 5_000), values, 2, length=1_000)


def test_channels_that_do_not_fit_at_once_are_worked_on_in_turn(generator, monkeypatch):
    monkeypatch.setattr(module, "_MOST_COUNTS", 4)
    require_equal_to_numpy(generator.integers(0, 3, 200), generator.standard_normal((200, 5)), 3)


def test_rows_without_channels_have_no_quartiles():
    assert quartiles(in_blocks(np.zeros(3, np.int64), np.zeros((3, 0)), 2), np.zeros((2, 0), np.int64)).shape == (
        3,
        2,
        0,
    )
