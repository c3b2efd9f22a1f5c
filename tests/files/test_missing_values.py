"""Which cells are missing values, and what is said about them."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gmvae_cli.config import SeriesConfig
from gmvae_cli.errors import SeriesError
from gmvae_cli.files.series_reader import open_series
from gmvae_cli.training.diagnostics import check_data

NAN = np.nan
# what the documentation of pandas.read_csv lists, and the marks of other programs
WORDS = [
    *("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"),
    *("NULL", "NaN", "None", "n/a", "nan", "null", "?", "-", " NA ", "na"),
]


def read(path, **options):
    with open_series([str(path)], SeriesConfig(**options)).read_data() as data:
        return data.read(0, data.rows)[0], data


@pytest.mark.parametrize("word", WORDS)
def test_words_that_mean_missing_are_missing(tmp_path, word):
    path = tmp_path / "a.csv"
    path.write_text(f"t,x0,x1\n0,1,2\n1,{word},3\n2,4,5\n3,,6\n")
    values, data = read(path)
    np.testing.assert_array_equal(values, [[1, 2], [NAN, 3], [4, 5], [NAN, 6]])
    if word.lower() != "nan":
        assert data.notes == [
            (
                "missing_values",
                f"channel 'x0' has 2 missing values, among them cells that hold '{word.strip()}' (1)",
            )
        ]


def test_a_column_of_hardly_any_number_is_a_channel_all_the_same(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("t,x0,x1\n" + "".join(f"{t},{t % 5},{t % 7 if t % 10 == 0 else 'NA'}\n" for t in range(100)))
    _, data = read(path)
    assert data.channels == ("x0", "x1")
    assert data.missing.tolist() == [0, 90]
    assert [code for code, _ in data.notes] == ["missing_values"]
    assert "'x1' has 90 missing values, among them cells that hold 'NA' (90)" in data.notes[0].sentence


@pytest.mark.parametrize("cell", ["-999", "-999.0", "-9.99e2", "Fault", "fault "])
def test_given_values_are_missing_however_they_are_written(tmp_path, cell):
    path = tmp_path / "a.csv"
    path.write_text(f"t,x0\n0,1\n1,{cell}\n2,4\n")
    values, data = read(path, na_values=("-999", "Fault"))
    np.testing.assert_array_equal(values, [[1], [NAN], [4]])
    assert cell.strip() in data.notes[0].sentence


def test_given_numbers_are_missing_in_parquet_too(tmp_path):
    pq.write_table(
        pa.table({"t": [0, 1, 2, 3], "x0": [1.5, -999, 2.5, None], "x1": [7, 8, 9, -999]}), tmp_path / "a.parquet"
    )
    values, data = read(tmp_path / "a.parquet", na_values=("-999",))
    np.testing.assert_array_equal(values, [[1.5, 7], [NAN, 8], [2.5, 9], [NAN, NAN]])
    assert data.missing.tolist() == [2, 1]


def test_other_text_is_an_error_with_its_row(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("t,x0\n0,1\n1,NA\n2,broken\n3,4\n")
    with pytest.raises(SeriesError, match=r"row 3: column 'x0' holds 'broken', not a number"):
        read(path)


def test_a_code_that_repeats_is_named_with_the_option_that_makes_it_missing(tmp_path, run):
    values = np.random.default_rng(0).normal(size=(2000, 1))
    values[7::40] = -999.25
    (note,) = [note for note in check_data(values, ["x0"], 1, 2, 1) if note.code == "missing_code"]
    assert note.sentence.endswith("if that means missing, give --na-values -999.25")
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["t,x0", *(f"{t},{value:.4f}" for t, (value,) in enumerate(values)), ""]))
    shown = run("train", path, "--model", tmp_path / "m", "--na-values", "-999.25", "--dry-run", "--json").stdout
    assert json.loads(shown)["missing"] == {"x0": 50}


def test_labels_that_mean_missing_are_no_class(tmp_path, run):
    path = tmp_path / "a.csv"
    true = ["a", " a", "a ", "NA", "None", "null", "?", "b", "b", "b"]
    predicted = ["0.0", "0", "0", "1", "1", "1", "0", "1", "1.0", "1"]
    path.write_text("\n".join(["true_regime,regime", *map(",".join, zip(true, predicted, strict=True)), ""]))
    scores = json.loads(run("evaluate", path, "--json").stdout)
    assert (scores["unlabelled"], scores["accuracy"], scores["labels_true"]) == (4, 1.0, ["a", "b"])
