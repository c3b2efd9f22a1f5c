import subprocess
import sys

import pytest
import torch

from gmvae_cli.errors import ConfigError, GmvaeError
from gmvae_cli.system.device import device_of, trim_malloc


@pytest.fixture
def accelerators(monkeypatch):
    """A function that makes this machine have so many GPUs, and Apple's or not."""

    def accelerators(cuda, mps):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return accelerators


@pytest.mark.parametrize(
    ("cuda", "mps", "name", "device"),
    [
        (0, False, "cpu", "cpu"),
        (0, False, "auto", "cpu"),
        (2, False, "auto", "cuda:0"),
        (2, False, "cuda", "cuda:0"),
        (2, False, "cuda:1", "cuda:1"),
        (0, True, "auto", "mps"),
        (0, True, "mps", "mps"),
        (1, False, "cpu", "cpu"),
    ],
)
def test_names_of_devices(accelerators, cuda, mps, name, device):
    accelerators(cuda, mps)
    assert device_of(name) == torch.device(device)


@pytest.mark.parametrize("name", ["cuda:2", "mps"])
def test_a_device_that_is_not_there_is_an_error_with_those_that_are(accelerators, name):
    accelerators(2, False)
    with pytest.raises(GmvaeError, match=rf"^--device is '{name}', but this machine has only: cpu, cuda:0, cuda:1$"):
        device_of(name)


@pytest.mark.parametrize("name", ["gpu", "", "cpu:0", "mps:1", "cuda:x", "cuda:-1"])
def test_a_device_of_no_known_kind_is_an_error_of_the_option(name):
    with pytest.raises(ConfigError, match=f"^--device is '{name}', but must be cpu, auto, cuda, cuda:N or mps$"):
        device_of(name)


def test_a_process_is_configured_only_on_request():
    """In a process of its own, since the settings cannot be taken back."""
    program = (
        "import torch; from gmvae_cli.system.device import configure_process, device_of\n"
        "torch.set_num_threads(3); tiny = torch.tensor([1e-310], dtype=torch.float64)\n"
        "device_of('cpu'); print(torch.get_num_threads(), bool((tiny * 0.5).any()))\n"
        "configure_process(); print(torch.get_num_threads(), bool((tiny * 0.5).any()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "True", "1", "False"]


def test_freed_memory_can_be_returned_at_any_time():
    trim_malloc()
