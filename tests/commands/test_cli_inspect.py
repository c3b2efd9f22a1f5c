import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from random_models import random_checkpoint, rewritten

from gmvae_cli import checkpoint
from gmvae_cli.config import ModelConfig
from gmvae_cli.errors import CheckpointError

QUICK = ("--steps", "5", "--restarts", "2", "--quiet", "--json")


@pytest.fixture
def inspected(run):
    """What `gmvae inspect --json` prints."""

    def inspected(path):
        result = run("inspect", path, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return inspected


@pytest.fixture
def trained(run, tmp_path):
    """Train on a data frame; the model's path."""

    def trained(table, *options):
        path, model = tmp_path / "series.csv", tmp_path / "model.safetensors"
        table.to_csv(path, index=False)
        result = run("train", path, "--model", model, *options, *QUICK)
        assert result.exit_code == 0, result.output
        return model

    return trained


def simulated(run, tmp_path, *options):
    path, truth = tmp_path / "drawn.csv", tmp_path / "truth.safetensors"
    assert run("simulate", path, "--steps", "600", "--truth", truth, *options).exit_code == 0
    return pd.read_csv(path), truth


def test_units_change_what_has_units_and_nothing_else(run, tmp_path, inspected, trained):
    table, _ = simulated(run, tmp_path, "--regimes", "2", "--intercept")
    before = inspected(trained(table, "--regimes", "2"))
    table[["x0", "x1"]] *= 1000
    after = inspected(trained(table, "--regimes", "2"))
    for old, new in zip(before["regimes"], after["regimes"], strict=True):
        for name in ("mean", "standard_deviation", "ar_bias", "noise"):
            np.testing.assert_allclose(new[name], 1000 * np.array(old[name]), rtol=1e-6)
        np.testing.assert_allclose(new["covariance"], 1e6 * np.array(old["covariance"]), rtol=1e-6)
        for name in ("ar_weights", "standard_errors", "spectral_radius", "half_life", "expected_dwell", "share"):
            np.testing.assert_allclose(new[name], old[name], rtol=1e-6)


def test_one_channel_in_another_unit_moves_its_weights_and_errors(run, tmp_path, inspected, trained):
    """W_ij has the unit of i over the unit of j."""
    table, _ = simulated(run, tmp_path, "--regimes", "1", "--covariance", "regime")
    before = inspected(trained(table, "--regimes", "1"))["regimes"][0]
    after = inspected(trained(table.assign(x1=table["x1"] * 10), "--regimes", "1"))["regimes"][0]
    units = np.array([[1, 0.1], [10, 1]])
    for name in ("ar_weights", "standard_errors"):
        np.testing.assert_allclose(after[name][0], units * np.array(before[name][0]), rtol=1e-5)


def test_one_regime_is_least_squares_on_the_file(run, tmp_path, inspected, trained):
    """Weights, bias, noise and standard errors against the normal equations in the file's own units."""
    table, _ = simulated(run, tmp_path, "--regimes", "1")
    table["x0"] = 50 * table["x0"] + 300
    found = inspected(trained(table, "--regimes", "1", "--lags", "2"))["regimes"][0]
    x = table[["x0", "x1"]].to_numpy()
    h = np.column_stack([x[1:-1], x[:-2], np.ones(len(x) - 2)])
    coefficients, *_ = np.linalg.lstsq(h, x[2:], rcond=None)
    residuals = x[2:] - h @ coefficients
    covariance = residuals.T @ residuals / len(h)
    errors = np.sqrt(np.outer(np.diag(covariance), np.diag(np.linalg.inv(h.T @ h))))
    np.testing.assert_allclose(np.hstack(found["ar_weights"]), coefficients[:4].T, rtol=0.02, atol=1e-4)
    np.testing.assert_allclose(found["covariance"], covariance, rtol=0.01)
    np.testing.assert_allclose(found["noise"], np.sqrt(np.diag(covariance)), rtol=0.01)
    np.testing.assert_allclose(np.hstack(found["standard_errors"]), errors[:, :4], rtol=0.01)
    np.testing.assert_allclose(found["mean"], x.mean(0), atol=x.std(0).max() / 5)
    np.testing.assert_allclose(found["standard_deviation"], x.std(0), rtol=0.1)
    assert found["expected_dwell"] is None  # it is never left


def test_standard_errors_follow_their_regimes(run, tmp_path, inspected, trained):
    """The regime with fewer rows and the same dynamics is known less well."""
    rng = np.random.default_rng(0)
    level = np.repeat(np.tile([0.0, 6.0], 10), np.tile([180, 20], 10))
    found = inspected(trained(pd.DataFrame({"x": level + rng.normal(size=len(level))}), "--regimes", "2"))["regimes"]
    shares = [one["share"] for one in found]
    errors = [one["standard_errors"][0][0][0] for one in found]
    assert shares[0] == pytest.approx(0.9, abs=0.02)
    assert errors[1] > 1.3 * errors[0]


def test_the_time_step_makes_dwells_durations(run, tmp_path, inspected, trained):
    table, _ = simulated(run, tmp_path, "--regimes", "2")
    table["t"] = pd.date_range("2024-01-01", periods=len(table), freq="10min")
    found = inspected(trained(table, "--regimes", "2"))
    assert (found["step"], found["time_unit"]) == (600, "seconds")
    for one in found["regimes"]:
        assert one["expected_dwell_time"] == pytest.approx(600 * one["expected_dwell"])


def test_a_truth_says_what_generated_it(run, tmp_path, inspected):
    """No encoder, no training, no standard errors; shares are the chain's own."""
    _, truth = simulated(run, tmp_path, "--dwell", "20", "--lags", "2")
    found, saved = inspected(truth), checkpoint.load(str(truth))
    np.testing.assert_array_equal(found["transition_matrix"], saved.parameters.chain.transition_matrix)
    for k, one in enumerate(found["regimes"]):
        np.testing.assert_array_equal(one["ar_weights"], saved.parameters.emission.ar_weights(2)[k])
        assert one["standard_errors"] is None
        assert one["expected_dwell"] == pytest.approx(20)
        assert one["share"] == pytest.approx(1 / 3)
        assert one["regime"] == k


def test_a_stride_counts_in_rows(run, tmp_path, inspected):
    """What takes so many lags takes stride times as many rows."""
    _, truth = simulated(run, tmp_path)
    tensors = safetensors.torch.load_file(truth)
    once = inspected(truth)
    rewritten(truth, tensors, model=once["configuration"] | {"stride": 4})
    for one, four in zip(once["regimes"], inspected(truth)["regimes"], strict=True):
        assert four["half_life"] == pytest.approx(4 * one["half_life"])
        if one["dominant_period"] is not None:
            assert four["dominant_period"] == pytest.approx(4 * one["dominant_period"])
        assert four["standard_deviation"] == one["standard_deviation"]


def test_what_never_settles_is_null(tmp_path, inspected):
    path, model = tmp_path / "model.safetensors", random_checkpoint(0, K=2, D=2)
    model.parameters.emission.weights[1, :, :2] = 1.1 * torch.eye(2)
    checkpoint.save(str(path), model)
    wild = inspected(path)["regimes"][1]
    assert wild["mean"] == wild["standard_deviation"] == [None, None]
    assert wild["half_life"] is None
    assert wild["dominant_period"] is None
    assert wild["spectral_radius"] == pytest.approx(1.1)


def test_student_noise_has_its_degrees_and_a_covariance_above_two(run, tmp_path, inspected):
    """Against the same scale matrices as Normal noise, whose covariance they are."""
    path, model = tmp_path / "model.safetensors", random_checkpoint(0, K=2, D=2, noise="student")
    model.parameters.emission.weights[..., :2] = 0.5 * torch.eye(2)
    normal = replace(model.parameters, emission=replace(model.parameters.emission, degrees=None))
    checkpoint.save(str(path), replace(model, parameters=normal, model=ModelConfig(regimes=2)))
    plain = inspected(path)
    assert plain["degrees_of_freedom"] is None
    checkpoint.save(str(path), model)
    heavy = inspected(path)
    assert heavy["degrees_of_freedom"] == 2.5
    assert "Student t, 2.50 degrees of freedom" in run("inspect", path).stdout
    for one, other in zip(plain["regimes"], heavy["regimes"], strict=True):
        np.testing.assert_allclose(other["covariance"], 5 * np.array(one["covariance"]))  # 2.5 / 0.5
        np.testing.assert_allclose(other["standard_deviation"], 5**0.5 * np.array(one["standard_deviation"]))
        assert other["mean"] == one["mean"]
    model.parameters.emission.degrees[0] = 1.5
    checkpoint.save(str(path), model)
    for one in inspected(path)["regimes"]:
        assert one["standard_deviation"] == one["noise"] == [None, None]
        assert one["covariance"] == [[None, None], [None, None]]
    assert "a standard deviation exists above 2" in run("inspect", path).stdout


def test_heavy_tails_are_trained_saved_and_drawn_again(run, tmp_path, inspected, trained):
    table, _ = simulated(run, tmp_path, "--regimes", "2", "--outliers", "0.02")
    model = trained(table, "--regimes", "2", "--noise", "student")
    found = inspected(model)
    assert found["configuration"]["noise"] == "student"
    assert 1 <= found["degrees_of_freedom"] < 20
    again, truth = tmp_path / "again.csv", tmp_path / "again.safetensors"
    assert run("simulate", again, "--model", model, "--steps", "200", "--truth", truth).exit_code == 0
    assert inspected(truth)["degrees_of_freedom"] == found["degrees_of_freedom"]
    out = tmp_path / "out.csv"
    result = run("infer", again, "--model", model, "--output", out, "--posterior", "encoder")
    assert result.exit_code == 0, result.output
    assert np.isfinite(pd.read_csv(out)["log_likelihood"].dropna()).all()


@pytest.mark.parametrize(("K", "D", "P"), [(8, 12, 1), (1, 1, 1), (3, 2, 2), (16, 3, 1)])
def test_tables_keep_to_80_columns(run, tmp_path, K, D, P):
    path = tmp_path / "model.safetensors"
    checkpoint.save(str(path), random_checkpoint(1, K=K, D=D, P=P))
    result = run("inspect", path)
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "…" not in result.stdout  # nothing was cut off
    assert result.stderr == ""


def test_tables_show_every_regime_and_channel(run, tmp_path, trained):
    table, _ = simulated(run, tmp_path, "--regimes", "2")
    lines = run("inspect", trained(table, "--regimes", "2")).stdout.splitlines()
    for expected in ("regime ", "from / to", "mean", "std. dev.", "noise", "AR weights"):
        assert any(line.startswith(expected) or line.strip().startswith(expected) for line in lines), expected
    assert sum("±" in line for line in lines) == 4
    assert any(line.split()[:7] == ["trained", "on", "600", "rows", "in", "1", "series,"] for line in lines)


def test_models_without_standard_errors_still_load(run, tmp_path, inspected, trained):
    """Those saved before they were kept."""
    table, _ = simulated(run, tmp_path)
    model = trained(table)
    tensors = safetensors.torch.load_file(model)
    assert tensors["standard_errors"].shape == (3, 1, 2, 2)
    tensors.pop("standard_errors")
    rewritten(model, tensors)
    assert {one["standard_errors"] is None for one in inspected(model)["regimes"]} == {True}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(lambda t: -t - 1, "must not be negative", id="negative"),
        pytest.param(lambda t: t[:1].clone(), "has shape", id="shape"),
        pytest.param(lambda t: t * torch.nan, "NaN", id="nan"),
        pytest.param(lambda t: t.float(), "must be float64", id="dtype"),
    ],
)
def test_damaged_standard_errors_are_rejected(run, tmp_path, trained, change, expected):
    table, _ = simulated(run, tmp_path)
    model = trained(table)
    tensors = safetensors.torch.load_file(model)
    rewritten(model, tensors | {"standard_errors": change(tensors["standard_errors"])})
    with pytest.raises(CheckpointError, match=expected):
        checkpoint.load(str(model))


