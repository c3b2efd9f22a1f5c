"""The fuzz test finds what it looks for; `make fuzz` runs it at length."""

import signal

import fuzz
import pytest

from gmvae_cli import checkpoint_header


@pytest.fixture
def state(tmp_path, monkeypatch):
    signal.signal(signal.SIGALRM, fuzz._hang)
    yield lambda cases=40: fuzz.fuzz(cases, tmp_path)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def test_damaged_files_are_errors_or_give_a_result(state):
    result = state()
    assert result.failures == []
    assert sum(result.counts.values()) == 2 * 40


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        pytest.param(lambda *_: 1 / 0, "ZeroDivisionError", id="a traceback"),
        pytest.param(lambda *_: signal.raise_signal(signal.SIGALRM), "Hang", id="a hang"),
        pytest.param(lambda *_: bytes(1 << 62), "not enough memory", id="memory"),
    ],
)
def test_a_fault_is_found(state, monkeypatch, fault, word):
    def start(self, folder, keep):
        original(self, folder, keep)
        monkeypatch.setattr(checkpoint_header, "_check_training", fault)

    original = fuzz.Fuzz.__init__
    monkeypatch.setattr(fuzz.Fuzz, "__init__", start)
    result = state(8)
    assert any(word in failure for failure in result.failures)
