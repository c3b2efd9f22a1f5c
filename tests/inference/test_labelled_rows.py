import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from random_models import random_checkpoint, random_data

from gmvae_cli.inference import apply
from gmvae_cli.inference.labelled_rows import LabelledRows, in_portions

NAMES = ("regimes", "probs", "log_likelihood", "starts")


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 60), st.integers(1, 30), st.data())
def test_portions_are_the_rows_of_the_blocks(T, block_rows, draws):
    checkpoint, data = random_checkpoint(6), random_data(6, T)
    with apply.infer(data, checkpoint, "smooth", block_rows=block_rows) as inferred:
        whole = LabelledRows.joined(list(inferred.blocks()))
        take = in_portions(inferred.blocks())
        start = 0
        while start < T:
            count = draws.draw(st.integers(1, T - start))
            part = take(count)
            for name in NAMES:
                np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[start : start + count])
            start += count
    assert np.array_equal(whole.starts, data.read(0, T)[1] == 0)


def test_rows_of_a_block_get_its_label_and_share_its_log_likelihood():
    probs = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    blocks = LabelledRows(np.array([0, 1, 0]), probs, np.array([6.0, np.nan, 1.0]), np.array([True, False, True]))
    rows = blocks.expanded(np.array([3, 1, 2]))
    assert rows.regimes.tolist() == [0, 0, 0, 1, 0, 0]
    assert rows.probs.tolist() == probs[[0, 0, 0, 1, 2, 2]].tolist()
    np.testing.assert_array_equal(rows.log_likelihood, [2, 2, 2, np.nan, 0.5, 0.5])
    assert rows.starts.tolist() == [True, False, False, False, True, False]
