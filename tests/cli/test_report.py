"""Results as tables and as JSON: nothing undefined leaves as a number, nothing is taken for markup."""

import io
import json
import math

import numpy as np
import pytest

from gmvae_cli.cli import formatting, report
from gmvae_cli.cli.terminal import show
from gmvae_cli.commands.infer import InferResult
from gmvae_cli.commands.select import SelectResult
from gmvae_cli.commands.train import TrainResult
from gmvae_cli.errors import Note


def trained(**changes):
    figures = {
        "rows": 20_000,
        "regimes": 2,
        "channels": ["x0", "[x1]"],
        "elbo_per_row": -2.84024,
        "log_likelihood_per_row": -2.83106,
        "log_likelihood_per_row_data_units": -3.1,
        "amortisation_gap": 0.00918,
        "evaluated_on": "validation",
        "shares": [0.6, 0.4],
        "expected_dwell": [50.2, math.inf],
        "names": [],
        "evidence_scale": 1.0,
        "stride": 1,
        "summarize": 1,
        "steps": 150,
        "seconds": 2.5,
        "rows_per_second": 8000.0,
        "converged": False,
        "warnings": [Note("unstable", "regime 1 grows [without bound]")],
    }
    promised = dict.fromkeys(TrainResult.__dataclass_fields__)
    return TrainResult(**(promised | figures | changes))


def described(regime, share):
    channels = {"x0": {"values": 9, "mean": 1.5, "standard_deviation": 0.25, "minimum": 1.0, "maximum": 2.0}}
    times = {"visits": 6, "total_time": 1200.0, "mean_time": 200.0, "longest_time": 333.0}
    label = {"regime": regime, "name": None, "rows": 1200, "share": share}
    return label | times | {"channels": channels, "tells_apart": ["x0"]}


def inferred(**changes):
    figures = {
        "rows": 2_000,
        "shares": [0.6, 0.4],
        "expected_dwell": [50.2, 20.0],
        "names": [],
        "profile": [described(0, 0.6), described(1, 0.4)],
        "time_unit": None,
        "log_likelihood_per_row": -3.2,
        "training_log_likelihood_per_row": None,
        "log_likelihood_above_training": None,
        "segments": 12,
        "seconds": 0.25,
        "warnings": [],
        "output": "out.csv",
    }
    return InferResult(**(figures | changes))


def printed(capsys, result, as_json=False):
    with show(as_json=as_json) as terminal:
        say = report.train if isinstance(result, TrainResult) else report.infer
        say(result, terminal)
    return capsys.readouterr()


def test_likelihoods_are_below_each_other_with_four_decimals(capsys):
    lines = printed(capsys, trained()).out.splitlines()
    figures = {line.split("  ")[0]: float(line[16:].split()[0]) for line in lines if "per row" in line}
    assert figures == {"log-likelihood": -2.8311, "encoder alone": -2.8402}


def test_regimes_have_shares_and_dwell(capsys):
    out = printed(capsys, trained()).out
    assert "60.0 %" in out
    assert "50.2 rows" in out
    assert "not converged" in out
    assert max(map(len, out.splitlines())) <= 80


def test_a_figure_that_is_undefined_is_a_dash(capsys):
    out = printed(capsys, trained(elbo_per_row=None, amortisation_gap=None)).out
    assert [line.split()[2] for line in out.splitlines() if line.startswith("encoder")] == ["-"]


def test_warnings_go_to_stderr_as_they_are(capsys):
    assert printed(capsys, trained(), as_json=True).err == "warning: regime 1 grows [without bound]\n"


def test_json_is_one_object_without_nan(capsys):
    found = json.loads(printed(capsys, trained(elbo_per_row=math.nan), as_json=True).out, parse_constant=pytest.fail)
    assert found["elbo_per_row"] is None
    assert found["expected_dwell"] == [50.2, None]
    assert found["channels"] == ["x0", "[x1]"]


def test_labels_of_one_file(capsys):
    out = printed(capsys, inferred()).out
    assert "2,000 in 12 segments" in out
    assert "-3.2000 per row in data units; in training -" in out
    assert "files" not in out


def test_files_that_failed_are_named(capsys):
    terminal = printed(capsys, inferred(files=3, skipped=2, failures=["b.csv: is empty"]))
    assert terminal.err == "b.csv: is empty\n"
    assert "3 labelled, 2 left as they were, 1 failed" in terminal.out


def test_rows_on_stdout_leave_no_room_for_a_table(capsys):
    terminal = printed(capsys, inferred(output="-"))
    assert (terminal.out, terminal.err) == ("", "2,000 rows labelled, 12 segments\n")


def test_arrays_become_lists():
    value = {"a": np.array([[1.5, np.nan], [np.inf, 2]]), "b": np.int64(3), "c": np.float32(0.5), "d": (True, None)}
    assert formatting.jsonable(value) == {"a": [[1.5, None], [None, 2.0]], "b": 3, "c": 0.5, "d": [True, None]}


class TerminalStream(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
@pytest.mark.parametrize("name", ["train", "infer", "select"])
def test_no_line_breaks_inside_a_word_on_a_terminal(monkeypatch, name, columns):
    results = {
        "train": trained(warnings=[Note("unstable", "word " * 50)], evidence_scale=3.5, summarize=20, stride=4),
        "infer": inferred(output="/a/long/path/to/a/folder/of/results/labelled_recording_of_machine_7.csv"),
        "select": compared((1, 2), ("regime", "shared"), -10),
    }

    def words(columns):
        stream = TerminalStream()
        monkeypatch.setattr("sys.stdout", stream)
        monkeypatch.setattr("sys.stderr", stream)
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setenv("COLUMNS", str(columns))
        with show() as terminal:
            getattr(report, name)(results[name], terminal)
        lines = stream.getvalue().splitlines()
        assert all(len(line.rstrip()) <= columns or len(line.split()) <= 1 for line in lines), lines
        return {word for line in lines for word in line.split() if not set(word) <= {"─"}}

    assert words(columns) == words(1000)


def compared(lags, covariance, scale):
    """A comparison whose figures are as wide as they come."""
    candidates = [
        {
            "regimes": regimes,
            "lags": lag,
            "covariance": kind,
            "held_out_log_likelihood_per_row": -12.3456789 * scale,
            "difference": 1.23456789 * scale * regimes,
            "standard_error": 0.00056789 * scale,
            "parameters": 12 * regimes,
            "bic": 1234567.8 * scale,
            "agreement": 0.987,
            "smallest_share": 1.0,
            "chosen": regimes == 12,
        }
        for regimes in (2, 12)
        for lag in lags
        for kind in covariance
    ]
    choice = {"regimes": 12, "lags": lags[0], "covariance": covariance[0]}
    return SelectResult(choice=choice, reason="so", candidates=candidates, rows=9, seconds=1.0, warnings=[])


@pytest.mark.parametrize("scale", [0.001, 1, -10])
@pytest.mark.parametrize(("lags", "covariance"), [((1,), ("shared",)), ((1, 2), ("regime", "shared"))])
def test_a_comparison_fits_80_columns_and_shows_what_varies(capsys, monkeypatch, lags, covariance, scale):
    monkeypatch.setenv("COLUMNS", "80")
    with show() as terminal:
        report.select(compared(lags, covariance, scale), terminal)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in "".join(lines)
    assert [name in lines[0] for name in ("lags", "cov.")] == [len(lags) > 1, len(covariance) > 1]
    assert [line.split()[0] for line in lines if line.lstrip().startswith("*")] == ["*"] * len(lags) * len(covariance)
