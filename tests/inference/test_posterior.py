from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_models import collected, random_checkpoint, random_data

from gmvae_cli.config import ModelConfig, TrainConfig
from gmvae_cli.core import Encoder
from gmvae_cli.data.lagged_rows import LaggedRows, training_rows
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.inference.scored_rows import RowScorer
from gmvae_cli.metrics.segments import runs
from gmvae_cli.model import forward_backward
from gmvae_cli.model.ar_density import log_likelihoods
from gmvae_cli.model.dwell_path import Shortest, Visit, extended, traced
from gmvae_cli.model.viterbi import viterbi
from gmvae_cli.system.progress import silent
from gmvae_cli.training.fit import fit_em_only
from gmvae_cli.training.trained_model import checkpoint_of

POSTERIORS = ("smooth", "viterbi", "filter", "encoder")


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 300),
    st.integers(1, 100),
    st.integers(1, 3),
    st.sampled_from(POSTERIORS),
    st.sampled_from(["markov", "iid"]),
    st.sampled_from(["normal", "student"]),
    st.integers(0, 10_000),
)
def test_block_size_changes_nothing(T, block_rows, lags, posterior, prior, noise, seed):
    checkpoint, data = random_checkpoint(seed, P=lags, prior=prior, noise=noise), random_data(seed, T)
    whole = collected(data, checkpoint, posterior, T)
    cut = collected(data, checkpoint, posterior, block_rows)
    assert np.array_equal(cut[0], whole[0])
    for part, expected in zip(cut[1:4], whole[1:4], strict=True):
        np.testing.assert_allclose(part, expected, rtol=0, atol=1e-8)
    assert cut[4] == whole[4] if whole[4] is None else cut[4] == pytest.approx(whole[4], abs=1e-7)


def test_posteriors_are_those_of_the_chain_and_differ():
    checkpoint, data = random_checkpoint(3), random_data(3, 200)
    source = LaggedRows(data, checkpoint.model, checkpoint.mean.numpy(), checkpoint.scale.numpy(), torch.float64)
    rows = source.rows(0, 200)
    scores = torch.where(rows.usable, log_likelihoods(rows.y, checkpoint.parameters.emission, rows.partial), 0).mT
    chain = checkpoint.parameters.chain
    results = {name: collected(data, checkpoint, name, 64) for name in POSTERIORS}
    exact = forward_backward.smooth(scores, chain, rows.steps)
    np.testing.assert_allclose(results["smooth"][1], exact.smoothed_probs, atol=1e-9)
    filtered = forward_backward.filter(scores, chain, rows.steps).filtered_probs
    np.testing.assert_allclose(results["filter"][1], filtered, atol=1e-9)
    np.testing.assert_allclose(results["viterbi"][1], exact.smoothed_probs, atol=1e-9)
    assert results["viterbi"][0].tolist() == viterbi(scores, chain, rows.steps).tolist()
    assert results["smooth"][3] == pytest.approx(float(exact.log_marginal))
    assert rows.partial, "some rows are partly observed"
    regimes = [tuple(results[name][0]) for name in POSTERIORS]
    assert len(set(regimes)) == 4
    elbo = results["encoder"][4]
    assert elbo < results["smooth"][3]
    assert results["smooth"][4] is None


@pytest.mark.parametrize(("prior", "noise"), [("markov", "normal"), ("iid", "normal"), ("markov", "student")])
def test_elbo_is_the_log_likelihood_where_the_encoder_is_the_decoder(prior, noise, monkeypatch):
    checkpoint, data = random_checkpoint(4, prior=prior, noise=noise), random_data(4, 150)
    monkeypatch.setattr(RowScorer, "_potentials", RowScorer._log_likelihoods)
    *_, log_likelihood, elbo = collected(data, checkpoint, "encoder", 40)
    assert elbo == pytest.approx(log_likelihood, abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["markov", "iid"]))
def test_elbo_never_exceeds_the_log_likelihood(seed, prior):
    checkpoint, data = random_checkpoint(seed, prior=prior), random_data(seed, 80)
    *_, log_likelihood, elbo = collected(data, checkpoint, "encoder", 30)
    assert elbo <= log_likelihood + 1e-9


