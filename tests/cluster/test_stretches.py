"""Tables that are cut into stretches get the labels that they get whole."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cluster.engines import FaultyEngine
from hypothesis import given, settings
from hypothesis import strategies as st
from random_models import random_checkpoint

from gmvae_cli.checkpoint import save
from gmvae_cli.cluster import labelling
from gmvae_cli.cluster.labelling import DealtLabelling
from gmvae_cli.cluster.whole_files import FileLabelling
from gmvae_cli.config import InferConfig, SeriesConfig
from gmvae_cli.errors import ConfigError, SeriesError
from gmvae_cli.files.inputs import InputFile
from gmvae_cli.system.progress import silent

POSTERIORS = ("smooth", "viterbi", "filter", "encoder")


def series_file(path, seed, T, *, series=1, time="even", row_group=None):
    """Write random values of one or several series, with missing cells; times with holes, or that jitter, or none."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(T, 2)) * 2
    values[rng.random(T) < 0.05] = np.nan
    values[rng.random((T, 2)) < 0.05] = np.nan
    ids = np.sort(rng.integers(0, series, T))
    stamps = np.arange(T) * 2.0
    if time == "holes":
        stamps = np.cumsum(rng.choice([2, 6, 4000], T, p=[0.9, 0.08, 0.02])).astype(float)
    if time == "jitter":
        stamps = np.arange(T) * 2.0 + rng.uniform(-0.5, 0.5, T)
        kept = rng.random(T) > 0.02
        values, ids, stamps = values[kept], ids[kept], stamps[kept]
    columns = {"x0": values[:, 0], "x1": values[:, 1], "note": [f"row {row}" for row in range(len(values))]}
    if time is not None:
        columns = {"time": stamps} | columns
    if series > 1:
        columns["series"] = [f"m{identity}" for identity in ids]
    table = pa.table({name: pa.array(column, from_pandas=True) for name, column in columns.items()})
    if path.suffix == ".csv":
        table.to_pandas().to_csv(path, index=False)
    else:
        pq.write_table(table, path, row_group_size=row_group)
    return InputFile(path=str(path), relative=path.name)


def saved(checkpoint, folder):
    path = str(folder / "model.safetensors")
    save(path, checkpoint)
    return path


def label(checkpoint, file, folder, posterior, limit=None, engine=None, **options):
    """Label a file whole, or in stretches; return the table and the work."""
    work = FileLabelling(
        checkpoint, saved(checkpoint, folder), InferConfig(posterior=posterior), SeriesConfig(**options), silent
    )
    if limit is None:
        output = str(folder / "whole.parquet")
        work.label_file(file, output)
        return pq.read_table(output), work.outcomes
    output = folder / f"cut {limit}"
    DealtLabelling(engine or FaultyEngine(limit), work, limit).label_file(file, str(output))
    parts = sorted(output.glob("part-*.parquet"))
    return pa.concat_tables([pq.ParquetFile(part).read().replace_schema_metadata() for part in parts]), work.outcomes


def require_same(cut, whole):
    assert cut.column_names == whole.column_names
    for name in whole.column_names:
        if name.startswith("prob_") or name == "log_likelihood":
            np.testing.assert_allclose(cut[name].to_numpy(), whole[name].to_numpy(), rtol=0, atol=1e-9)
        else:
            assert cut[name].to_pylist() == whole[name].to_pylist(), name


def require_any_cut_equals_uncut(folder, seed, T, limit, lags, posterior, prior, noise, series, time, max_gap):
    checkpoint = random_checkpoint(seed, P=lags, prior=prior, noise=noise)
    file = series_file(folder / "rows.parquet", seed, T, series=series, time=time, row_group=37)
    options = {"max_gap": max_gap if time else None}
    whole, plain = label(checkpoint, file, folder, posterior, **options)
    cut, dealt = label(checkpoint, file, folder, posterior, limit, **options)
    require_same(cut, whole)
    assert dealt.totals.counts.tolist() == plain.totals.counts.tolist()
    assert dealt.totals.segments == plain.totals.segments
    assert dealt.totals.log_likelihood == pytest.approx(plain.totals.log_likelihood, abs=1e-6 * T)
    assert dealt.columns == plain.columns
    assert {note.code for note in dealt.totals.notes} == {note.code for note in plain.totals.notes}


