import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest
import safetensors.torch
import torch
from random_models import random_checkpoint, rewritten

from gmvae_cli import checkpoint
from gmvae_cli.errors import CheckpointError
from gmvae_cli.training.resume import state_of


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.safetensors"
    checkpoint.save(str(path), random_checkpoint(0, P=2))
    return path


def tensors_of(path):
    return safetensors.torch.load_file(path)


@pytest.mark.parametrize("noise", ["normal", "student"])
def test_load_returns_what_was_saved(tmp_path, noise):
    saved, before = tmp_path / "model.safetensors", random_checkpoint(0, P=2, noise=noise)
    checkpoint.save(str(saved), before)
    after = checkpoint.load(str(saved))
    assert after.model == before.model
    assert after.channels == before.channels
    kept = state_of(after.parameters)
    assert kept.keys() == state_of(before.parameters).keys()
    for name, tensor in state_of(before.parameters).items():
        assert torch.equal(kept[name], tensor), name
    assert torch.equal(after.mean, before.mean)
    assert torch.equal(after.scale, before.scale)
    assert after.encoder.keys() == before.encoder.keys()
    y, observed = torch.randn(7, 5), torch.ones(2, 5)
    assert torch.equal(after.build_encoder("m")(y, observed), before.build_encoder("m")(y, observed))


def test_same_model_same_bytes(saved, tmp_path):
    again = tmp_path / "again.safetensors"
    checkpoint.save(str(again), checkpoint.load(str(saved)))
    assert again.read_bytes() == saved.read_bytes()


def test_models_of_normal_noise_are_written_as_they_were_before_there_was_another(saved):
    with safetensors.safe_open(saved, "pt") as file:
        header = json.loads(file.metadata()["gmvae"])
    assert "noise" not in header["model"]
    assert "degrees" not in tensors_of(saved)


@pytest.mark.parametrize(
    ("noise", "degrees", "expected"),
    [
        pytest.param("student", None, "degrees", id="lacking"),
        pytest.param("student", [0.0], "'degrees' must lie between 1 and 1000", id="zero"),
        pytest.param("student", [torch.nan], "'degrees' holds NaN", id="nan"),
        pytest.param("student", [3.0, 3.0], r"'degrees' has shape \(2,\)", id="one a regime"),
        pytest.param("normal", [3.0], "unknown tensors", id="of a normal model"),
        pytest.param("cauchy", [1.0], "--noise is 'cauchy'", id="unknown noise"),
    ],
)
def test_degrees_of_freedom_that_no_training_writes_are_rejected(tmp_path, noise, degrees, expected):
    path, model = tmp_path / "model.safetensors", random_checkpoint(0, noise="student")
    checkpoint.save(str(path), model)
    tensors = {name: tensor for name, tensor in tensors_of(path).items() if name != "degrees"}
    if degrees is not None:
        tensors["degrees"] = torch.tensor(degrees, dtype=torch.float64)
    rewritten(path, tensors, model={**vars(model.model), "noise": noise})
    with pytest.raises(CheckpointError, match=expected) as rejection:
        checkpoint.load(str(path))
    assert "\n" not in str(rejection.value)


def test_a_model_without_encoder_says_so(tmp_path):
    path = str(tmp_path / "truth.safetensors")
    checkpoint.save(path, replace(random_checkpoint(1), encoder=None))
    with pytest.raises(CheckpointError, match="no encoder; use --posterior"):
        checkpoint.load(path).build_encoder(path)


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 20, 200, 0.5, 0.99])
def test_truncated_files_are_rejected(saved, keep):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(CheckpointError, match="not a gmvae model, or a damaged one"):
        checkpoint.load(str(saved))


def broken(name, change):
    def breaks(path):
        tensors = tensors_of(path)
        tensors[name] = change(tensors[name])
        rewritten(path, tensors)

    return breaks


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        pytest.param(broken("mean", lambda t: t * torch.nan), "'mean' holds NaN", id="nan"),
        pytest.param(broken("ar_bias", lambda t: t / 0), "'ar_bias' holds NaN or infinity", id="infinity"),
        pytest.param(broken("scale", lambda t: -t), "'scale' must be positive", id="negative scale"),
        pytest.param(broken("scale_tril", lambda t: -t), "positive diagonal", id="no covariance"),
        pytest.param(broken("scale_tril", lambda t: t.mT.contiguous()), "lower triangular", id="upper triangle"),
        pytest.param(broken("transition_matrix", lambda t: t * 2), "sum to one", id="no probabilities"),
        pytest.param(broken("mean", lambda t: t.float()), "must be float64", id="dtype"),
        pytest.param(broken("mean", lambda t: t[:1].clone()), "has shape", id="shape"),
        pytest.param(broken("encoder.net.0.bias", lambda t: t[:1].clone()), "do not fit the header", id="encoder"),
        pytest.param(broken("extra", lambda t: t), "extra", id="unknown tensor"),
        pytest.param(lambda p: rewritten(p, tensors_of(p), format=99), "format 99", id="format"),
        pytest.param(lambda p: rewritten(p, tensors_of(p), code="x"), "unknown entries", id="unknown entry"),
        pytest.param(lambda p: rewritten(p, tensors_of(p), model={"regimes": 0}), "--regimes is 0", id="impossible"),
        pytest.param(lambda p: rewritten(p, tensors_of(p), model={"depth": 1}), "damaged", id="unknown option"),
        pytest.param(lambda p: p.write_bytes(pickle.dumps({"a": 1})), "not a gmvae model", id="pickle"),
        pytest.param(lambda p: p.write_bytes(b"\xff" * 7 + b"\x7f" + b"{}"), "not a gmvae model", id="huge header"),
        pytest.param(lambda p: p.unlink(), "no such model file", id="missing"),
    ],
)
def test_damaged_models_are_rejected_in_one_line(saved, damage, expected):
    if expected == "extra":
        tensors = tensors_of(saved)
        rewritten(saved, tensors | {"extra": torch.zeros(1, dtype=torch.float64)})
    else:
        damage(saved)
    with pytest.raises(CheckpointError, match=expected) as rejection:
        checkpoint.load(str(saved))
    assert "\n" not in str(rejection.value)
    assert str(saved) in str(rejection.value)