@pytest.mark.parametrize(("content", "expected"), [(None, "no such model file"), (b"x,y\n1,2\n", "not a gmvae model")])
def test_what_is_no_model_is_rejected_in_one_line(rejection, tmp_path, content, expected):
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    assert expected in rejection("inspect", path, status=1)


def test_the_mean_of_the_rows_stands_beside_the_level_that_a_regime_settles_at(run, tmp_path):
    drawn, model, labelled = tmp_path / "drawn.csv", tmp_path / "model.safetensors", tmp_path / "labelled.csv"
    assert run("simulate", drawn, "--steps", 3_000, "--missing", 0.1, "--intercept").exit_code == 0
    assert run("train", drawn, "--model", model, "--regimes", 3, "--polish", 3, "--quiet").exit_code == 0
    assert run("infer", drawn, "--model", model, "--output", labelled, "--quiet").exit_code == 0
    table = pd.read_csv(labelled)
    regimes = json.loads(run("inspect", model, "--json").stdout)["regimes"]
    for regime in regimes:
        rows = table[(table["regime"] == regime["regime"]) & table["log_likelihood"].notna()]
        np.testing.assert_allclose(regime["row_mean"], rows[["x0", "x1"]].mean(), atol=0.02)
    shown = run("inspect", model).stdout
    assert "mean of rows" in shown and "settles at" in shown
