"""The command line: reads options, calls a command, prints what it returns."""

from gmvae_cli.cli.app import app

__all__ = ["app"]