@pytest.mark.parametrize(
    ("limit", "lags", "posterior", "prior", "noise", "series", "time"),
    [
        (9, 2, "smooth", "markov", "normal", 4, "holes"),
        (30, 1, "viterbi", "markov", "normal", 1, "even"),
        (30, 3, "filter", "markov", "student", 1, "holes"),
        (30, 1, "encoder", "markov", "normal", 4, None),
        (30, 1, "smooth", "iid", "normal", 1, None),
    ],
)
def test_a_cut_equals_uncut(tmp_path, limit, lags, posterior, prior, noise, series, time):
    gap = "100" if time else None
    require_any_cut_equals_uncut(tmp_path, 1, 90, limit, lags, posterior, prior, noise, series, time, gap)


@pytest.mark.slow
@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    T=st.integers(2, 150),
    limit=st.one_of(st.just(1), st.integers(5, 100)),
    lags=st.integers(1, 3),
    posterior=st.sampled_from(POSTERIORS),
    prior=st.sampled_from(["markov", "iid"]),
    noise=st.sampled_from(["normal", "student"]),
    series=st.sampled_from([1, 4]),
    time=st.sampled_from(["even", "holes", None]),
    max_gap=st.sampled_from([None, "100"]),
)
def test_any_cut_equals_uncut(tmp_path_factory, seed, T, limit, lags, posterior, prior, noise, series, time, max_gap):
    folder = tmp_path_factory.mktemp("cut")
    require_any_cut_equals_uncut(folder, seed, T, limit, lags, posterior, prior, noise, series, time, max_gap)


@pytest.mark.parametrize("limit", [999, pytest.param(150, marks=pytest.mark.slow)])
def test_stamps_that_jitter_have_the_holes_that_they_have_whole(tmp_path, limit):
    checkpoint, file = random_checkpoint(1), series_file(tmp_path / "rows.parquet", 1, 3000, time="jitter")
    whole, plain = label(checkpoint, file, tmp_path, "smooth")
    cut, dealt = label(checkpoint, file, tmp_path, "smooth", limit)
    require_same(cut, whole)
    assert dealt.totals.notes == plain.totals.notes


def test_a_csv_file_is_cut_as_well(tmp_path):
    checkpoint, file = random_checkpoint(2), series_file(tmp_path / "rows.csv", 2, 500, series=3, time="holes")
    whole, plain = label(checkpoint, file, tmp_path, "smooth")
    cut, dealt = label(checkpoint, file, tmp_path, "smooth", 60)
    require_same(cut, whole)
    assert dealt.totals.notes == plain.totals.notes


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_series_goes_on_from_file_to_file_and_from_stretch_to_stretch(tmp_path, suffix):
    checkpoint = random_checkpoint(3)
    whole_file = series_file(tmp_path / "all.parquet", 3, 400, series=3)
    table = pq.read_table(whole_file.path)
    files = []
    for index, (start, stop) in enumerate([(0, 90), (90, 91), (91, 400)]):
        path = tmp_path / "in" / f"file{index}{suffix}"
        path.parent.mkdir(exist_ok=True)
        if suffix == ".csv":
            table.slice(start, stop - start).to_pandas().to_csv(path, index=False)
        else:
            pq.write_table(table.slice(start, stop - start), path)
        files.append(InputFile(path=str(path), relative=path.name))
    whole, _ = label(checkpoint, whole_file, tmp_path, "smooth")
    work = FileLabelling(checkpoint, saved(checkpoint, tmp_path), InferConfig(), SeriesConfig(digits=17), silent)
    DealtLabelling(FaultyEngine(), work, 100).label_folder(files, str(tmp_path / "out"), skip_existing=False)
    assert (
        sorted(entry.name for entry in (tmp_path / "out" / f"file2{suffix}").glob("part*"))[0] == "part-00000.parquet"
    )
    first = tmp_path / "out" / f"file0{suffix}"
    probs = pa.csv.read_csv(first)["prob_0"] if suffix == ".csv" else pq.read_table(first)["prob_0"]
    np.testing.assert_allclose(probs.to_numpy(), whole["prob_0"].to_numpy()[:90], atol=1e-9)
    parts = sorted((tmp_path / "out" / f"file2{suffix}").glob("part*"))
    rest = pa.concat_tables([pq.ParquetFile(part).read().select(["prob_0"]) for part in parts])
    np.testing.assert_allclose(rest["prob_0"].to_numpy(), whole["prob_0"].to_numpy()[91:], atol=1e-9)
    assert work.outcomes.totals.rows == 400


