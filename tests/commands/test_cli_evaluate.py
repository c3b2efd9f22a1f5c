"""`gmvae evaluate`: scores of a file of labels, gates, and what it rejects."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st


def scores(run, *arguments, status=0, stdin=None):
    result = run("evaluate", *arguments, "--json", "--quiet", stdin=stdin)
    assert result.exit_code == status, result.output
    return json.loads(result.stdout)


def write(path, **columns):
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def test_scores_worked_by_hand(run, labelled):
    found = scores(run, labelled, "--tolerance", 1)
    assert (found["rows"], found["unlabelled"]) == (12, 0)
    assert found["accuracy"] == pytest.approx(11 / 12)
    assert found["confusion"] == [[7, 1], [0, 4]]
    assert (found["labels_true"], found["labels_predicted"]) == (["a", "b"], ["1", "0"])
    assert found["covering"] == pytest.approx((4 * 1 + 4 * 4 / 5 + 4 * 3 / 4) / 12)
    assert (found["change_point_precision"], found["change_point_recall"], found["change_point_f1"]) == (1, 1, 1)
    assert found["hausdorff"] == 1
    assert (found["segments_true"], found["segments_predicted"]) == (3, 3)
    assert (found["elbo_per_row"], found["log_likelihood_per_row"]) == (None, None)


def test_tolerance_decides_which_changes_meet(run, labelled):
    assert scores(run, labelled, "--tolerance", 0)["change_point_f1"] == 0.5


def test_keys_are_the_promised_ones(run, labelled):
    promised = {
        *("rows", "unlabelled", "accuracy", "ari", "nmi", "ami", "v_measure", "macro_f1", "covering", "hausdorff"),
        *("change_point_precision", "change_point_recall", "change_point_f1", "segments_true", "segments_predicted"),
        *("confusion", "elbo_per_row", "log_likelihood_per_row"),
    }
    assert promised <= set(scores(run, labelled))


def test_formats_and_stdin_agree(run, labelled, tmp_path):
    parquet = tmp_path / "labelled.parquet"
    pd.read_csv(labelled).to_parquet(parquet)
    expected = scores(run, labelled)
    assert scores(run, parquet) == expected
    assert scores(run, "-", stdin=labelled.read_text()) == expected


def test_other_names_of_the_label_columns(run, tmp_path):
    path = write(tmp_path / "a.csv", who=["x", "x", "y"], guess=[0, 0, 1])
    assert scores(run, path, "--truth", "who", "--predicted", "guess")["ari"] == 1


def test_rows_without_truth_are_left_out_and_counted(run, tmp_path):
    truth = [0, None, 0, 1, 1, None]
    predicted = [1, 0, 1, 1, 0, None]
    found = scores(run, write(tmp_path / "a.csv", t=range(6), true_regime=truth, regime=predicted))
    assert (found["rows"], found["unlabelled"]) == (6, 2)
    assert found["ari"] == pytest.approx(sklearn.metrics.adjusted_rand_score([0, 0, 1, 1], [1, 1, 1, 0]))
    assert found["segments_true"] == 2


def test_changes_are_scored_within_each_series(run, tmp_path):
    path = write(
        tmp_path / "a.csv",
        series=list("aaaabb"),
        t=[0, 1, 2, 3, 0, 1],
        true_regime=[0, 0, 1, 1, 0, 0],
        regime=[0, 0, 1, 1, 0, 1],
    )
    found = scores(run, path, "--tolerance", 0)
    assert (found["segments_true"], found["segments_predicted"]) == (3, 4)
    assert found["change_point_f1"] == pytest.approx(4 / 6)
    assert found["hausdorff"] == 2


def test_a_long_series_is_read_in_blocks_without_a_seam(run, tmp_path):
    path = tmp_path / "a.parquet"
    pd.DataFrame({"true_regime": ["idle"] * 150_000, "regime": [0] * 150_000}).to_parquet(path)
    found = scores(run, path)
    assert (found["rows"], found["segments_true"], found["ari"]) == (150_000, 1, 1)


def test_left_out_rows_do_not_shift_where_a_series_starts(run, tmp_path):
    path = write(tmp_path / "a.csv", series=list("aaabb"), true_regime=[0, None, 0, 1, 1], regime=[0, 1, 0, 0, 0])
    found = scores(run, path, "--tolerance", 0)
    assert (found["segments_true"], found["segments_predicted"]) == (2, 2)
    assert (found["covering"], found["change_point_f1"]) == (1, 1)


def test_a_series_without_any_truth_counts_no_segment(run, tmp_path):
    path = write(tmp_path / "a.csv", series=list("aabb"), true_regime=[0, 1, None, None], regime=[0, 1, 1, 1])
    assert scores(run, path)["segments_true"] == 2


@pytest.mark.parametrize(
    ("gate", "status"),
    [("ari=0.5", 0), ("ari=0.99", 3), ("hausdorff=1", 0), ("hausdorff=0.5", 3), ("elbo_per_row=-9", 3)],
)
def test_gates(run, labelled, gate, status):
    result = run("evaluate", labelled, "--quiet", "--fail-under", "accuracy=0.1", "--fail-under", gate)
    assert result.exit_code == status
    assert (f"missed --fail-under {gate}" in result.stderr) == (status == 3)
    assert "accuracy" in result.stdout


def test_a_missed_gate_says_by_how_much(run, labelled):
    line = run("evaluate", labelled, "--fail-under", "accuracy=0.95").stderr
    assert line == "missed --fail-under accuracy=0.95: accuracy is 0.916667, 0.0333 below\n"


@pytest.fixture
def drawn(run, tmp_path):
    """A simulated file and the model that generated it."""
    path, truth = tmp_path / "drawn.csv", tmp_path / "truth.safetensors"
    run("simulate", path, "--steps", 400, "--series", 2, "--truth", truth)
    return path, truth


def test_a_model_labels_the_rows_as_infer_does(run, tmp_path, drawn):
    path, truth = drawn
    run("infer", path, "--model", truth, "--output", tmp_path / "labelled.csv")
    found, expected = scores(run, path, "--model", truth), scores(run, tmp_path / "labelled.csv")
    likelihoods = pd.read_csv(tmp_path / "labelled.csv")["log_likelihood"]
    assert found["accuracy"] > 0.8
    assert found["log_likelihood_per_row"] == pytest.approx(likelihoods.mean(), abs=1e-6)
    assert found["elbo_per_row"] is None
    for name in ("ari", "confusion", "segments_predicted", "labels_predicted", "change_point_f1"):
        assert found[name] == expected[name]


def test_a_model_alone_gives_likelihoods(run, tmp_path, drawn):
    path, truth = drawn
    unlabelled = tmp_path / "unlabelled.csv"
    pd.read_csv(path).drop(columns="true_regime").to_csv(unlabelled, index=False)
    found = scores(run, unlabelled, "--model", truth)
    assert found["log_likelihood_per_row"] == scores(run, path, "--model", truth)["log_likelihood_per_row"]
    assert (found["rows"], found["unlabelled"], found["ari"], found["confusion"]) == (800, 800, None, None)
    assert "in data units" in run("evaluate", unlabelled, "--model", truth).stdout


def test_a_truth_that_is_named_must_be_there(rejection, drawn):
    path, truth = drawn
    assert "no column 'who'" in rejection("evaluate", path, "--model", truth, "--truth", "who", "--quiet", status=1)


def test_a_missed_likelihood_is_status_3(run, drawn):
    path, truth = drawn
    result = run("evaluate", path, "--model", truth, "--fail-under", "log_likelihood_per_row=9", "--quiet")
    assert result.exit_code == 3
    assert result.stderr.startswith("missed --fail-under log_likelihood_per_row=9: ")


def test_table_for_people_fits_80_columns(run, labelled):
    stdout = run("evaluate", labelled).stdout
    assert "adjusted Rand index" in stdout
    assert max(map(len, stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("t,true_regime\n0,1\n", "no column 'regime'; columns are: t, true_regime", id="no labels"),
        pytest.param("t,regime\n0,1\n", "no column 'true_regime'; columns are: t, regime", id="no truth"),
        pytest.param("true_regime,regime\n,1\nnan,1\n", "'true_regime' is empty", id="empty truth"),
        pytest.param("true_regime,regime\n1,1\n1,\n", "row 2: column 'regime' is empty", id="a label is missing"),
        pytest.param("true_regime,regime\n", "", id="header only"),
        pytest.param("", "", id="empty"),
    ],
)
def test_rejections(rejection, tmp_path, text, expected):
    path = tmp_path / "a.csv"
    path.write_text(text)
    line = rejection("evaluate", path, status=1)
    assert line.startswith(f"{path}: ")
    assert expected in line


def test_a_missing_file_is_status_1(rejection, tmp_path):
    assert "no such file" in rejection("evaluate", tmp_path / "a.csv", status=1)


def compared(true, predicted, ids, sizes):
    """The result of counting labels in blocks of these sizes, the last one as often as needed."""
    from gmvae_cli.commands import evaluate
    from gmvae_cli.config import EvaluateConfig
    from gmvae_cli.metrics.label_counts import LabelCounts

    counts, start, sizes = LabelCounts(), 0, iter(sizes)
    comparison = evaluate._Comparison("labels", EvaluateConfig(tolerance=2), counts)
    while start < len(true):
        part = slice(start, start + next(sizes, 7))
        columns = [pa.chunked_array([pa.array(column[part], pa.string())]) for column in (true, predicted, ids)]
        comparison.add(columns[0], evaluate._encoded(counts.predicted, columns[1]), columns[2])
        start = part.stop
    return comparison.result()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 30), max_size=12))
def test_scores_do_not_depend_on_how_the_rows_are_cut(seed, sizes):
    """Random labels, series of any length, rows without a truth, some series without any."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 120))
    ids = np.sort(rng.integers(0, rng.integers(1, 9), size=n)).astype(str)
    true = np.repeat(rng.integers(0, 4, size=n), rng.integers(1, 9, size=n))[:n].astype(str).astype(object)
    predicted = np.where(rng.random(n) < 0.3, rng.integers(0, 5, size=n), true.astype(int)).astype(str)
    true[(rng.random(n) < 0.2) | (ids == str(rng.integers(9)))] = None
    true[rng.integers(n)] = "0"
    whole, cut = compared(true, predicted, ids, [n]), compared(true, predicted, ids, sizes)
    assert cut == whole
    known = true != None  # noqa: E711 - cell by cell
    assert whole.ari == pytest.approx(sklearn.metrics.adjusted_rand_score(true[known], predicted[known]), abs=1e-12)
    assert (whole.rows, whole.unlabelled) == (n, (~known).sum())
    spans = {}
    for name, column in (("true", true[known]), ("predicted", predicted[known])):
        pairs = list(zip(column, ids[known], strict=True))
        spans[name] = sum(now != before for before, now in zip([None, *pairs], pairs, strict=False))
    assert (whole.segments_true, whole.segments_predicted) == (spans["true"], spans["predicted"])


def test_a_predicted_label_may_appear_first_beside_no_truth_at_all():
    true = np.array(["0", "1", None, None], dtype=object)
    predicted, ids = np.array(["a", "b", "c", "d"]), np.full(4, "s")
    assert compared(true, predicted, ids, [2, 2]) == compared(true, predicted, ids, [4])


def test_a_model_is_judged_block_by_block_as_it_is_at_once(run, tmp_path, monkeypatch):
    from gmvae_cli.inference import apply

    path, truth = tmp_path / "s.csv", tmp_path / "truth.safetensors"
    assert run("simulate", path, "--steps", "90", "--series", "3", "--dwell", "15", "--truth", truth).exit_code == 0
    arguments = ("evaluate", path, "--model", truth, "--json", "--quiet")
    whole = json.loads(run(*arguments).stdout)
    monkeypatch.setitem(apply.infer.__kwdefaults__, "block_rows", 37)
    cut = json.loads(run(*arguments).stdout)
    assert cut.keys() == whole.keys() and cut["segments_true"] > 3
    for name, value in whole.items():
        assert cut[name] == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value), name
