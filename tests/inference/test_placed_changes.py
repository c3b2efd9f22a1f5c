from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from gmvae_cli.checkpoint import Checkpoint
from gmvae_cli.config import ModelConfig
from gmvae_cli.core import Parameters
from gmvae_cli.data.block_features import block_features
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.inference import apply
from gmvae_cli.inference.labelled_rows import LabelledRows
from gmvae_cli.inference.placed_changes import Levels, joined_by, levels_of_blocks, placed_by, with_changes_placed
from gmvae_cli.model.ar_density import Emission
from gmvae_cli.model.chain import Chain

BLOCK = 8
CENTRES = np.array([0.0, 5.0, 10.0])
LEVELS = Levels(CENTRES[:, None], np.ones((3, 1)), np.ones((3, 1)))


def model_of_blocks():
    """Three levels with unit noise, described by mean and log standard deviation of blocks."""
    K = len(CENTRES)
    emission = Emission.from_lags(
        torch.zeros(K, 1, 2, 2, dtype=torch.float64),
        torch.as_tensor(np.column_stack([CENTRES, np.zeros(K)])),
        torch.eye(2, dtype=torch.float64).expand(K, 2, 2),
    )
    chain = Chain(torch.full((K,), 1 / K, dtype=torch.float64), 0.85 * torch.eye(K).double() + 0.05)
    return Checkpoint(
        model=ModelConfig(regimes=K, summarize=BLOCK, join_passages=True),
        channels=("x0",),
        mean=torch.zeros(2).double(),
        scale=torch.ones(2).double(),
        parameters=Parameters(emission, chain, torch.ones(()).double()),
        std_epsilon=torch.full((1,), 1e-3).double(),
    )


def visits(seed, count=40):
    """Levels in visits of 40 to 90 rows, whose changes lie anywhere in a block: labels (T,) and values (T, 1)."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.cumsum(rng.integers(1, 3, count)) % 3, rng.integers(40, 90, count))
    return labels, (CENTRES[labels] + rng.normal(size=len(labels)))[:, None]


def labelled(checkpoint, data, posterior, block_rows=7):
    with apply.infer(data, checkpoint, posterior, block_rows=block_rows) as inferred:
        return list(inferred.blocks())


def test_changes_lie_at_their_rows_and_blocks_across_them_are_no_visits():
    truth, values = visits(0)
    data, checkpoint = SeriesData.from_arrays(values), model_of_blocks()
    apart = replace(checkpoint, model=replace(checkpoint.model, join_passages=False))
    for posterior in ("smooth", "viterbi"):
        before, after = (LabelledRows.joined(labelled(one, data, posterior)) for one in (apart, checkpoint))
        assert (before.regimes != truth).mean() > 0.03
        assert (np.diff(before.regimes) != 0).sum() > (np.diff(truth) != 0).sum()  # the level between two others
        assert (after.regimes != truth).mean() < 0.002
        assert (np.diff(after.regimes) != 0).sum() == (np.diff(truth) != 0).sum()
        np.testing.assert_array_equal(after.log_likelihood, before.log_likelihood)
    smooth = LabelledRows.joined(labelled(checkpoint, data, "smooth"))
    np.testing.assert_array_equal(smooth.probs.argmax(1), smooth.regimes)
    before, after = (LabelledRows.joined(labelled(one, data, "filter")) for one in (apart, checkpoint))
    np.testing.assert_array_equal(before.regimes, after.regimes)


def test_the_block_of_a_change_passes_as_well_as_those_whose_lags_reach_it():
    with apply.infer(SeriesData.from_arrays(visits(0, 4)[1]), model_of_blocks(), "smooth") as inferred:
        assert inferred._longest_passage == 2


def test_rows_of_blocks_come_in_portions_that_do_not_depend_on_the_block():
    truth, values = visits(1, 6)
    portions = labelled(model_of_blocks(), SeriesData.from_arrays(values), "smooth", block_rows=50)
    assert {len(portion) for portion in portions[:-1]} == {50}
    assert sum(map(len, portions)) == len(truth)


@given(st.integers(1, 400), st.integers(0, 1000), st.data())
def test_changes_are_placed_alike_whatever_the_portions(n, seed, draws):
    rng = np.random.default_rng(seed)
    labels = np.repeat(rng.integers(3, size=n), rng.choice([3, 6, 9, 30], size=n))[:n]
    values = CENTRES[labels, None] + 4 * rng.normal(size=(n, 1))
    rows = LabelledRows(labels, rng.random((n, 3)), rng.random(n), np.r_[True, rng.random(n - 1) < 0.02])
    cuts = sorted(draws.draw(st.lists(st.integers(0, n), max_size=8)))
    data = SeriesData.from_arrays(values)

    def placed(limits):
        parts = (rows.rows(a, b) for a, b in pairwise(limits) if a < b)
        return LabelledRows.joined(list(with_changes_placed(parts, data, LEVELS, 3, 2)))

    whole, pieces = placed([0, n]), placed([0, *cuts, n])
    np.testing.assert_array_equal(pieces.regimes, whole.regimes)
    np.testing.assert_array_equal(pieces.probs, whole.probs)
    np.testing.assert_array_equal(pieces.starts, rows.starts)


def test_levels_of_blocks_are_those_of_their_rows():
    rng = np.random.default_rng(3)
    values = np.repeat(rng.normal(size=(50, 2)), BLOCK, axis=0) + rng.normal(size=(50 * BLOCK, 2)) + 1e6
    data = SeriesData.from_arrays(values)
    regimes = rng.integers(2, size=50)
    blocks = LabelledRows(regimes, np.zeros((50, 3)), np.zeros(50), np.arange(50) == 0)
    features = block_features(data, BLOCK, np.zeros(2))
    levels = levels_of_blocks(features, [blocks.rows(0, 20), blocks.rows(20, 50)], 3, BLOCK)
    for regime in range(2):
        rows = values[np.repeat(regimes, BLOCK) == regime]
        np.testing.assert_allclose(levels.mean[regime], rows.mean(0))
        np.testing.assert_allclose(levels.variance[regime], rows.var(0))
        between = values.reshape(50, BLOCK, 2).mean(1)[regimes == regime].var(0)
        np.testing.assert_allclose(levels.inflation[regime], BLOCK * between / rows.var(0))
    assert np.isnan(levels.mean[2]).all()


def test_a_visit_of_its_own_stays():
    labels = np.repeat([0, 1, 2], [20, 4, 20])
    starts = np.arange(44) == 0
    own, mixture = CENTRES[labels], CENTRES[np.repeat([0, 2], [22, 22])]
    assert (joined_by(labels, starts, own[:, None], LEVELS, 6) == np.arange(44)).all()
    assert labels[joined_by(labels, starts, mixture[:, None], LEVELS, 6)].tolist() == [0] * 22 + [2] * 22


def test_a_change_stays_where_the_rows_say_too_little():
    labels = np.repeat([0, 1], [20, 20])
    starts = np.arange(40) == 0
    values = CENTRES[np.repeat([0, 1], [17, 23]), None]
    assert labels[placed_by(labels, starts, values, LEVELS, 4)].tolist() == [0] * 17 + [1] * 23
    series = starts | (np.arange(40) == 20)
    alike = LEVELS._replace(inflation=np.full((3, 1), 100.0))
    for breaks, rows, levels in ((starts, values * np.nan, LEVELS), (series, values, LEVELS), (starts, values, alike)):
        assert labels[placed_by(labels, breaks, rows, levels, 4)].tolist() == labels.tolist()
