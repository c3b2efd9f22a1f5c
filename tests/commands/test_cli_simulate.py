"""`gmvae simulate`: the file it writes, the same for a seed, and what it rejects."""

import json

import numpy as np
import pandas as pd
import pytest
import safetensors.torch

from gmvae_cli import checkpoint
from gmvae_cli.data import simulation


def read(path):
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)


def test_writes_the_columns_that_were_promised(run, tmp_path):
    path = tmp_path / "a.csv"
    result = run("simulate", path, "--steps", 300, "--channels", 3)
    assert result.exit_code == 0, result.output
    table = read(path)
    assert table.columns.tolist() == ["t", "x0", "x1", "x2", "true_regime"]
    assert table["t"].tolist() == list(range(300))
    assert set(table["true_regime"]) <= {0, 1, 2}


def test_several_series_have_an_id_and_their_own_clock(run, tmp_path):
    path = tmp_path / "a.parquet"
    run("simulate", path, "--steps", 40, "--series", 3)
    table = read(path)
    assert table.columns.tolist() == ["series", "t", "x0", "x1", "true_regime"]
    assert table["series"].tolist() == [0] * 40 + [1] * 40 + [2] * 40
    assert table["t"].tolist() == list(range(40)) * 3
    assert not np.allclose(table["x0"][:40], table["x0"][40:80])


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".parquet"])
def test_same_seed_gives_the_same_bytes(run, tmp_path, suffix):
    paths = [tmp_path / f"{name}{suffix}" for name in "abc"]
    for path, seed in zip(paths, (1, 1, 2), strict=True):
        run("simulate", path, "--steps", 200, "--seed", seed)
    first, again, other = (path.read_bytes() for path in paths)
    assert first == again
    assert first != other


def test_formats_hold_the_same_rows(run, tmp_path):
    for name in ("a.csv", "a.parquet"):
        run("simulate", tmp_path / name, "--steps", 500, "--missing", 0.2)
    pd.testing.assert_frame_equal(read(tmp_path / "a.csv"), read(tmp_path / "a.parquet"), check_exact=True)


def test_missing_cells_and_outliers_leave_the_other_cells_alone(run, tmp_path):
    run("simulate", tmp_path / "whole.parquet", "--steps", 5000)
    run("simulate", tmp_path / "damaged.parquet", "--steps", 5000, "--missing", 0.1, "--outliers", 0.05)
    whole, damaged = read(tmp_path / "whole.parquet"), read(tmp_path / "damaged.parquet")
    channels = ["x0", "x1"]
    assert damaged[channels].isna().mean().mean() == pytest.approx(0.1, abs=0.01)
    assert whole["true_regime"].equals(damaged["true_regime"])
    off = (damaged[channels] - whole[channels]).abs() > 1e-9
    assert off.any(axis=1).mean() == pytest.approx(0.05 * 0.9, abs=0.01)


def test_json_describes_what_was_drawn(run, tmp_path):
    result = run("simulate", tmp_path / "a.csv", "--steps", 1000, "--dwell", 20, "--regimes", 4, "--json", "--quiet")
    found = json.loads(result.stdout)
    table = read(tmp_path / "a.csv")
    assert found["rows"] == 1000
    assert found["shares"] == [float((table["true_regime"] == regime).mean()) for regime in range(4)]
    assert found["expected_dwell"] == pytest.approx([20] * 4)
    assert found["segments"] == 1 + int((table["true_regime"].diff().fillna(0) != 0).sum())
    assert all(0.6 - 1e-9 <= radius <= 0.97 + 1e-9 for radius in found["spectral_radius"])
    assert result.stderr == ""


def test_chunks_leave_no_seam(run, tmp_path, monkeypatch):
    monkeypatch.setattr(simulation, "CHUNK_ROWS", 64)
    found = json.loads(
        run("simulate", tmp_path / "a.csv", "--steps", 300, "--series", 2, "--dwell", 20, "--json").stdout
    )
    table = read(tmp_path / "a.csv")
    assert table["t"].tolist() == list(range(300)) * 2
    begins = (table["true_regime"].diff() != 0) | (table["t"] == 0)
    assert found["segments"] == int(begins.sum())
    assert found["rows"] == 600


def test_one_regime_never_ends(run, tmp_path):
    result = run("simulate", tmp_path / "a.csv", "--regimes", 1, "--steps", 50, "--json")
    assert json.loads(result.stdout)["expected_dwell"] == [None]
    assert set(read(tmp_path / "a.csv")["true_regime"]) == {0}


def test_truth_is_the_generating_model(run, tmp_path):
    path = tmp_path / "truth.safetensors"
    run("simulate", tmp_path / "a.csv", "--steps", 10, "--lags", 2, "--covariance", "regime", "--truth", path)
    truth = checkpoint.load(str(path))
    process = simulation.random_process(
        3, 2, 2, dwell=50, shared_covariance=False, intercept=False, generator=np.random.default_rng([0, 0])
    )
    assert truth.encoder is None
    assert truth.channels == ("x0", "x1")
    assert truth.model.covariance == "regime"
    tensors = safetensors.torch.load_file(path)
    for name in ("ar_weights", "ar_bias", "scale_tril", "initial_probs", "transition_matrix"):
        np.testing.assert_array_equal(tensors[name], getattr(process, name))


def test_drawing_from_the_truth_is_drawing_again(run, tmp_path):
    truth = tmp_path / "truth.safetensors"
    run("simulate", tmp_path / "a.csv", "--steps", 100, "--truth", truth)
    run("simulate", tmp_path / "b.csv", "--steps", 100, "--model", truth)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_model_fixes_the_shape(rejection, tmp_path):
    line = rejection("simulate", tmp_path / "a.csv", "--model", "m.safetensors", "--regimes", 5, status=2)
    assert line == "--model fixes --regimes; leave it out"


@pytest.mark.parametrize(
    ("name", "status"), [("a.txt", 2), ("missing/a.csv", 1), ("folder.csv", 1)], ids=["suffix", "no folder", "a folder"]
)
def test_an_impossible_output_is_rejected(rejection, tmp_path, name, status):
    (tmp_path / "folder.csv").mkdir()
    assert name in rejection("simulate", tmp_path / name, status=status)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.csv"]


def test_an_impossible_truth_leaves_no_output(rejection, tmp_path):
    line = rejection("simulate", tmp_path / "a.csv", "--truth", tmp_path / "missing" / "t.safetensors", status=1)
    assert "t.safetensors" in line
    assert list(tmp_path.iterdir()) == []