def retouched(path, change):
    """The file with its JSON header changed, so that nothing else is wrong with it."""
    with safetensors.safe_open(path, "pt") as file:
        content = json.loads(file.metadata()["gmvae"])
    change(content)
    text = json.dumps(content).replace('"NAN"', "NaN")
    safetensors.torch.save_file(tensors_of(path), path, {"gmvae": text})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(lambda h: h["model"].update(regimes=3.0), "its regimes is 3.0", id="regimes no whole number"),
        pytest.param(lambda h: h["model"].update(intercept="yes"), 'its intercept is "yes"', id="intercept"),
        pytest.param(lambda h: h["model"].update(stride=10**9), "may at most 1,000,000", id="lags beyond memory"),
        pytest.param(lambda h: h["model"].update(hidden=10**6), "over 100,000,000 weights", id="encoder beyond memory"),
        pytest.param(lambda h: h.update(model=[1]), "configuration is no object", id="configuration"),
        pytest.param(lambda h: h.update(channels="x0"), "no list of names", id="channels"),
        pytest.param(lambda h: h.update(channels=["a", "a"]), "two channels have one name", id="same name"),
        pytest.param(lambda h: h.update(training=[]), "training summary is no object", id="training"),
        pytest.param(lambda h: h["training"].update(rows="many"), 'has rows "many"', id="rows"),
        pytest.param(lambda h: h["training"].update(rows=3), "lacks entries", id="half a summary"),
        pytest.param(lambda h: h["training"].update(shares=[1.0]), "not those of", id="shares"),
        pytest.param(lambda h: h["training"].update(warnings=["x"]), "has warnings", id="warnings"),
        *(
            pytest.param(
                lambda h, value=value: h["training"].update(reading=value), "has reading", id=f"reading {value}"
            )
            for value in ("x", {"decimal": 5}, {"decimal": ";"}, {"na_values": [1]}, {"usual_decimal": "x"})
        ),
        pytest.param(lambda h: h["training"].update(step="NAN"), "holds NaN", id="NaN in JSON"),
        pytest.param(lambda h: h.update(format={"a": 1}), "model format", id="format"),
    ],
)
def test_a_header_of_the_wrong_kind_is_rejected(saved, change, expected):
    retouched(saved, change)
    with pytest.raises(CheckpointError, match=expected):
        checkpoint.load(str(saved))


def test_nested_and_huge_headers_are_rejected_unread(saved):
    deep = "[" * 100_000 + "]" * 100_000
    safetensors.torch.save_file(tensors_of(saved), saved, {"gmvae": deep})
    with pytest.raises(CheckpointError, match="not a gmvae model"):
        checkpoint.load(str(saved))
    with open(saved, "r+b") as file:
        file.truncate(3 << 30)  # takes no room on the disk
    with pytest.raises(CheckpointError, match="3,221,225,472 bytes, but no model has more than 1,073,741,824"):
        checkpoint.load(str(saved))
    saved.write_bytes((1 << 30).to_bytes(8, "little") + b"{}")
    with pytest.raises(CheckpointError, match="announces a header of 1,073,741,824 bytes"):
        checkpoint.load(str(saved))


def test_a_rejection_stays_one_line_whatever_the_file_says(saved, rejection):
    tensors = tensors_of(saved)
    rewritten(saved, tensors | {"two\nlines \x1b[31m": torch.zeros(1, dtype=torch.float64)})
    assert "two\\nlines" in rejection("inspect", saved, status=1)
    retouched(saved, lambda header: header["model"].update({"a\nb\x1b": 1}))
    assert "\x1b" not in rejection("inspect", saved, status=1)


def test_a_model_of_an_earlier_version_labels_as_it_did(run, tmp_path):
    """`old_models` holds a model that version 0.1.0 wrote in format 2, and a file with the labels that it gave."""
    folder, out = Path(__file__).parent / "old_models", tmp_path / "labelled.csv"
    result = run(
        "infer", folder / "format_2.csv", "--model", folder / "format_2.safetensors", "--output", out, "--digits", 17
    )
    assert result.exit_code == 0, result.stderr
    before, now = (pyarrow.csv.read_csv(path) for path in (folder / "format_2.csv", out))
    assert now["regime"].equals(before["regime"])
    for name in ("prob_0", "prob_1", "log_likelihood"):
        np.testing.assert_allclose(now[name].to_numpy(), before[name].to_numpy(), rtol=1e-9)  # other processors
