"""`--lags 0`, regimes of a mean and a covariance: against a plain forward recursion, the truth and hmmlearn."""

import json

import numpy as np
import pytest
from reference import filter_rows
from scipy.stats import multivariate_normal, multivariate_t

from gmvae_cli.config import ModelConfig, SelectConfig
from gmvae_cli.errors import ConfigError

MEANS = np.array([[0.0, 0.0], [3.0, 1.0], [-1.0, 4.0]])
COVARIANCES = np.array([[[1.0, 0.5], [0.5, 1.0]], [[0.5, 0.0], [0.0, 2.0]], [[2.0, -1.0], [-1.0, 1.0]]])
QUICK = ("--lags", "0", "--steps", "5", "--restarts", "2", "--hidden", "4", "--layers", "1", "--quiet")


def drawn(T, seed=0):
    """Rows (T, 2) and regimes (T,) whose visits last 50 rows."""
    rng = np.random.default_rng(seed)
    regimes = [0]
    for change in rng.random(T - 1) < 0.02:
        regimes.append((regimes[-1] + change * rng.integers(1, 3)) % 3)
    noise = np.einsum("tij,tj->ti", np.linalg.cholesky(COVARIANCES)[regimes], rng.normal(size=(T, 2)))
    return MEANS[regimes] + noise, np.array(regimes)


def written(path, x, times=None):
    """Write rows as CSV, NaN as empty cells."""
    times = np.arange(len(x)) if times is None else times
    lines = [",".join(["t", "a", "b"])]
    lines += [
        ",".join([str(t), *("" if np.isnan(v) else repr(float(v)) for v in row)])
        for t, row in zip(times, x, strict=True)
    ]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture
