"""Results as tables and as JSON: nothing undefined leaves as a number, nothing is taken for markup."""

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from gmvae_cli import progress, report


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A TrainResult by its JSON keys."""

    rows: int = 20_000
    regimes: int = 2
    channels: tuple[str, ...] = ("x0", "[x1]")
    elbo_per_row: float | None = -2.84024
    log_likelihood_per_row: float | None = -2.83106
    log_likelihood_per_row_data_units: float | None = -3.1
    amortisation_gap: float | None = 0.00918
    evaluated_on: str = "validation"
    shares: Any = (0.6, 0.4)
    expected_dwell: Any = (50.2, math.inf)
    evidence_scale: float = 1.0
    stride: int = 1
    steps: int = 150
    seconds: float = 2.5
    rows_per_second: float = 8000.0
    converged: bool = False
    warnings: Any = ({"code": "unstable", "sentence": "regime 1 grows [without bound]"},)


def printed(capsys, result, as_json=False):
    with progress.show(quiet=False, log_file=None) as shown:
        report.train(result, as_json, shown)
    return capsys.readouterr()


def test_the_gap_is_the_difference_of_the_figures_beside_it(capsys):
    lines = printed(capsys, Trained()).out.splitlines()
    figures = {line.split("  ")[0]: float(line[16:].split()[0]) for line in lines if "nats" in line}
    assert figures == {"log-likelihood": -2.8311, "ELBO": -2.8402, "amortisation gap": 0.0091}


def test_regimes_have_shares_and_dwell(capsys):
    out = printed(capsys, Trained()).out
    assert "60.0 %" in out
    assert "50.2 rows" in out
    assert "not converged" in out
    assert max(map(len, out.splitlines())) <= 80


def test_a_figure_that_is_undefined_is_a_dash(capsys):
    out = printed(capsys, Trained(elbo_per_row=None, amortisation_gap=None)).out
    assert [line.split()[1] for line in out.splitlines() if line.startswith("ELBO")] == ["-"]


def test_warnings_go_to_stderr_as_they_are(capsys):
    assert printed(capsys, Trained(), as_json=True).err == "warning: regime 1 grows [without bound]\n"


def test_json_is_one_object_without_nan(capsys):
    found = json.loads(printed(capsys, Trained(elbo_per_row=math.nan), as_json=True).out, parse_constant=pytest.fail)
    assert found["elbo_per_row"] is None
    assert found["expected_dwell"] == [50.2, None]
    assert found["channels"] == ["x0", "[x1]"]


def test_arrays_become_lists():
    value = {"a": np.array([[1.5, np.nan], [np.inf, 2]]), "b": np.int64(3), "c": np.float32(0.5), "d": (True, None)}
    assert report.jsonable(value) == {"a": [[1.5, None], [None, 2.0]], "b": 3, "c": 0.5, "d": [True, None]}


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("No such option: --x.", "no such option: --x; --help lists what is possible"),
        ("Missing option '--model'.\n  more", "missing option '--model'. more; --help lists what is possible"),
    ],
)
def test_usage_errors_are_one_line(message, line):
    assert report.usage_line(message) == line
