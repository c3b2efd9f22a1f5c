"""`compare`: two models on the same rows, what agrees, what moved, and which explains the rows better."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from gmvae_cli.checkpoint import load, save
from gmvae_cli.inference import apply


@pytest.fixture
def folder(run, tmp_path, monkeypatch):
    """Two files, the model a that drew them, and a model b, with another number of regimes, that did not."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    options = ("--dwell", 20, "--quiet")
    assert run("simulate", "in/1.csv", "--steps", 400, "--truth", "a.safetensors", *options).exit_code == 0
    seeded = ("--model", "a.safetensors", "--seed", 3, "--quiet")
    assert run("simulate", "in/2.csv", "--steps", 300, *seeded).exit_code == 0
    other = ("--steps", 10, "--regimes", 4, "--lags", 2, "--seed", 5, "--truth", "b.safetensors")
    assert run("simulate", "unused.csv", *other, *options).exit_code == 0
    for path in ("in/1.csv", "in/2.csv"):
        table = pd.read_csv(path)
        table.loc[50:60, "x0"] = np.nan
        table.to_csv(path, index=False)
    return tmp_path


@pytest.fixture
def compare(run, folder):
    def compare(*arguments, status=0):
        result = run("compare", *arguments, "--json", "--quiet")
        assert result.exit_code == status, result.output
        return json.loads(result.stdout)

    return compare


def labels(run, model, posterior="smooth"):
    """The rows of both files as a model labels them."""
    arguments = ("--model", model, "--output", "out", "--posterior", posterior, "--digits", 17, "--quiet")
    assert run("infer", "in", *arguments).exit_code == 0
    return pd.concat([pd.read_csv(f"out/{name}.csv") for name in (1, 2)], ignore_index=True)


def codes(result):
    return [warning["code"] for warning in result["warnings"]]


@pytest.mark.parametrize("posterior", ["smooth", "filter"])
def test_figures_are_those_of_the_labels_that_infer_writes(run, compare, posterior, monkeypatch):
    monkeypatch.setitem(apply.infer.__kwdefaults__, "block_rows", 64)
    result = compare("a.safetensors", "b.safetensors", "in", "--posterior", posterior)
    one, two = (labels(run, f"{name}.safetensors", posterior) for name in "ab")
    assert (result["rows"], result["series"]) == (700, 2)
    assert result["ari"] == pytest.approx(adjusted_rand_score(one["regime"], two["regime"]))
    counts = pd.crosstab(one["regime"], two["regime"])
    for pair in result["matched"]:
        a, b = pair["regime_a"], pair["regime_b"]
        if None not in (a, b):
            assert pair["rows"] == counts.loc[a, b]
            assert (pair["rows_a"], pair["rows_b"]) == (counts.loc[a].sum(), counts[b].sum())
    assert sum(pair["rows_a"] for pair in result["matched"]) == 700
    assert sum(pair["rows_b"] for pair in result["matched"]) == 700
    agreeing = sum(pair["rows"] for pair in result["matched"])
    assert result["agreement"] == agreeing / 700
    assert agreeing + sum(move["rows"] for move in result["moved"]) == 700
    assert [move["rows"] for move in result["moved"]] == sorted(
        (move["rows"] for move in result["moved"]), reverse=True
    )
    for move in result["moved"]:
        assert move["rows"] == counts.loc[move["regime_a"], move["regime_b"]] == round(700 * move["share"])
    both = one["log_likelihood"].notna() & two["log_likelihood"].notna()
    assert 0 < both.sum() < one["log_likelihood"].notna().sum(), "two lags need more rows than one"
    means = [table["log_likelihood"][both].mean() for table in (one, two)]
    found = [result[f"log_likelihood_per_row_{letter}"] for letter in "ab"]
    assert found == pytest.approx(means) and result["log_likelihood_difference"] == found[1] - found[0]
    starts = np.isin(np.arange(700), (0, 400))
    for letter, table in zip("ab", (one, two), strict=True):
        assert result[f"segments_{letter}"] == ((table["regime"].diff() != 0) | starts).sum()


def test_a_model_agrees_with_itself_whatever_its_numbers(compare):
    model = load("a.safetensors")
    order = [2, 0, 1]
    chain, emission = model.parameters.chain, model.parameters.emission
    swapped = chain._replace(
        initial_probs=chain.initial_probs[order], transition_matrix=chain.transition_matrix[order][:, order]
    )
    shared = {"scale_tril": emission.scale_tril if len(emission.scale_tril) == 1 else emission.scale_tril[order]}
    emission = replace(emission, weights=emission.weights[order], **shared)
    other = replace(
        model, parameters=replace(model.parameters, chain=swapped, emission=emission), names=("x", "y", "z")
    )
    save("c.safetensors", other)
    gates = ("--fail-under", "agreement=1", "--fail-under", "ari=1")
    result = compare("a.safetensors", "c.safetensors", "in", *gates)
    assert (result["agreement"], result["ari"], result["moved"]) == (1, 1, [])
    assert [(pair["regime_a"], pair["regime_b"], pair["name_b"]) for pair in result["matched"]] == [
        (0, 1, "y"),
        (1, 2, "z"),
        (2, 0, "x"),
    ]
    assert result["log_likelihood_difference"] == pytest.approx(0, abs=1e-12)
    assert codes(result) == ["other_numbers"]
    assert "0 is 1, 1 is 2, 2 is 0" in result["warnings"][0]["sentence"]
    assert codes(compare("c.safetensors", "a.safetensors", "in")) == ["other_numbers", "other_names"]