def test_rows_that_are_not_usable_have_no_log_likelihood_and_keep_their_probabilities():
    checkpoint, data = random_checkpoint(5), random_data(5, 60)
    regimes, probs, rows, *_ = collected(data, checkpoint, "smooth", 60)
    mean, scale = checkpoint.mean.numpy(), checkpoint.scale.numpy()
    usable = LaggedRows(data, checkpoint.model, mean, scale, torch.float64).rows(0, 60).usable.numpy()
    assert 0 < usable.sum() < 60
    np.testing.assert_array_equal(np.isnan(rows), ~usable)
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-12)
    np.testing.assert_array_equal(regimes, probs.argmax(1))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 300),
    st.integers(1, 100),
    st.integers(2, 40),
    st.sampled_from(["smooth", "viterbi", "encoder"]),
    st.sampled_from(["markov", "iid"]),
    st.booleans(),
    st.integers(0, 10_000),
)
def test_no_visit_is_shorter_than_the_shortest_whatever_the_block(
    T, block_rows, shortest, posterior, prior, join, seed
):
    checkpoint, data = random_checkpoint(seed, prior=prior), random_data(seed, T)
    model = replace(checkpoint.model, shortest_visit=shortest, join_passages=join)
    lasting = replace(checkpoint, model=model)
    whole, cut = collected(data, lasting, posterior, T), collected(data, lasting, posterior, block_rows)
    np.testing.assert_array_equal(cut[0], whole[0])
    starts = data.read(0, T)[1] == 0
    assert_visits_last(whole[0], starts, shortest)
    plain = collected(
        data, replace(checkpoint, model=replace(model, join_passages=False, shortest_visit=1)), posterior, T
    )
    if not join:
        np.testing.assert_array_equal(whole[1], plain[1])  # probabilities stay as they were


def assert_visits_last(regimes, starts, shortest):
    visits = runs(regimes, starts)
    series = np.add.reduceat(np.ones(len(regimes)), np.flatnonzero(starts))[np.cumsum(starts)[visits.start] - 1]
    rows = visits.stop - visits.start
    assert ((rows >= shortest) | (rows == series)).all()


def test_the_path_without_short_visits_is_made_of_the_encoders_potentials():
    checkpoint, data = random_checkpoint(3), random_data(3, 400)
    lasting = replace(checkpoint, model=replace(checkpoint.model, shortest_visit=4))
    decoder, encoder = (collected(data, lasting, posterior, 64)[0] for posterior in ("smooth", "encoder"))
    assert not np.array_equal(decoder, encoder)
    lagged = LaggedRows(data, checkpoint.model, checkpoint.mean.numpy(), checkpoint.scale.numpy(), torch.float64)
    with RowScorer(lagged, checkpoint, checkpoint.build_encoder("model")) as scorer:
        block = scorer.score(0)
    chain = checkpoint.parameters.chain
    marks, message = extended(block.potentials.numpy(), block.rows.steps, chain, Shortest(4))
    expected, _ = traced(marks, Visit(int(message.settled.argmax())), 4)
    np.testing.assert_array_equal(encoder, expected)


@pytest.mark.parametrize(("rows", "block", "shortest"), [(1_000, 16, 40), (999, 16, 16), (470, 20, 15), (2_000, 50, 7)])
def test_blocks_and_changes_placed_at_rows_obey(rows, block, shortest):
    """Levels of 30 to 60 rows in blocks; the last block of a series may have half the rows."""
    rng = np.random.default_rng(rows)
    lengths = rng.integers(30, 60, size=rows // 30 + 1)
    values = (np.repeat(rng.permuted(np.arange(len(lengths)) % 3), lengths)[:rows] * 4 + rng.normal(size=rows))[:, None]
    steps = np.where(np.arange(rows) % 237 == 0, 0, 1)
    data = SeriesData.from_arrays(values, steps)
    config = TrainConfig(model=ModelConfig(regimes=3, summarize=block, join_passages=True), steps=5, restarts=2)
    features = training_rows(data, config.model)
    parameters = fit_em_only(features.rows(0, len(features)), config, 2, 0, silent)
    encoder = Encoder(2, config.model)
    trained = checkpoint_of(parameters, encoder, features, data.channels)
    for join in (False, True):
        model = replace(config.model, shortest_visit=shortest, join_passages=join)
        regimes = collected(data, replace(trained, model=model), "smooth", 64)[0]
        assert len(np.unique(regimes)) > 1
        assert_visits_last(regimes, steps == 0, shortest)
