import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from gmvae_cli.config import ModelConfig, SelectConfig
from gmvae_cli.data.lagged_rows import LaggedRows
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.errors import SeriesError
from gmvae_cli.selection import cross_validation
from gmvae_cli.system import concurrency


def test_the_smallest_within_one_standard_error_of_the_best_is_chosen():
    """Differences by hand: the second is 0.1 below the third with standard error 0.1, the first 1 below with 0."""
    scores = np.array([[1.0, 1.0], [2.0, 1.8], [2.0, 2.0]])
    chosen, best, differences, errors = cross_validation.choose(scores, [3, 5, 7])
    assert (chosen, best) == (1, 2)
    assert differences == pytest.approx([1.0, 0.1, 0.0])
    assert errors == pytest.approx([0.0, 0.1, 0.0])
    assert cross_validation.choose(scores - [[0], [0.01], [0]], [3, 5, 7])[0] == 2


def test_training_rows_keep_their_distance_from_held_out_blocks():
    edges = np.array([0, 10, 20, 30, 40])
    assert cross_validation._between(edges, [0, 2], 3) == [(13, 20), (33, 40)]
    assert cross_validation._between(edges, [3], 3) == [(0, 30)]


@pytest.fixture
def lagged_rows():
    """Rows in memory as a model of some lags sees them, without any file."""
    with contextlib.ExitStack() as stack:

        def lagged_rows(values, lags=1):
            data = stack.enter_context(SeriesData.from_arrays(values))
            model = ModelConfig(regimes=1, lags=lags)
            return LaggedRows(data, model, data.mean, data.scale)

        yield lagged_rows


def test_one_regime_is_scored_as_least_squares_on_the_other_blocks(lagged_rows, generator):
    """Against the normal equations, block by block; a missing row costs no other candidate a row more."""
    x = np.convolve(generator.normal(size=1001), [1.0, 0.7], "valid")
    scored = cross_validation.score(lagged_rows(x[:, None]), 2, restarts=1, seed=0)
    h, y = np.column_stack([x[:-1], np.ones(999)]), x[1:]  # row t of y is row t + 1 of x
    for block in range(10):
        held = {100 * block, 100 * ((block + 5) % 10)}
        known = [t for t in range(1, 1000) if not any(start <= t < start + 102 for start in held)]
        used = np.array(known) - 1
        weights, *_ = np.linalg.lstsq(h[used], y[used], rcond=None)
        variance = ((y[used] - h[used] @ weights) ** 2).mean()
        rows = np.arange(100 * block + 2, 100 * block + 100) - 1
        residuals = y[rows] - h[rows] @ weights
        expected = (-0.5 * np.log(2 * np.pi * variance) - residuals**2 / (2 * variance)).mean() + np.log(x.std())
        assert scored.block_scores[block] == pytest.approx(expected, abs=2e-3)
    assert (scored.num_free_parameters, scored.agreement, scored.smallest_share) == (3, 1, 1)
    weights, *_ = np.linalg.lstsq(h, y, rcond=None)
    variance = ((y - h @ weights) ** 2).mean() / x.var()  # BIC is of standardised columns
    assert scored.bic == pytest.approx(3 * np.log(999) + 999 * (np.log(2 * np.pi * variance) + 1), abs=0.1)


def test_candidates_of_all_lags_are_scored_on_the_same_rows(lagged_rows, generator):
    """White noise with every third value missing: two lags are never complete, so nothing of one lag may count."""
    x = generator.normal(size=(600, 1))
    x[::3] = np.nan
    rows = cross_validation._scored_rows(lagged_rows(x), 60, 120, 2)
    assert int(rows.usable.sum()) == int(lagged_rows(x, lags=2).rows(60, 120).usable.sum()) == 0
    assert int(cross_validation._scored_rows(lagged_rows(x), 60, 120, 1).usable.sum()) == 20


def test_blocks_without_a_value_are_left_out(lagged_rows, generator):
    x = generator.normal(size=(1000, 1))
    x[300:410] = np.nan
    assert len(cross_validation.score(lagged_rows(x), 1, restarts=1, seed=0).block_scores) == 9
    x[100:] = np.nan
    with pytest.raises(SeriesError, match="rows are complete"):
        cross_validation.score(lagged_rows(x), 1, restarts=1, seed=0)


