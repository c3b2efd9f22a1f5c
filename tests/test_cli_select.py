import json

import numpy as np
import pytest

from gmvae_cli import compare
from gmvae_cli.config import whole_numbers
from gmvae_cli.errors import ConfigError


def test_the_smallest_within_one_standard_error_of_the_best_is_chosen():
    """Differences by hand: the second is 0.1 below the third with standard error 0.1, the first 1 below with 0."""
    scores = np.array([[1.0, 1.0], [2.0, 1.8], [2.0, 2.0]])
    chosen, best, differences, errors = compare.choose(scores, [3, 5, 7])
    assert (chosen, best) == (1, 2)
    assert differences == pytest.approx([1.0, 0.1, 0.0])
    assert errors == pytest.approx([0.0, 0.1, 0.0])
    assert compare.choose(scores - [[0], [0.01], [0]], [3, 5, 7])[0] == 2


def test_training_rows_keep_their_distance_from_held_out_blocks():
    edges = np.array([0, 10, 20, 30, 40])
    assert compare._between(edges, [0, 2], 3) == [(13, 20), (33, 40)]
    assert compare._between(edges, [3], 3) == [(0, 30)]


@pytest.fixture
def series(run, tmp_path):
    path = tmp_path / "a.csv"
    assert run("simulate", path, "--steps", "1500", "--regimes", "2", "--seed", "1").exit_code == 0
    return path


def test_select_finds_the_number_of_regimes_and_keeps_the_model(run, series):
    model = series.parent / "m.safetensors"
    result = run("select", series, "--regimes", "1:3", "--restarts", "2", "--model", model, "--json", "--quiet")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["choice"] == {"regimes": 2, "lags": 1, "covariance": "regime"}
    assert "2 regimes" in figures["reason"]
    assert [one["regimes"] for one in figures["candidates"]] == [1, 2, 3]
    assert [one["chosen"] for one in figures["candidates"]] == [False, True, False]
    best = max(one["held_out_log_likelihood_per_row"] for one in figures["candidates"])
    for one in figures["candidates"]:
        assert one["difference"] == pytest.approx(best - one["held_out_log_likelihood_per_row"])
        assert one["parameters"] == one["regimes"] * (4 + 2 + 3) + one["regimes"] * (one["regimes"] - 1)
    out = series.parent / "out.csv"
    assert json.loads(run("infer", series, "--model", model, "--output", out, "--json").stdout)["rows"] == 1500


def test_whole_numbers():
    assert whole_numbers("1:3", "regimes") == (1, 2, 3)
    assert whole_numbers("2,4", "regimes") == (2, 4)
    with pytest.raises(ConfigError, match="ends before it begins"):
        whole_numbers("3:1", "regimes")


@pytest.mark.parametrize(
    ("options", "status", "expected"),
    [
        pytest.param(("--regimes", "many"), 2, "must be a range like 1:6", id="no number"),
        pytest.param(("--regimes", "0:2"), 2, "--regimes is 0", id="no regime"),
        pytest.param(("--covariance", "full"), 2, "must be one of regime, shared", id="covariance"),
        pytest.param(("--regimes", "1:60"), 1, "needs at least", id="too few rows"),
    ],
)
def test_bad_choices_are_one_line(refusal, series, options, status, expected):
    assert expected in refusal("select", series, "--quiet", *options, status=status)