def test_ids_that_come_back_in_another_stretch_are_an_error(tmp_path):
    table = pa.table({"x0": np.arange(9.0) % 4, "x1": np.arange(9.0), "series": list("aaabbbaaa")})
    pq.write_table(table, tmp_path / "rows.parquet")
    file = InputFile(path=str(tmp_path / "rows.parquet"), relative="rows.parquet")
    with pytest.raises(SeriesError, match=r"rows\.parquet: series 'a' goes on after another one; --sort"):
        label(random_checkpoint(0), file, tmp_path, "smooth", 3)


def test_a_cell_that_cannot_be_used_is_named_by_its_row_in_the_file(tmp_path):
    file = series_file(tmp_path / "rows.csv", 4, 200)
    lines = Path(file.path).read_text().splitlines()
    lines[151] = lines[151].replace(lines[151].split(",")[1], "broken", 1)
    Path(file.path).write_text("\n".join(lines) + "\n")
    with pytest.raises(SeriesError, match=r"rows\.csv: row 151: column 'x0' holds 'broken'"):
        label(random_checkpoint(0), file, tmp_path, "smooth", 40)
    assert not list(tmp_path.glob("cut*/part*"))


def test_a_job_goes_on_with_the_parts_that_are_missing(tmp_path, monkeypatch):
    checkpoint, file = random_checkpoint(5), series_file(tmp_path / "rows.parquet", 5, 300)
    engine = FaultyEngine()
    before, first = label(checkpoint, file, tmp_path, "smooth", 40, engine)
    folder = tmp_path / "cut 40"
    inodes = {part.name: part.stat().st_ino for part in folder.glob("part*")}
    (folder / "part-00003.parquet").unlink()
    (folder / "_SUCCESS.json").unlink()
    after, second = label(checkpoint, file, tmp_path, "smooth", 40, engine)
    require_same(after, before)
    changed = {part.name for part in folder.glob("part*") if part.stat().st_ino != inodes[part.name]}
    assert changed <= {"part-00003.parquet"}
    assert (folder / "_SUCCESS.json").exists()
    assert second.totals.counts.tolist() == first.totals.counts.tolist()
    assert second.totals.segments == first.totals.segments
    monkeypatch.setattr(labelling, "_label_stretch", None)  # nothing is left to label
    label(checkpoint, file, tmp_path, "smooth", 40, engine)


def test_parts_of_another_job_are_replaced_and_those_of_strangers_are_not(tmp_path):
    checkpoint, file = random_checkpoint(6), series_file(tmp_path / "rows.parquet", 6, 300)
    label(checkpoint, file, tmp_path, "smooth", 40)
    folder = tmp_path / "cut 40"
    os.utime(file.path, (1, 1))  # another input, as far as is known
    old = pq.read_table(folder / "part-00000.parquet")["prob_0"], json.loads((folder / "_job.json").read_text())
    label(checkpoint, file, tmp_path, "filter", 40)
    new = pq.read_table(folder / "part-00000.parquet")["prob_0"], json.loads((folder / "_job.json").read_text())
    assert not old[0].equals(new[0])
    assert old[1]["options"]["posterior"] == "smooth" and new[1]["options"]["posterior"] == "filter"
    strange = tmp_path / "cut 41"
    strange.mkdir()
    (strange / "part-0.parquet").write_bytes(b"mine")
    with pytest.raises(ConfigError, match=r"has part-0\.parquet, which this program did not put there"):
        label(checkpoint, file, tmp_path, "smooth", 41)
    assert (strange / "part-0.parquet").read_bytes() == b"mine"