def test_regimes_of_one_name_are_one(run, compare):
    assert run("rename", "a.safetensors", "0=on", "1=on", "2=off", "--output", "d.safetensors").exit_code == 0
    result = compare("a.safetensors", "d.safetensors", "in")
    assert {pair["regime_b"] for pair in result["matched"]} == {0, 2, None}
    (move,) = result["moved"]
    assert move["name_b"] == "on" and move["rows"] == min(pair["rows_a"] for pair in result["matched"][:2])


def test_rows_are_read_once_where_both_models_read_them_alike(compare, monkeypatch):
    from gmvae_cli.files.series_reader import SeriesReader

    read, plain = [], SeriesReader.read_data
    monkeypatch.setattr(SeriesReader, "read_data", lambda self, *a, **k: read.append(self.name) or plain(self, *a, **k))
    compare("a.safetensors", "b.safetensors", "in")
    assert len(read) == 1
    model = load("b.safetensors")
    fewer = replace(model, training={**model.training, "reading": {"max_gap": "30"}})
    save("e.safetensors", fewer)
    assert "read_as_trained" in codes(compare("a.safetensors", "e.safetensors", "in"))
    assert len(read) == 3


def test_other_channels_have_no_difference(run, compare):
    options = ("--steps", 10, "--channels", 1, "--truth", "f.safetensors", "--quiet")
    assert run("simulate", "unused.csv", *options).exit_code == 0
    result = compare("a.safetensors", "f.safetensors", "in")
    assert result["log_likelihood_difference"] is None and "not_comparable" in codes(result)
    gate = ("--fail-under", "log_likelihood_difference=-1")
    compare("a.safetensors", "f.safetensors", "in", *gate, status=3)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_stretches_that_moved_are_listed(run, compare, suffix, monkeypatch):
    monkeypatch.setattr("gmvae_cli.commands.compare.BLOCK_ROWS", 64)
    assert run("rename", "b.safetensors", "0=idle").exit_code == 0
    result = compare("a.safetensors", "b.safetensors", "in", "--output", f"moved{suffix}")
    assert result["output"] == f"moved{suffix}"
    listed = (pd.read_csv if suffix == ".csv" else pd.read_parquet)(f"moved{suffix}")
    names = ["regime_a", "regime_b", "name_b"]
    assert list(listed) == [*("file", "series", "start", "stop", "start_time", "end_time"), *names, "rows", "duration"]
    expected = {(move["regime_a"], move["regime_b"]): move["rows"] for move in result["moved"]}
    assert listed.groupby(["regime_a", "regime_b"])["rows"].sum().to_dict() == expected
    one, two = (labels(run, f"{name}.safetensors").assign(file=["1.csv"] * 400 + ["2.csv"] * 300) for name in "ab")
    for line in listed.itertuples():
        for table, regime in ((one, line.regime_a), (two, line.regime_b)):
            rows = table[table["file"] == line.file].reset_index(drop=True)
            assert (rows["regime"][line.start : line.stop] == regime).all()
            assert (rows["t"][line.start], rows["t"][line.stop - 1]) == (line.start_time, line.end_time)
    compare("a.safetensors", "a.safetensors", "in", "--output", f"none{suffix}")
    assert len((pd.read_csv if suffix == ".csv" else pd.read_parquet)(f"none{suffix}")) == 0


def test_gates_end_with_status_3(run, folder):
    result = run("compare", "a.safetensors", "b.safetensors", "in", "--fail-under", "agreement=0.99")
    assert result.exit_code == 3
    assert "missed --fail-under agreement=0.99: agreement is" in result.stderr
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    assert "moved from" in result.stdout and "adjusted Rand index" in result.stdout
    wrong = run("compare", "a.safetensors", "b.safetensors", "in", "--fail-under", "f1=1")
    assert wrong.exit_code == 2 and "agreement, ari, log_likelihood_difference" in wrong.stderr


def test_what_cannot_be_compared_is_said(rejection, folder):
    models = ("a.safetensors", "b.safetensors")
    assert "each model reads the rows for itself" in rejection("compare", *models, "-", status=2, stdin="x0\n1\n")
    assert "the same file as" in rejection("compare", *models, "in", "--output", "b.safetensors", status=2)
    assert "the same file as" in rejection("compare", *models, "in", "--output", "in/1.csv", status=2)
    assert "must end in one of" in rejection("compare", *models, "in", "--output", "moved.txt", status=2)
    assert "no such model file" in rejection("compare", "a.safetensors", "none", "in", status=1)
    assert "there is no such file" in rejection("compare", *models, "none.csv", status=1)
    (folder / "bad.csv").write_text("t,x0\n0,1\n")
    assert "trained on 2 channels (x0, x1), but bad.csv has 1 (x0)" in rejection(
        "compare", *models, "bad.csv", status=1
    )
