import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch

from gmvae_cli import checkpoint

KEYS = {
    "rows", "regimes", "channels", "elbo_per_row", "log_likelihood_per_row", "log_likelihood_per_row_data_units",
    "amortisation_gap", "shares", "expected_dwell", "evidence_scale", "stride", "steps", "seconds", "rows_per_second",
    "converged", "warnings", "evaluated_on",
}  # fmt: skip
FAST = ("--steps", "10", "--restarts", "2")


@pytest.fixture
def series(run, tmp_path):
    """A simulated file of 1,200 rows, with the model that drew it."""
    path, truth = tmp_path / "a.csv", tmp_path / "truth.safetensors"
    assert run("simulate", path, "--steps", "1200", "--regimes", "2", "--truth", truth, "--seed", "3").exit_code == 0
    return path


def trained(run, path, *options, model="m.safetensors"):
    target = path.parent / model
    result = run("train", path, "--model", target, "--regimes", "2", "--json", "--quiet", *FAST, *options)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout), target


def test_json_has_the_promised_keys_and_adds_up(run, series):
    figures, model = trained(run, series)
    assert figures.keys() >= KEYS
    assert figures["rows"] == 1200
    assert figures["channels"] == ["x0", "x1"]
    assert figures["stride"] == 1
    gap = figures["log_likelihood_per_row"] - figures["elbo_per_row"]
    assert figures["amortisation_gap"] == pytest.approx(gap, abs=1e-12)
    assert gap >= 0
    assert sum(figures["shares"]) == pytest.approx(1)
    scale = safetensors.torch.load_file(model)["scale"]
    in_data_units = figures["log_likelihood_per_row"] - float(scale.log().sum())
    assert figures["log_likelihood_per_row_data_units"] == pytest.approx(in_data_units)


def test_the_table_shows_the_encoder_below_the_exact_likelihood(run, series):
    result = run("train", series, "--model", series.parent / "m.safetensors", "--regimes", "2", *FAST)
    assert result.exit_code == 0, result.output
    value = {line.split("  ")[0]: line for line in result.stdout.splitlines()}
    exact, encoder = (
        float(value[name].split(" per row")[0].split()[-1]) for name in ("log-likelihood", "encoder alone")
    )
    assert encoder <= exact
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


def test_infer_on_the_training_file_gives_the_shares_of_training(run, series):
    figures, model = trained(run, series)
    out = series.parent / "out.csv"
    inferred = json.loads(run("infer", series, "--model", model, "--output", out, "--json").stdout)
    assert inferred["shares"] == figures["shares"]


def test_same_seed_same_bytes_and_another_seed_other_bytes(run, series):
    first = trained(run, series, model="a.safetensors")[1].read_bytes()
    assert trained(run, series, model="b.safetensors")[1].read_bytes() == first
    assert trained(run, series, "--seed", "1", model="c.safetensors")[1].read_bytes() != first


@pytest.mark.parametrize(
    ("options", "status", "line"),
    [
        (("--seed", str(2**63)), 2, f"--seed is {2**63}, but must be at most {2**63 - 1}"),
        (("--lr", "1e10"), 1, "training diverged at step 2 of 2; try a smaller --lr than 1e+10"),
    ],
)
def test_extreme_options_are_one_line(run, series, options, status, line):
    result = run("train", series, "--model", series.parent / "m.safetensors", "--quiet", *FAST, *options)
    assert (result.exit_code, result.stderr) == (status, line + "\n")


def test_the_largest_seed_is_used(run, series):
    trained(run, series, "--seed", str(2**63 - 1))


def test_align_to_keeps_the_numbers_of_an_older_model(run, series):
    """The older model has the larger regime, which a model by itself calls 0, as 1."""
    figures, model = trained(run, series)
    assert figures["shares"][0] > figures["shares"][1] + 0.02, "the series has a larger regime"
    own, older = checkpoint.load(str(model)), series.parent / "older.safetensors"
    swapped = own.parameters.permuted(torch.tensor([1, 0]))
    checkpoint.save(str(older), replace(own, parameters=swapped))
    aligned, renamed = trained(run, series, "--align-to", older, model="aligned.safetensors")
    assert aligned["shares"] == figures["shares"][::-1]
    found = checkpoint.load(str(renamed))
    assert torch.equal(found.parameters.emission.weights, swapped.emission.weights)
    assert torch.equal(found.parameters.emission.scale_tril, swapped.emission.scale_tril)
    assert torch.equal(found.parameters.chain.transition_matrix, swapped.chain.transition_matrix)
    assert torch.equal(found.standard_errors, own.standard_errors.flip(0))


