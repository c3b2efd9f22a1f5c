"""Stamps that jitter about a grid are next rows; rows that are missing on it are holes."""

import numpy as np
import pytest

from gmvae_cli.config import SeriesConfig
from gmvae_cli.data import series_data
from gmvae_cli.data.jitter import grid_period, grid_steps
from gmvae_cli.files.series_reader import open_series


def stamps(seed, jitter, num_rows=4000, dropped=12):
    """(T,) stamps of a clock of period 1 that lost some single rows and a run of 100; and (T,) true steps."""
    rng = np.random.default_rng(seed)
    far = np.arange(60, num_rows - 60, 60)
    lost = np.union1d(rng.choice(far, dropped, replace=False), np.arange(1000, 1100))
    kept = np.setdiff1d(np.arange(num_rows), lost)
    return kept + rng.uniform(-jitter, jitter, len(kept)), np.diff(kept, prepend=kept[0] - 1)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("jitter", [0.15, 0.3, 0.4])
def test_holes_are_where_rows_are_missing_on_the_grid(seed, jitter):
    times, true_steps = stamps(seed, jitter)
    elapsed = np.diff(times, prepend=np.nan)
    period = grid_period(elapsed)
    assert period == pytest.approx(1, abs=0.005)
    found = grid_steps(elapsed, period)
    assert (found == true_steps).mean() > 0.998, "beside a lost row either step may be the long one"
    assert (elapsed > 1.5).sum() > 10 * (found > 1).sum() or jitter < 0.4
    assert abs(int((found - true_steps).sum())) <= 2


@pytest.mark.parametrize("draw", ["exponential", "uniform"])
def test_independent_steps_lie_on_no_grid(draw):
    rng = np.random.default_rng(0)
    steps = rng.exponential(1, 4000) if draw == "exponential" else rng.uniform(0.5, 1.5, 4000)
    assert grid_period(np.append(np.nan, steps)) is None


def test_a_clock_without_jitter_has_no_use_for_the_grid():
    assert grid_period(np.append(np.nan, np.random.default_rng(0).choice([1.0, 3.0], 4000, p=[0.9, 0.1]))) is None


@pytest.mark.parametrize("block_rows", [1 << 18, 700])
def test_a_file_of_jittered_stamps_loses_no_lags(tmp_path, monkeypatch, block_rows):
    times, true_steps = stamps(0, 0.4)
    path = tmp_path / "a.csv"
    path.write_text("t,x0\n" + "".join(f"{t:.4f},{row % 7}\n" for row, t in enumerate(times)))
    monkeypatch.setattr(series_data, "READ_ROWS", block_rows)
    with open_series([str(path)], SeriesConfig()).read_data() as data:
        assert data.step == pytest.approx(1, abs=0.005)
        assert data.holes == (true_steps > 1).sum()
        assert (data.read(0, data.rows)[1][1:] == true_steps[1:]).mean() > 0.998
        assert not data.notes, "nothing about weekends"
