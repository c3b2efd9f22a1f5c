"""Lets `python -m gmvae_cli` stand for `gmvae`."""

from gmvae_cli.cli import app

app()