def test_one_regime_competes_once():
    models = SelectConfig(regimes=(1, 2), covariance=("regime", "shared")).candidates
    assert [(model.regimes, model.covariance) for model in models] == [(1, "regime"), (2, "regime"), (2, "shared")]


@pytest.fixture
def series(run, tmp_path):
    path = tmp_path / "a.csv"
    assert run("simulate", path, "--steps", "1000", "--regimes", "2", "--seed", "1").exit_code == 0
    return path


def test_select_finds_the_number_of_regimes_and_keeps_the_model(run, series, monkeypatch):
    model = series.parent / "m.safetensors"
    result = run("select", series, "--regimes", "1:3", "--restarts", "1", "--model", model, "--json", "--quiet")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["choice"] == {"regimes": 2, "lags": 1, "covariance": "regime"}
    assert "2 regimes" in figures["reason"]
    assert [candidate["regimes"] for candidate in figures["candidates"]] == [1, 2, 3]
    assert [candidate["chosen"] for candidate in figures["candidates"]] == [False, True, False]
    best = max(candidate["held_out_log_likelihood_per_row"] for candidate in figures["candidates"])
    for candidate in figures["candidates"]:
        assert candidate["difference"] == pytest.approx(best - candidate["held_out_log_likelihood_per_row"])
        assert candidate["parameters"] == candidate["regimes"] * (4 + 2 + 3) + candidate["regimes"] * (
            candidate["regimes"] - 1
        )
    out = series.parent / "out.csv"
    assert json.loads(run("infer", series, "--model", model, "--output", out, "--json").stdout)["rows"] == 1000
    monkeypatch.setattr(concurrency, "num_processors", lambda: 1)
    alone = json.loads(run("select", series, "--regimes", "2", "--restarts", "1", "--json", "--quiet").stdout)
    assert alone["candidates"][0] | {"difference": 0, "standard_error": 0} == figures["candidates"][1]


def _processes_of(group):
    listed = subprocess.run(["ps", "-A", "-o", "pgid="], capture_output=True, text=True, check=True).stdout
    return listed.split().count(str(group))


@pytest.mark.parametrize(
    ("sent", "to_all", "status", "line"),
    [
        pytest.param(signal.SIGINT, True, 130, "interrupted", id="Ctrl-C"),
        pytest.param(signal.SIGTERM, False, 143, "terminated", id="terminated", marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, False, -9, None, id="killed", marks=pytest.mark.slow),
    ],
)
def test_a_run_that_is_broken_off_leaves_no_process(run, tmp_path, sent, to_all, status, line):
    path = tmp_path / "a.csv"
    assert run("simulate", path, "--steps", "20000").exit_code == 0
    arguments = [sys.executable, "-m", "gmvae_cli", "select", path, "--regimes", "4:8", "--quiet"]
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 300
    others = 3 if concurrency.num_processors() > 1 else 0  # two that work, and what keeps track of shared resources
    while _processes_of(process.pid) <= others and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(0.5)
    (os.killpg if to_all else os.kill)(process.pid, sent)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == status
    assert line is None or stderr.strip() == line
    deadline = time.monotonic() + 300  # what is still starting notices when it has started
    while _processes_of(process.pid) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert _processes_of(process.pid) == 0


@pytest.mark.parametrize(
    ("options", "status", "expected"),
    [
        pytest.param(("--regimes", "many"), 2, "must be a range like 1:6", id="no number"),
        pytest.param(("--regimes", "0:2"), 2, "--regimes is 0", id="no regime"),
        pytest.param(("--covariance", "full"), 2, "must be one of regime, shared", id="covariance"),
        pytest.param(("--regimes", "1,400"), 1, "400 regimes of 2 channels need at least 2000", id="too few rows"),
        pytest.param(("--lags", "200"), 1, "10 blocks needs at least 2020", id="too few rows for the lags"),
    ],
)
def test_bad_choices_are_one_line(rejection, series, monkeypatch, options, status, expected):
    monkeypatch.setattr(concurrency, "num_processors", lambda: 1)
    assert expected in rejection("select", series, "--quiet", *options, status=status)