def test_an_output_that_cannot_be_cut_is_named_before_any_work(tmp_path):
    checkpoint, file = random_checkpoint(7), series_file(tmp_path / "rows.parquet", 7, 300)
    work = FileLabelling(checkpoint, saved(checkpoint, tmp_path), InferConfig(), SeriesConfig(), silent)
    with pytest.raises(ConfigError, match="the input is cut into parts"):
        DealtLabelling(FaultyEngine(), work, 40).label_file(file, str(tmp_path / "out.csv"))
    assert not (tmp_path / "out.csv").exists()
    DealtLabelling(FaultyEngine(), work, 400).label_file(file, str(tmp_path / "out.csv"))
    assert (tmp_path / "out.csv").is_file()


def test_many_files_are_dealt_out_and_a_broken_one_is_reported(tmp_path):
    checkpoint = random_checkpoint(8)
    files = [series_file(tmp_path / f"rows{index}.parquet", index, 50 + index, time=None) for index in range(7)]
    (tmp_path / "rows3.parquet").write_bytes(b"PAR1 no table PAR1")
    one, many = (
        FileLabelling(checkpoint, saved(checkpoint, tmp_path), InferConfig(), SeriesConfig(), silent) for _ in range(2)
    )
    one.label_folder(files, str(tmp_path / "one"), skip_existing=False)
    DealtLabelling(FaultyEngine(), many, 1000).label_folder(files, str(tmp_path / "many"), skip_existing=False)
    many, one = many.outcomes, one.outcomes
    assert many.failures == one.failures and len(one.failures) == 1
    assert many.totals.counts.tolist() == one.totals.counts.tolist()
    assert many.totals.segments == one.totals.segments
    for index in (0, 1, 2, 4, 5, 6):
        name = f"rows{index}.parquet"
        assert (tmp_path / "many" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


@pytest.mark.slow
def test_a_folder_whose_parts_are_not_all_there_is_not_skipped(tmp_path, run):
    checkpoint, file = random_checkpoint(9), series_file(tmp_path / "rows.parquet", 9, 120)
    model, out = saved(checkpoint, tmp_path), tmp_path / "out"
    arguments = (
        "infer",
        file.path,
        "--model",
        model,
        "--output",
        out,
        "--stretch-rows",
        50,
        "--skip-existing",
        "--json",
    )
    assert json.loads(run(*arguments, "--quiet").stdout)["rows"] == 120
    assert json.loads(run(*arguments, "--quiet").stdout)["skipped"] == 1
    (out / "_SUCCESS.json").unlink()
    (out / "part-00001.parquet").unlink()
    result = json.loads(run(*arguments, "--quiet").stdout)
    assert (result["rows"], result["skipped"]) == (120, 0)
    assert (out / "part-00001.parquet").exists() and (out / "_SUCCESS.json").exists()


@pytest.mark.parametrize("options", [("--segments", "s.csv", "--stretch-rows", 50), ("--output", "-")])
def test_what_only_one_process_can_write_is_named(tmp_path, run, options, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint, file = random_checkpoint(9), series_file(tmp_path / "rows.parquet", 9, 120)
    arguments = ["infer", file.path, "--model", saved(checkpoint, tmp_path), "--output", "out", "--workers", 1]
    result = run(*arguments, *options)
    assert result.exit_code == 2 and options[0] in result.stderr and result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("remembered", [False, True])
def test_a_path_without_short_visits_is_that_of_the_whole_file(tmp_path, remembered):
    """Its message is no matrix, so the file is not cut, however long; parts of it cannot be asked for."""
    checkpoint, file = random_checkpoint(7), series_file(tmp_path / "rows.parquet", 7, 300)
    if remembered:
        checkpoint = replace(checkpoint, model=replace(checkpoint.model, shortest_visit=9))
    config = InferConfig(min_dwell=None if remembered else "9")
    work = FileLabelling(checkpoint, saved(checkpoint, tmp_path), config, SeriesConfig(), silent)
    alone, dealt = tmp_path / "alone.csv", tmp_path / "dealt.csv"
    work.label_file(file, str(alone))
    DealtLabelling(FaultyEngine(), work, 40).label_file(file, str(dealt))
    assert dealt.read_bytes() == alone.read_bytes()
    with pytest.raises(ConfigError, match="labels whole files"):
        DealtLabelling(FaultyEngine(), work, 40).label_file(file, str(tmp_path / "parts"))