def test_init_starts_from_an_older_model(run, series):
    """Two regimes that are the same stand still in every update, so a run that starts from such a model ends there."""
    short = ("--no-intercept", "--covariance", "shared", "--steps", "1", "--polish", "0")
    _, model = trained(run, series, *short)
    own, older = checkpoint.load(str(model)), series.parent / "older.safetensors"
    first, second = own.parameters.emission.weights
    assert float((first - second).abs().max()) > 0.2, "a start of its own tells the regimes apart"
    alike = replace(own.parameters.emission, weights=torch.stack([first, first]))
    checkpoint.save(str(older), replace(own, parameters=replace(own.parameters, emission=alike)))
    _, model = trained(run, series, *short, "--init", older)
    first, second = checkpoint.load(str(model)).parameters.emission.weights
    assert float((first - second).abs().max()) < 0.05


def test_expect_dwell_is_heeded_in_rows_and_as_a_duration(run, tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "noise.csv"
    rows = "\n".join(f"2024-01-01T{t // 60:02d}:{t % 60:02d}:00,{rng.normal():.4f}" for t in range(1200))
    path.write_text(f"time,x\n{rows}\n")
    by_rows, _ = trained(run, path, "--expect-dwell", "40")
    by_time, _ = trained(run, path, "--expect-dwell", "40min", model="b.safetensors")
    assert by_rows["expected_dwell"] == by_time["expected_dwell"]
    assert min(by_rows["expected_dwell"]) > 15
    shorter, _ = trained(run, path, "--expect-dwell", "4", model="c.safetensors")
    assert max(shorter["expected_dwell"]) < 15


def test_too_many_regimes_are_warned_about(run, series):
    target = series.parent / "m.safetensors"
    result = run("train", series, "--model", target, "--regimes", "8", "--polish", "2", "--json", *FAST)
    codes = {warning["code"] for warning in json.loads(result.stdout)["warnings"]}
    assert codes & {"rare_regime", "same_regimes", "short_visits"}
    assert "warning: " in result.stderr


@pytest.mark.parametrize("options", [("--prior", "iid"), ("--estimator", "exact"), ("--lags", "3"), ("--stride", "2")])
def test_options_of_the_model_train_and_infer(run, series, options):
    _, plain = trained(run, series, model="plain.safetensors")
    figures, model = trained(run, series, *options)
    assert figures["log_likelihood_per_row"] > figures["elbo_per_row"] - 1e-9
    assert model.read_bytes() != plain.read_bytes(), "the option makes a difference"
    for posterior in ("smooth", "viterbi", "filter", "encoder"):
        out = series.parent / "out.csv"
        assert run("infer", series, "--model", model, "--output", out, "--posterior", posterior).exit_code == 0


def test_the_reference_model_is_reachable(run, series):
    _, model = trained(run, series, "--prior", "iid", "--no-intercept", "--covariance", "shared", "--fixed-prior")
    tensors = safetensors.torch.load_file(model)
    assert tensors["scale_tril"].shape[0] == 1
    assert not tensors["ar_bias"].any()
    assert not tensors["mean"].any()
    np.testing.assert_allclose(tensors["initial_probs"], [0.5, 0.5])


@pytest.mark.parametrize(
    ("options", "status", "expected"),
    [
        pytest.param(("--regimes", "0"), 2, "--regimes is 0, but must be at least 1", id="no regime"),
        pytest.param(("--lags", "2000"), 1, "0 rows are complete with all their lags", id="lags"),
        pytest.param(("--regimes", "700"), 1, "need at least", id="too many regimes"),
        pytest.param(("--device", "cuda"), 1, "--device is 'cuda', but this machine has only: cpu", id="device"),
        pytest.param(("--device", "tpu"), 2, "must be cpu, auto", id="device name"),
        pytest.param(("--channels", "x0,x9"), 1, "no column 'x9'", id="channel"),
        pytest.param(("--expect-dwell", "soon"), 2, "--expect-dwell", id="dwell"),
        pytest.param(("--init", "nowhere.safetensors"), 1, "no such model file", id="init"),
        pytest.param(("--fixed-prior",), 2, "needs --prior iid", id="fixed prior"),
        pytest.param(("--temperature-end", "0"), 2, "--temperature-end is 0", id="temperature"),
    ],
)
def test_bad_options_get_one_line_and_leave_nothing(rejection, series, options, status, expected):
    before = sorted(series.parent.iterdir())
    line = rejection("train", series, "--model", series.parent / "m.safetensors", "--quiet", *options, status=status)
    assert expected in line
    assert sorted(series.parent.iterdir()) == before


@pytest.mark.gpu
@pytest.mark.parametrize("posterior", ["smooth", "viterbi", "filter", "encoder"])
def test_cpu_and_gpu_label_alike(run, series, posterior):
    """Inference is in float64 on both, so labels are equal, save for a row on the fence, and figures to 1e-6."""
    _, model = trained(run, series)
    tables = []
    for device in ("cpu", "cuda"):
        out = series.parent / f"{device}.csv"
        options = ("--device", device, "--posterior", posterior)
        assert run("infer", series, "--model", model, "--output", out, *options).exit_code == 0
        tables.append(pd.read_csv(out))
    cpu, gpu = tables
    assert list(cpu) == list(gpu)
    assert (cpu["regime"] != gpu["regime"]).sum() <= 1
    for name in ("prob_0", "prob_1", "log_likelihood"):
        np.testing.assert_allclose(gpu[name], cpu[name], rtol=1e-6, atol=1e-9)


@pytest.mark.gpu
@pytest.mark.parametrize("options", [(), ("--prior", "iid"), ("--noise", "student")])
def test_training_on_a_gpu_finds_the_model_of_the_cpu(run, series, options):
    """Rounding differs, and so does the path of the gradient; the optimum does not."""
    likelihood, models = [], []
    for device in ("cpu", "cuda"):
        figures, model = trained(run, series, "--device", device, *options, model=f"{device}.safetensors")
        likelihood.append(figures["log_likelihood_per_row"])
        models.append(checkpoint.load(str(model)).parameters)
    assert likelihood[1] == pytest.approx(likelihood[0], abs=1e-3)
    np.testing.assert_allclose(models[1].emission.weights, models[0].emission.weights, atol=0.02)
    np.testing.assert_allclose(models[1].chain.transition_matrix, models[0].chain.transition_matrix, atol=0.02)


@pytest.mark.parametrize(
    "column",
    [
        pytest.param(lambda x, t: t, id="row counter"),
        pytest.param(lambda x, t: x[:, 0], id="copy"),
        pytest.param(lambda x, t: 1.8 * x[:, 0] + 32, id="other unit"),
        pytest.param(lambda x, t: x.sum(1), id="total"),
        pytest.param(lambda x, t: np.sin(t / 50), id="smooth sine"),
        pytest.param(lambda x, t: t // 300 % 2, id="steps"),
    ],
)
@pytest.mark.parametrize("options", [(), ("--prior", "iid"), ("--lags", "3", "--covariance", "shared")])
def test_channels_that_others_predict_exactly_still_give_a_model(run, tmp_path, column, options):
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(1200, 2)).cumsum(0) * 0.1 + rng.normal(size=(1200, 2)), np.arange(1200.0)
    path = tmp_path / "dependent.csv"
    table = np.column_stack([x, column(x, t)])
    np.savetxt(path, table, delimiter=",", header="a,b,c", comments="")
    figures, model = trained(run, path, *options)
    assert np.isfinite(figures["log_likelihood_per_row"])
    result = run("infer", path, "--model", model, "--output", tmp_path / "out.csv", "--quiet")
    assert result.exit_code == 0
    assert "nan" not in (tmp_path / "out.csv").read_text().lower()


def test_outputs_never_overwrite_an_input_or_one_another(rejection, series):
    before = series.read_bytes()
    assert "the same file as the input" in rejection("train", series, "--model", series, status=2)
    truth = series.parent / "truth.safetensors"
    arguments = ("infer", series, "--model", truth, "--output", "o.csv", "--segments")
    assert "the same file as" in rejection(*arguments, "o.csv", status=2)
    assert "the same file as" in rejection(*arguments, series, status=2)
    assert "needs the name of a file" in rejection(*arguments, "-", status=2)
    assert "needs the name of a file" in rejection("train", series, "--model", "-", status=2)
    assert "the same file as" in rejection("simulate", "x.csv", "--truth", "x.csv", status=2)
    assert series.read_bytes() == before


def test_too_few_passes_are_said_to_be_too_few(run, series):
    figures, _ = trained(run, series, "--polish", "0")
    sentence = next(w["sentence"] for w in figures["warnings"] if w["code"] == "not_converged")
    assert "inf" not in sentence
    assert not figures["converged"]


def test_numbers_beyond_reach_are_rejected_with_their_row(rejection, tmp_path):
    path = tmp_path / "huge.csv"
    path.write_text("x\n" + "1\n2\n" * 50 + "1e200\n")
    assert "row 101: column 'x' holds '1e200'" in rejection(
        "train", path, "--model", tmp_path / "m.safetensors", status=1
    )
