"""Training that is dealt out gives the model that training on one machine gives, whatever the number of workers."""

import json

import numpy as np
import pytest
import torch
from cluster.engines import FaultyEngine
from cluster.test_stretches import series_file

from gmvae_cli.checkpoint import load
from gmvae_cli.cluster import fitting
from gmvae_cli.cluster.fitting import train_dealt
from gmvae_cli.commands.train import train
from gmvae_cli.config import ModelConfig, SeriesConfig, TrainConfig
from gmvae_cli.data.lagged_rows import training_rows
from gmvae_cli.engine_config import EngineConfig
from gmvae_cli.errors import ConfigError
from gmvae_cli.files.series_reader import open_series
from gmvae_cli.system.progress import silent
from gmvae_cli.training.expectation import expect_all

QUICK = TrainConfig(model=ModelConfig(regimes=2), steps=5, restarts=1, polish=4)


def trained(file, tmp_path, name, config=QUICK, engine=EngineConfig()):
    path = str(tmp_path / f"{name}.safetensors")
    result = train([file.path], path, config, SeriesConfig(max_gap="100"), False, silent, engine)
    return result, path


@pytest.mark.parametrize("prior", ["markov", pytest.param("iid", marks=pytest.mark.slow)])
def test_a_model_of_stretches_is_that_of_the_whole(tmp_path, prior):
    file = series_file(tmp_path / "rows.parquet", 1, 2600, series=3, time="holes")
    config = TrainConfig(model=ModelConfig(regimes=2, prior=prior), steps=5, restarts=1, polish=4)
    whole, path = trained(file, tmp_path, "whole", config)
    cut, cut_path = trained(file, tmp_path, "cut", config, EngineConfig(workers=1, stretch_rows=900))
    for name in ("log_likelihood_per_row", "elbo_per_row"):
        assert getattr(cut, name) == pytest.approx(getattr(whole, name), abs=1e-6)
    assert (cut.shares, cut.series, cut.holes, cut.breaks, cut.missing) == (
        (whole.shares, whole.series, whole.holes, whole.breaks, whole.missing)
    )
    assert [note.code for note in cut.warnings] == [note.code for note in whole.warnings]
    assert cut.columns == whole.columns
    ours, theirs = load(cut_path), load(path)
    torch.testing.assert_close(ours.parameters.emission.weights, theirs.parameters.emission.weights, atol=1e-5, rtol=0)
    assert ours.training["reading"] == theirs.training["reading"]


@pytest.mark.slow
def test_bytes_depend_on_stretches_and_not_on_workers(tmp_path, monkeypatch):
    file = series_file(tmp_path / "rows.parquet", 2, 2600)
    bytes_of = []
    for seed in (0, 1):  # of an engine that repeats tasks and returns them in another order
        engine = FaultyEngine(seed)
        dealt = train_dealt(engine, open_series([file], SeriesConfig()), QUICK, 300, 10**9, silent)
        parameters = dealt.trained.checkpoint.parameters
        bytes_of.append(parameters.emission.weights.numpy().tobytes() + parameters.chain[1].numpy().tobytes())
    assert bytes_of[0] == bytes_of[1]


@pytest.mark.parametrize("limit", [100, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 7))])
def test_sums_over_stretches_are_those_of_a_single_block(tmp_path, limit):
    rows_of = 60 if limit == 1 else 500
    file = series_file(tmp_path / "rows.parquet", 3, rows_of, series=2, time="holes")
    reader = open_series([file], SeriesConfig())
    with reader.read_data() as data:
        lagged_rows = training_rows(data, QUICK.model)
        begun = fitting.fit_sample(lagged_rows, QUICK, None, silent)
        statistics, labels = expect_all(lagged_rows, begun.best, False, silent)
        engine = FaultyEngine()
        table = fitting.stored(reader.files, reader.config, reader.layout, [data.rows])
        stretches = table.stretches(limit)
        surveyed, _ = fitting.survey(engine, table, stretches, silent, with_channels=True, keep_constant=False)
        np.testing.assert_allclose(surveyed.summary.mean, data.mean)
        np.testing.assert_allclose(surveyed.summary.scale, data.scale)
        of_sample = fitting._Begun(
            QUICK, fitting.Start(), [], begun, np.asarray(lagged_rows.mean), np.asarray(lagged_rows.scale)
        )
        all_rows = fitting._AllRows(engine, surveyed, of_sample, stretches, silent)
        summed, counted = all_rows.expect(begun.best, 0)
    assert (summed.rows, summed.usable_rows, summed.num_series) == (
        (statistics.rows, statistics.usable_rows, statistics.num_series)
    )
    for name in ("moments", "occupancy", "shares", "pair_sums", "first_probs", "log_marginal", "predictive"):
        torch.testing.assert_close(
            getattr(summed, name).double(), getattr(statistics, name).double(), atol=2e-3, rtol=1e-5, msg=name
        )
    assert counted.rows.tolist() == labels.rows.tolist() and counted.first.tolist() == labels.first.tolist()


@pytest.mark.slow
def test_of_very_many_rows_a_sample_decides_and_it_is_said(tmp_path):
    file = series_file(tmp_path / "rows.parquet", 4, 2600)
    options = EngineConfig(workers=1, stretch_rows=1000, train_rows=2000)
    result, path = trained(file, tmp_path, "sample", engine=options)
    assert "sampled" in [note.code for note in result.warnings]
    assert load(path).training["rows"] == result.rows == 2600


def test_what_cannot_be_dealt_out_is_named(tmp_path, run):
    file = series_file(tmp_path / "rows.parquet", 5, 300)
    blocks = TrainConfig(model=ModelConfig(regimes=2, summarize=5))
    with pytest.raises(ConfigError, match="--summarize makes blocks"):
        trained(file, tmp_path, "blocks", blocks, EngineConfig(workers=1))
    for arguments, message in [
        (("train", "-", "--model", tmp_path / "m", "--workers", 1), "stdin"),
        (("train", file.path, "--model", tmp_path / "m", "--workers", 1, "--resume"), "--resume"),
        (("train", file.path, "--model", tmp_path / "m", "--train-rows", "few"), "auto, all or a whole number"),
    ]:
        result = run(*arguments, stdin="x0\n1\n")
        assert result.exit_code == 2 and message in result.stderr
        assert result.stderr.count("\n") == 1


@pytest.mark.slow
def test_candidates_are_dealt_out(tmp_path, run):
    file = series_file(tmp_path / "rows.parquet", 6, 400)
    chosen = [
        json.loads(run("select", file.path, "--regimes", "1:2", "--json", "--quiet", *options).stdout)["candidates"]
        for options in ([], ["--workers", "1"])
    ]
    assert chosen[0] == chosen[1]
