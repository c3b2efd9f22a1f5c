"""Models of blocks of rows, through every command that meets one."""

import json

import numpy as np
import pyarrow.csv
import pytest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("blocks")


@pytest.fixture
def trained(run, folder):
    """4,013 rows of two spreads, with holes and missing cells, and a model of blocks of 16."""
    series, model = folder / "series.csv", folder / "model.safetensors"
    if not model.exists():
        rng = np.random.default_rng(0)
        true = (np.arange(4_013) // 500) % 2
        cells = [f"{value:.4f}" for value in rng.normal(size=4_013) * (1 + 3 * true)]
        cells[100:130] = [""] * 30
        times = np.arange(4_013) + 40 * (np.arange(4_013) > 2_000)
        rows = (f"{t},{cell},{label}" for t, cell, label in zip(times, cells, true, strict=True))
        series.write_text("\n".join(["t,x0,true_regime", *rows, ""]))
        options = ["--regimes", 2, "--summarize", 16, "--steps", 20, "--evidence-scale", 1]
        assert run("train", series, "--model", model, *options).exit_code == 0
    return series, model


@pytest.mark.parametrize("posterior", ["smooth", "viterbi", "filter", "encoder"])
def test_every_row_gets_its_blocks_regime(run, trained, tmp_path, posterior):
    series, model = trained
    out = tmp_path / "out.csv"
    result = run("infer", series, "--model", model, "--output", out, "--posterior", posterior, "--json", "--digits", 17)
    assert result.exit_code == 0, result.stderr
    table = pyarrow.csv.read_csv(out)
    regimes = table["regime"].to_numpy()
    assert len(regimes) == 4_013 == json.loads(result.stdout)["rows"]
    changes = np.flatnonzero(np.diff(regimes)) + 1
    assert len(changes) and (changes % 16 == 0).all()
    probs = table["prob_0"].to_numpy() + table["prob_1"].to_numpy()
    np.testing.assert_allclose(probs, 1, atol=1e-9)
    scores = json.loads(run("evaluate", out, "--json").stdout)
    assert scores["ari"] > (0.8 if posterior == "filter" else 0.9)  # it hears of a change one block late


@pytest.mark.parametrize("prior", ["markov", "iid"])
def test_filter_uses_no_later_row_of_the_same_block_either(run, trained, tmp_path, prior):
    """Rows from 1,000 on, in the middle of a block, are exchanged for others: nothing changes before them."""
    series, model = trained
    if prior == "iid":
        model = tmp_path / "iid.safetensors"
        options = ["--regimes", 2, "--summarize", 16, "--steps", 20, "--prior", "iid"]
        assert run("train", series, "--model", model, *options).exit_code == 0
    lines = series.read_text().splitlines()
    other = tmp_path / "other.csv"
    changed = [",".join([line.split(",")[0], str(0.1 * (at % 7)), "0"]) for at, line in enumerate(lines[1_001:])]
    other.write_text("\n".join([*lines[:1_001], *changed, ""]))
    found = []
    for path in (series, other):
        out = tmp_path / f"{path.stem}.labelled.csv"
        assert run("infer", path, "--model", model, "--output", out, "--posterior", "filter").exit_code == 0
        table = pyarrow.csv.read_csv(out)
        found.append(np.stack([table[name].to_numpy() for name in ("regime", "prob_0")]))
    np.testing.assert_array_equal(found[0][:, :1_000], found[1][:, :1_000])
    assert prior == "iid" or (found[0] != found[1]).any()


def test_likelihoods_of_rows_add_up_to_those_of_blocks(run, trained, tmp_path):
    """What `infer` writes, summed, is what `evaluate --model` and the blocks themselves say."""
    series, model = trained
    out = tmp_path / "out.csv"
    run("infer", series, "--model", model, "--output", out)
    rows = pyarrow.csv.read_csv(out)["log_likelihood"].drop_null().to_numpy()
    judged = json.loads(run("evaluate", series, "--model", model, "--json").stdout)
    assert rows.mean() == pytest.approx(judged["log_likelihood_per_row"])


def test_inspect_names_the_summaries_and_speaks_of_rows(run, trained):
    found = json.loads(run("inspect", trained[1], "--json").stdout)
    assert found["channels"] == ["mean x0", "log_spread x0"]
    assert found["configuration"]["summarize"] == 16
    dwell = [regime["expected_dwell"] for regime in found["regimes"]]
    assert min(dwell) > 150
    assert "blocks of 16 rows" in run("inspect", trained[1]).stdout


def test_a_model_of_blocks_draws_no_rows(rejection, trained, tmp_path):
    line = rejection("simulate", tmp_path / "o.csv", "--model", trained[1], status=1)
    assert "describes blocks of 16 rows" in line


def test_another_model_may_start_and_be_named_by_it(run, trained, tmp_path):
    series, model = trained
    options = ["--regimes", 2, "--summarize", 16, "--steps", 20, "--init", model, "--align-to", model]
    assert run("train", series, "--model", tmp_path / "again.safetensors", *options).exit_code == 0


def test_rows_and_blocks_do_not_mix(rejection, trained, tmp_path):
    series, model = trained
    line = rejection("train", series, "--model", tmp_path / "m.safetensors", "--regimes", 2, "--init", model, status=1)
    assert "its summarize is 16, but this run's is 1" in line


def test_segments_are_in_rows(run, trained, tmp_path):
    series, model = trained
    out, listed = tmp_path / "out.csv", tmp_path / "list.csv"
    run("infer", series, "--model", model, "--output", out, "--segments", listed)
    spans = pyarrow.csv.read_csv(listed)
    assert spans["start"][0].as_py() == 0 and spans["stop"][-1].as_py() == 4_013
    assert sum(spans["rows"].to_pylist()) == 4_013
