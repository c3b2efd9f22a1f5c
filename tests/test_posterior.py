import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import random_chain
from test_density import random_parameters

from gmvae_cli import apply, markov, posterior
from gmvae_cli.checkpoint import Checkpoint
from gmvae_cli.config import ModelConfig
from gmvae_cli.core import Encoder, Parameters
from gmvae_cli.density import log_likelihoods
from gmvae_cli.recording import Recording
from gmvae_cli.viterbi import viterbi
from gmvae_cli.windows import Windows

POSTERIORS = ("smooth", "viterbi", "filter", "encoder")


def random_checkpoint(seed, K=3, D=2, P=1, prior="markov", noise="normal"):
    rng = np.random.default_rng(seed)
    emission = random_parameters(rng, K, D, P)
    pi, A = (torch.as_tensor(part) for part in random_chain(rng, K))
    A = pi.expand(K, K) if prior == "iid" else 0.8 * torch.eye(K, dtype=A.dtype) + 0.2 * A
    pi = pi if prior == "iid" else markov.stationary(A)
    model = ModelConfig(regimes=K, lags=P, prior=prior, noise=noise)
    degrees = torch.tensor([2.5], dtype=torch.float64) if noise == "student" else None
    torch.manual_seed(seed)
    parameters = Parameters(emission.ar_weights, emission.ar_bias, emission.scale_tril, pi, A, degrees=degrees)
    return Checkpoint(
        model=model,
        channels=tuple(f"x{d}" for d in range(D)),
        mean=torch.as_tensor(rng.normal(size=D)),
        scale=torch.as_tensor(rng.uniform(0.5, 2, size=D)),
        parameters=parameters,
        encoder=Encoder(D, model).state_dict(),
    )


def random_recording(seed, T, D=2):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(T, D)) * 2
    values[rng.random(T) < 0.05] = np.nan
    values[rng.random((T, D)) < 0.05] = np.nan
    steps = rng.choice([0, 1, 1, 1, 1, 1, 1, 3], size=T)
    steps[0] = 0
    return Recording.from_arrays(values, steps)


def collected(recording, checkpoint, posterior, block_rows):
    with apply.infer(recording, checkpoint, posterior, block_rows=block_rows) as inferred:
        blocks = list(inferred.blocks())
        parts = [np.concatenate([getattr(b, name) for b in blocks]) for name in ("regimes", "probs", "log_likelihood")]
        return *parts, inferred.log_likelihood, inferred.elbo


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
    checkpoint, recording = random_checkpoint(seed, P=lags, prior=prior, noise=noise), random_recording(seed, T)
    whole = collected(recording, checkpoint, posterior, T)
    cut = collected(recording, checkpoint, posterior, block_rows)
    assert np.array_equal(cut[0], whole[0])
    for one, other in zip(cut[1:4], whole[1:4], strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-8)
    assert cut[4] == whole[4] if whole[4] is None else cut[4] == pytest.approx(whole[4], abs=1e-7)


def test_posteriors_are_those_of_the_chain_and_differ():
    checkpoint, recording = random_checkpoint(3), random_recording(3, 200)
    source = Windows(recording, checkpoint.model, checkpoint.mean.numpy(), checkpoint.scale.numpy(), torch.float64)
    rows = source.rows(0, 200)
    scores = torch.where(rows.mask, log_likelihoods(rows.y, checkpoint.parameters.emission(True), rows.partial), 0).mT
    chain = checkpoint.parameters.chain
    results = {name: collected(recording, checkpoint, name, 64) for name in POSTERIORS}
    exact = markov.smooth(scores, chain, rows.steps)
    np.testing.assert_allclose(results["smooth"][1], exact.smoothed_probs, atol=1e-9)
    filtered = markov.filter(scores, chain, rows.steps).filtered_probs
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
    checkpoint, recording = random_checkpoint(4, prior=prior, noise=noise), random_recording(4, 150)
    monkeypatch.setattr(posterior.Inference, "_evidence", posterior.Inference._scores)
    *_, log_likelihood, elbo = collected(recording, checkpoint, "encoder", 40)
    assert elbo == pytest.approx(log_likelihood, abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["markov", "iid"]))
def test_elbo_never_exceeds_the_log_likelihood(seed, prior):
    checkpoint, recording = random_checkpoint(seed, prior=prior), random_recording(seed, 80)
    *_, log_likelihood, elbo = collected(recording, checkpoint, "encoder", 30)
    assert elbo <= log_likelihood + 1e-9


def test_rows_without_evidence_have_no_log_likelihood_and_keep_their_probabilities():
    checkpoint, recording = random_checkpoint(5), random_recording(5, 60)
    regimes, probs, rows, *_ = collected(recording, checkpoint, "smooth", 60)
    assert np.isnan(rows).any()
    assert np.isfinite(probs).all()
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-12)
    assert regimes.shape == (60,)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 60), st.integers(1, 30), st.data())
def test_portions_are_the_rows_of_the_blocks(T, block_rows, data):
    checkpoint, recording = random_checkpoint(6), random_recording(6, T)
    with apply.infer(recording, checkpoint, "smooth", block_rows=block_rows) as inferred:
        whole = posterior.Labelled.joined(list(inferred.blocks()))
        take = posterior.in_portions(inferred.blocks())
        start = 0
        while start < T:
            count = data.draw(st.integers(1, T - start))
            part = take(count)
            for name in ("regimes", "probs", "log_likelihood", "starts"):
                np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[start : start + count])
            start += count
    assert np.array_equal(whole.starts, recording.read(0, T)[1] == 0)
