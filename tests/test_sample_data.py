"""The files of sample_data/ are what its README says."""

import subprocess
import sys

import pandas as pd
import pytest


def read(path):
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_simulated_files_are_what_make_sample_data_draws(run, tmp_path, suffix, sample_data):
    makefile = (sample_data.parent / "Makefile").read_text()
    path = f"sample_data/switching_iid{suffix}"
    (command,) = (line for line in makefile.splitlines() if path in line)
    again = tmp_path / f"again{suffix}"
    result = run(*command.replace(path, str(again)).split()[1:])
    assert result.exit_code == 0, result.output
    pd.testing.assert_frame_equal(read(sample_data / f"switching_iid{suffix}"), read(again), rtol=1e-9, atol=1e-9)


def test_growth_is_by_quarter_and_has_the_known_recessions(sample_data):
    table = read(sample_data / "us_gnp_growth.csv")
    assert table.columns.tolist() == ["date", "growth", "true_regime"]
    assert pd.to_datetime(table["date"]).equals(pd.Series(pd.date_range("1951-04-01", "1984-10-01", freq="QS")))
    recession = table.loc[table["true_regime"] == 1, "date"]
    assert {"1954-01-01", "1958-01-01", "1974-10-01", "1982-01-01"} <= set(recession)
    # beyond the four lags of Hamilton's model, "never a recession" is right on 0.794 of quarters
    assert 1 - table["true_regime"][4:].mean() == pytest.approx(0.794, abs=5e-4)


def test_exercise_is_whole(sample_data):
    table = read(sample_data / "exercise.csv")
    assert table.columns.tolist() == ["t", *(f"x{channel}" for channel in range(12)), "true_regime"]
    assert table["t"].tolist() == list(range(387))
    assert sorted(table["true_regime"].unique()) == list(range(6))
    assert not table.isna().any(axis=None)


def test_readme_names_every_file(sample_data):
    text = (sample_data / "README.md").read_text()
    for path in sample_data.iterdir():
        assert path.name == "README.md" or f"`{path.name}`" in text


def test_press_is_what_make_sample_data_draws(tmp_path, sample_data):
    again = tmp_path / "again.csv"
    subprocess.run([sys.executable, sample_data / "make_press.py", again], check=True)
    pd.testing.assert_frame_equal(read(sample_data / "press.csv"), read(again), rtol=0, atol=0.011)
