"""What tests of commands share."""

import pytest


@pytest.fixture(autouse=True)
def quick_encoder(monkeypatch):
    """An encoder that is trained in a tenth of the steps; tests of what it learns are those of training and of core."""
    monkeypatch.setattr("gmvae_cli.training.fit._ENCODER_STEPS", 15)
