"""The program as a module: `python -m gmvae_cli` does the same as `gmvae`."""

from gmvae_cli.cli import app

app()
