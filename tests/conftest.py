"""What many tests need: the command line as a person runs it, a small labelled series, seeded chance."""

import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from typer.testing import CliRunner

from gmvae_cli.cli import app

# The same examples in every run, however slow the machine is; `make fuzz` is there to find new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


def pytest_configure(config):
    """A shell starts its background jobs with Ctrl-C ignored, and their children inherit that; ours must not."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item):
    """Skip the tests of a GPU where there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device on this machine")


@pytest.fixture(autouse=True)
def signals():
    """A command that a signal ends ignores all that follow; the next test is interrupted as before."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def denormal_numbers():
    """A command flushes denormal numbers to zero for its whole process; the next test has them again."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture
def run(monkeypatch):
    """Run `gmvae ARGUMENTS` in this process: .exit_code, .stdout, .stderr."""
    monkeypatch.setenv("COLUMNS", "80")
    runner = CliRunner()

    def run(*arguments, stdin=None):
        given = [str(argument) for argument in arguments]
        return runner.invoke(app, given, input=stdin, catch_exceptions=False, prog_name="gmvae")

    return run


@pytest.fixture
def rejection(run):
    """Run a command that must fail: its one line on stderr, below the usage if that is wrong; nothing on stdout."""

    def rejection(*arguments, status, stdin=None):
        result = run(*arguments, stdin=stdin)
        assert result.exit_code == status, result.output
        assert result.stdout == ""
        *usage, line = result.stderr.splitlines()
        assert not usage or (status == 2 and len(usage) == 1 and usage[0].startswith("usage: ")), result.stderr
        return line

    return rejection


@pytest.fixture
def generator():
    """Seeded chance."""
    return np.random.default_rng(0)


@pytest.fixture
def one_process(monkeypatch):
    """A comparison stays in this process; workers of its own cost five seconds before they begin."""
    monkeypatch.setattr("gmvae_cli.system.concurrency.num_processors", lambda: 1)


@pytest.fixture
def few_counts(monkeypatch, one_process):
    """A comparison of time scales tries 1 to 3 regimes, in a quarter of the time that 1 to 9 take."""
    for module in ("multiscale", "row_model"):
        monkeypatch.setattr(f"gmvae_cli.selection.{module}.REGIME_COUNTS", range(2, 4))


@pytest.fixture
def labelled(tmp_path):
    """A file of 12 rows: true labels a, b, a, predicted ones off by one row at the second change."""
    truth = ["a"] * 4 + ["b"] * 4 + ["a"] * 4
    predicted = [1] * 4 + [0] * 5 + [1] * 3
    path = tmp_path / "labelled.csv"
    rows = (f"{t},{t / 2},{true},{label}" for t, (true, label) in enumerate(zip(truth, predicted, strict=True)))
    path.write_text("\n".join(["t,x0,true_regime,regime", *rows, ""]))
    return path


@pytest.fixture
def sample_data():
    """The folder of series that come with the project."""
    return Path(__file__).parent.parent / "sample_data"
