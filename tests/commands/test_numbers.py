"""Numbers as files hold them: each gives a result with a named warning, or one line; never NaN in an output."""

import json

import numpy as np
import pandas as pd
import pytest

ROWS = 600
FAST = ("--regimes", "2", "--steps", "20", "--restarts", "1", "--polish", "10", "--quiet")


def two_regimes(rows=ROWS):
    """(rows, 2): a calm and a lively autoregression, 60 rows each."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 2)) * np.where(np.arange(rows) // 60 % 2, 0.2, 1.0)[:, None]
    for t in range(1, rows):
        x[t] += 0.5 * x[t - 1]
    return x


def with_column(make):
    def columns():
        x = two_regimes()
        return np.column_stack([x, make(x)])

    return columns


def changed(change):
    def columns():
        x = two_regimes()
        change(x)
        return x

    return columns


def spike(x, value):
    x[300, 0] = value


def outliers(x):
    rng = np.random.default_rng(1)
    hit = rng.choice(ROWS, ROWS // 100, replace=False)
    x[hit] += 20 * rng.choice([-1, 1], size=(len(hit), 2))


def explosive(rate):
    x = np.zeros((ROWS, 2))
    rng = np.random.default_rng(0)
    for t in range(1, ROWS):
        x[t] = rate * x[t - 1] + rng.normal(size=2)
    return x


RESULTS = [
    pytest.param(with_column(lambda x: np.full(ROWS, 5.0)), "constant_channel", id="constant column"),
    pytest.param(
        with_column(lambda x: np.full(ROWS, np.nan)), ("empty_column", "constant_channel"), id="column of all missing"
    ),
    pytest.param(with_column(lambda x: x[:, 0]), "same_channels", id="duplicate column"),
    pytest.param(
        with_column(lambda x: 1.8 * x[:, 1] + 32), "same_channels", id="same column, other unit", marks=pytest.mark.slow
    ),
    pytest.param(lambda: np.tile([[1.0, 2.0], [3.0, 5.0]], (ROWS // 2, 1)), "rare_regime", id="two rows in turn"),
    pytest.param(changed(lambda x: spike(x, 1e12)), "far_value", id="spike of 1e12"),
    pytest.param(changed(lambda x: spike(x, -1e149)), "far_value", id="spike of -1e149", marks=pytest.mark.slow),
    pytest.param(changed(outliers), None, id="outliers"),
    pytest.param(lambda: 2**60 + (1000 * two_regimes()).astype(np.int64), "rounded_numbers", id="integers beyond 2^53"),
    pytest.param(with_column(lambda x: x[:, 0] * 1e-310), "constant_channel", id="column of denormals"),
    pytest.param(lambda: two_regimes() * 1e-130, None, id="small numbers", marks=pytest.mark.slow),
    pytest.param(lambda: two_regimes() * 1e147, None, id="large numbers"),
    pytest.param(lambda: explosive(1.05), "unstable_regime", id="explosive", marks=pytest.mark.slow),
    pytest.param(lambda: explosive(1.5), "unstable_regime", id="explosive beyond hope"),
]
REJECTED = [
    pytest.param(lambda: np.full((ROWS, 2), 5.0), "no channel varies (c0, c1)", id="all constant"),
    pytest.param(lambda: np.tile([[1.0, 2.0]], (ROWS, 1)), "no channel varies", id="one row for ever"),
    pytest.param(lambda: two_regimes() * 1e-310, "no channel varies", id="denormals"),
    pytest.param(lambda: np.full((ROWS, 2), np.nan), "d.", id="all missing"),
    pytest.param(lambda: two_regimes()[:2], "1 rows are complete with all their lags", id="more regimes than rows"),
    pytest.param(lambda: two_regimes() * 1e151, "expected a finite number", id="beyond the largest"),
]


@pytest.fixture(params=["csv", pytest.param("parquet", marks=pytest.mark.slow)])
def write(request, tmp_path):
    """Write columns to a file of either format."""

    def write(columns):
        frame = pd.DataFrame(columns, columns=[f"c{index}" for index in range(columns.shape[1])])
        path = tmp_path / f"d.{request.param}"
        if request.param == "csv":
            frame.to_csv(path, index=False)
        else:
            frame.to_parquet(path)
        return path

    return write


def finite(path, regimes=2):
    table = pd.read_csv(path)
    probs = table[[f"prob_{k}" for k in range(regimes)]]
    assert np.isfinite(probs.to_numpy()).all()
    np.testing.assert_allclose(probs.sum(axis=1), 1)
    assert not np.isinf(table["log_likelihood"]).any()
    return "nan" not in path.read_text().lower()


@pytest.mark.parametrize(("columns", "code"), RESULTS)
def test_hard_numbers_give_a_result_and_a_named_warning(run, write, tmp_path, columns, code):
    path, model, out = write(columns()), tmp_path / "m.safetensors", tmp_path / "o.csv"
    trained = run("train", path, "--model", model, *FAST, "--json")
    assert trained.exit_code == 0, trained.output
    figures = json.loads(trained.stdout)
    assert np.isfinite(figures["log_likelihood_per_row"])
    codes = {warning["code"] for warning in figures["warnings"]}
    assert code is None or codes & ({code} if isinstance(code, str) else set(code))
    arguments = ("infer", path, "--model", model, "--output", out, "--quiet", "--json", "--digits", 17)
    for posterior in ("smooth", "viterbi", "filter", "encoder"):
        labelled = run(*arguments, "--posterior", posterior)
        assert labelled.exit_code == 0, labelled.output
        assert finite(out)
    assert run("inspect", model, "--json").exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize("columns", [case.values[0] for case in RESULTS])
def test_segment_finds_something_in_hard_numbers_too(run, write, tmp_path, columns):
    out = tmp_path / "o.csv"
    found = run("segment", write(columns()), "--output", out, "--regimes", 2, "--json", "--digits", 17)
    assert found.exit_code == 0, found.output
    assert finite(out)


@pytest.mark.parametrize(("columns", "expected"), REJECTED)
def test_impossible_numbers_are_one_line(rejection, write, tmp_path, columns, expected):
    line = rejection("train", write(columns()), "--model", tmp_path / "m.safetensors", *FAST, status=1)
    assert expected in line


def test_a_model_meets_numbers_that_it_never_saw(run, tmp_path):
    model, path, out = tmp_path / "m.safetensors", tmp_path / "d.csv", tmp_path / "o.csv"
    frame = pd.DataFrame(two_regimes() * 1e-100, columns=["c0", "c1"])
    frame.to_csv(path, index=False)
    assert run("train", path, "--model", model, *FAST).exit_code == 0
    frame.iloc[100:300] = 1e149  # further out than squares can count
    frame.iloc[400, 0] = -1e149
    frame.to_csv(path, index=False)
    arguments = ("infer", path, "--model", model, "--output", out, "--quiet", "--json", "--digits", 17)
    for posterior in ("smooth", "viterbi", "filter", "encoder"):
        result = run(*arguments, "--posterior", posterior)
        assert result.exit_code == 0, result.output
        assert "unlike_training" in {warning["code"] for warning in json.loads(result.stdout)["warnings"]}
        assert finite(out)


@pytest.mark.parametrize("offset", [1e9, 1e15])
def test_far_from_zero_without_an_intercept_is_warned_about(run, tmp_path, offset):
    path = tmp_path / "d.csv"
    pd.DataFrame(two_regimes() + offset, columns=["c0", "c1"]).to_csv(path, index=False)
    arguments = ("train", path, "--model", tmp_path / "m.safetensors", *FAST, "--no-intercept", "--json")
    assert "far_from_zero" in {warning["code"] for warning in json.loads(run(*arguments).stdout)["warnings"]}