def figures(run):
    """Run a command that must succeed, and read its JSON."""

    def figures(*arguments):
        result = run(*arguments, "--json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    return figures


def twin_scores(x, regimes, degrees=None):
    """log p of what is observed of each row (T, K), by scipy."""
    scores = np.zeros((len(x), len(regimes)))
    for t, row in enumerate(x):
        o = ~np.isnan(row)
        for k, regime in enumerate(regimes):
            if o.any():
                mean, matrix = np.array(regime["mean"])[o], np.array(regime["covariance"])[np.ix_(o, o)]
                law = multivariate_normal(mean, matrix)
                if degrees is not None:
                    law = multivariate_t(mean, matrix * (degrees - 2) / degrees, df=degrees)
                scores[t, k] = law.logpdf(row[o])
    return scores


@pytest.mark.parametrize(
    "options",
    [(), ("--no-intercept",), ("--covariance", "shared"), ("--noise", "student"), ("--prior", "iid")],
    ids=lambda options: " ".join(options) or "plain",
)
def test_row_likelihoods_are_those_of_a_forward_recursion_on_the_inspected_model(figures, tmp_path, options):
    """With missing cells and rows; the first row, and the one after a hole of four rows, are scored like any other."""
    x, _ = drawn(400)
    rng = np.random.default_rng(1)
    x[rng.random(x.shape) < 0.05] = np.nan
    x[[0, 200]] = 0.5
    x[100] = np.nan
    times = np.arange(400) + 4 * (np.arange(400) >= 200)
    file, model = written(tmp_path / "x.csv", x, times), tmp_path / "m.safetensors"
    figures("train", file, "--model", model, *QUICK, *options, "--evidence-scale", "1")
    result = figures("inspect", model)
    figures(
        "infer",
        file,
        "--model",
        model,
        "--output",
        tmp_path / "y.csv",
        "--digits",
        "17",
        "--posterior",
        "filter",
        "--quiet",
        "--json",
    )
    table = np.genfromtxt(tmp_path / "y.csv", delimiter=",", names=True)
    steps = np.r_[0, np.diff(times)]
    scores = twin_scores(x, result["regimes"], result["degrees_of_freedom"])
    probs, rows = filter_rows(scores, result["initial_probs"], result["transition_matrix"], steps)
    known = ~np.isnan(x).all(1)
    np.testing.assert_array_equal(np.isnan(table["log_likelihood"]), ~known)
    np.testing.assert_allclose(table["log_likelihood"][known], rows[known], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.stack([table[f"prob_{k}"] for k in range(3)], 1), probs, atol=1e-5)


def test_training_finds_means_covariances_and_dwell(figures, tmp_path):
    x, regimes = drawn(2000)
    x[np.random.default_rng(2).random(x.shape) < 0.05] = np.nan
    model = tmp_path / "m.safetensors"
    trained = figures("train", written(tmp_path / "x.csv", x), "--model", model, *QUICK)
    found = figures("inspect", model)["regimes"]
    assert "unstable_regime" not in {warning["code"] for warning in trained["warnings"]}
    order = [min(range(3), key=lambda k: np.abs(np.array(found[k]["mean"]) - mean).sum()) for mean in MEANS]
    for k, regime in enumerate(found[index] for index in order):
        np.testing.assert_allclose(regime["mean"], MEANS[k], atol=0.2)
        np.testing.assert_allclose(regime["covariance"], COVARIANCES[k], atol=0.3)
        np.testing.assert_allclose(np.square(regime["standard_deviation"]), np.diag(regime["covariance"]), rtol=1e-6)
        assert regime["share"] == pytest.approx((regimes == k).mean(), abs=0.02)
        assert regime["ar_weights"] == [] and regime["spectral_radius"] == 0
        assert regime["half_life"] is None and regime["dominant_period"] is None


def test_the_likelihood_reaches_that_of_hmmlearn(figures, tmp_path):
    """The best of five fits, its own count; both begin with the stationary law, which hmmlearn fits to one row."""
    hmm = pytest.importorskip("hmmlearn.hmm")
    x, _ = drawn(1500)
    theirs = -np.inf
    for seed in range(5):
        options = {"covars_prior": 0, "covars_weight": -3, "n_iter": 300, "tol": 1e-7, "random_state": seed}
        fitted = hmm.GaussianHMM(3, "full", **options).fit(x)
        fitted.startprob_ = fitted.get_stationary_distribution()
        theirs = max(theirs, fitted.score(x))
    file, model = written(tmp_path / "x.csv", x), tmp_path / "m.safetensors"
    figures("train", file, "--model", model, *QUICK, "--evidence-scale", "1")
    result = figures("inspect", model)
    scores = twin_scores(x, result["regimes"])
    ours = filter_rows(scores, result["initial_probs"], result["transition_matrix"], np.r_[0, np.ones(1499)])[1].sum()
    assert ours > theirs - 1


def test_regimes_of_volatility_need_no_intercept(figures, tmp_path):
    rng = np.random.default_rng(3)
    volatile = np.arange(1500) // 250 % 2
    x = rng.normal(size=(1500, 2)) * np.where(volatile, 3, 1)[:, None]
    model = tmp_path / "m.safetensors"
    figures("train", written(tmp_path / "x.csv", x), "--model", model, *QUICK, "--regimes", "2", "--no-intercept")
    found = figures("inspect", model)["regimes"]
    assert sorted(regime["standard_deviation"][0] for regime in found) == pytest.approx([1, 3], rel=0.15)
    assert all(regime["mean"] == [0, 0] for regime in found)


def test_simulated_rows_are_white_within_a_regime(figures, tmp_path):
    out = tmp_path / "x.csv"
    options = ("--lags", "0", "--intercept", "--covariance", "regime", "--steps", "4000", "--channels", "1")
    figures("simulate", out, *options, "--truth", tmp_path / "t.safetensors")
    table = np.genfromtxt(out, delimiter=",", names=True)
    for regime in figures("inspect", tmp_path / "t.safetensors")["regimes"]:
        mine = table["true_regime"] == regime["regime"]
        residual = table["x0"] - regime["mean"][0]
        both = mine[1:] & mine[:-1]
        assert abs(residual[mine].mean()) < 0.15
        assert residual[mine].var() == pytest.approx(regime["covariance"][0][0], rel=0.2)
        assert abs((residual[1:] * residual[:-1])[both].mean()) < 0.15


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"stride": 2}, "--stride"),
        ({"intercept": False, "covariance": "shared"}, "nothing to differ"),
        ({"lags": -1}, "--lags is -1"),
    ],
)
def test_what_lags_0_cannot_be_combined_with(options, named):
    with pytest.raises(ConfigError, match=named):
        ModelConfig(**{"lags": 0} | options)


def test_select_compares_no_lags_with_one():
    config = SelectConfig(regimes=(1, 2), lags=(1, 0))
    assert [(model.regimes, model.lags) for model in config.candidates] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert config.candidates[2].num_free_parameters(2) == 2 * 2 + 2 * 3 + 2
