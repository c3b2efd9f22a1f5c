"""Rows in hand draw what the file that is written of them draws, byte for byte."""

import numpy as np
import pandas as pd
import pytest

from gmvae_cli.checkpoint import load
from gmvae_cli.config import InferConfig, SeriesConfig
from gmvae_cli.errors import Note
from gmvae_cli.files.series_reader import open_series
from gmvae_cli.outputs import label_table
from gmvae_cli.plotting import figure, labelled_file, plot_data
from gmvae_cli.plotting.downsampling import Columns, Reduction
from gmvae_cli.system.progress import silent


@pytest.fixture
def recording(run, tmp_path):
    """A file of dates with holes, missing cells, a constant channel and true labels; a model trained on it."""
    path, model = tmp_path / "recording.csv", tmp_path / "model.safetensors"
    simulated = ("simulate", path, "--steps", 400, "--regimes", 2, "--dwell", 20, "--missing", 0.05)
    assert run(*simulated).exit_code == 0
    table = pd.read_csv(path)
    minutes = table["t"] + 50 * (table["t"] > 130)
    table["t"] = (pd.Timestamp("2024-03-01") + pd.to_timedelta(minutes, unit="min")).dt.strftime("%Y-%m-%d %H:%M:%S")
    table.insert(1, "constant", 7.5)
    table.to_csv(path, index=False)
    trained = ("train", path, "--model", model, "--regimes", 2, "--steps", 5, "--restarts", 1, "--quiet")
    assert run(*trained).exit_code == 0
    return path, load(str(model))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("kind", ["png", "svg"])
def test_rows_in_hand_draw_the_same_bytes_as_the_file(recording, tmp_path, monkeypatch, suffix, kind):
    path, checkpoint = recording
    files, out = SeriesConfig(digits=17), str(tmp_path / f"labelled{suffix}")
    monkeypatch.setattr(label_table, "BLOCK_ROWS", 37)
    reader = open_series([str(path)], files)
    channels = labelled_file.drawn_channels(reader.layout, [])
    builder = plot_data.PlotDataBuilder(out, reader.layout, channels, ["regime 0", "regime 1"])
    totals = label_table.LabelTotals(2, ("x0", "x1"))
    with (
        reader.read_data() as data,
        label_table.open_outputs(reader, out, None, files) as outputs,
        label_table.table_labels(data, checkpoint, InferConfig(), totals) as labels,
    ):
        assert data.channels == ("x0", "x1") and channels == ("constant", "x0", "x1")
        labels.write(reader, outputs, lambda _, cells, rows: builder.add_from(data, cells, rows.regimes, rows.probs))
        in_hand = builder.build(data)
    pictures = []
    for name, content in (("hand", in_hand), ("file", labelled_file.read(out, files, silent))):
        figure.save(str(tmp_path / name), kind, content)
        pictures.append((tmp_path / name).read_bytes())
    assert pictures[0] == pictures[1]
    assert (in_hand.rows, in_hand.num_series, in_hand.segments) == (400, 1, totals.segments)


def test_sums_do_not_depend_on_the_blocks_that_rows_come_in():
    """Even beyond the rows that are reduced at once."""
    n = (1 << 16) + 5_000
    rng = np.random.default_rng(0)
    rows = Columns.of_rows(np.arange(n) * 1.0, np.zeros(n, bool), rng.normal(size=(n, 1)), rng.random((n, 2)))
    reduced = []
    for block in (n, 9_999):
        reduction = Reduction()
        for start in range(0, n, block):
            reduction.add(rows[start : start + block])
        reduced.append(reduction.columns())
    np.testing.assert_array_equal(reduced[0].sums, reduced[1].sums)
    np.testing.assert_allclose(reduced[0].sums.sum(0), rows.sums.sum(0))


def test_a_file_in_hand_says_what_is_left_out(tmp_path):
    table = pd.DataFrame({f"x{index}": np.arange(4.0) for index in range(13)} | {"regime": 0})
    table["series"] = range(4)
    pd.concat([table] * 4).assign(series=range(16)).to_csv(tmp_path / "wide.csv", index=False)
    data = labelled_file.read(str(tmp_path / "wide.csv"), SeriesConfig(), silent)
    assert [note.code for note in data.notes] == ["many_channels", "many_series"]
    assert all(isinstance(note, Note) for note in data.notes)
    assert (len(data.panels), data.num_series, len(data.channels)) == (12, 16, 12)
