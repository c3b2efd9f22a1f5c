"""A result dataclass as a table for people or as one JSON object; an error as one line."""

import json
import math
import sys
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from gmvae_cli import progress

if TYPE_CHECKING:
    from rich.table import Table

    from gmvae_cli.jobs.evaluate import EvaluateResult
    from gmvae_cli.jobs.infer import InferResult
    from gmvae_cli.jobs.select import SelectResult
    from gmvae_cli.jobs.simulate import SimulateResult
    from gmvae_cli.jobs.train import TrainResult
    from gmvae_cli.plan import Plan

WIDEST_CONFUSION = 10


def simulate(result: "SimulateResult", as_json: bool, shown: progress.Shown) -> None:
    """What was drawn; on stderr where the rows themselves went to stdout."""
    if result.output == "-":
        shown.note(f"{result.rows:,} rows drawn, {result.series:,} series")
        return
    if as_json:
        _print_json(result)
        return
    table = _table("regime", "share", "expected dwell", "spectral radius")
    for regime, share in enumerate(result.shares):
        table.add_row(
            str(regime),
            _percent(share),
            _rows(result.expected_dwell[regime]),
            _number(result.spectral_radius[regime], 3),
        )
    _print(table)
    _print_facts(
        ("written to", result.output),
        ("rows", f"{result.rows:,} in {_count(result.series, 'series', 'series')}, {result.segments:,} visits"),
        ("time", f"{result.seconds:.1f} s, {result.rows_per_second:,.0f} rows/s"),
        *([("model", result.truth)] if result.truth else []),
    )


def train(result: "TrainResult", as_json: bool, shown: progress.Shown) -> None:
    """The regimes found, and how well the model explains the rows."""
    _warn(result.warnings, shown)
    if as_json:
        _print_json(result)
        return
    _print(_regimes(result.shares, result.expected_dwell))
    evidence = result.log_likelihood_per_row, result.elbo_per_row
    log_likelihood, elbo = (None if value is None else round(value, 4) for value in evidence)
    gap = None if log_likelihood is None or elbo is None else log_likelihood - elbo
    _print_facts(
        ("log-likelihood", f"{_number(log_likelihood, 4):>10} nats a row, on the {_ROWS_NAMED[result.evaluated_on]}"),
        ("ELBO", f"{_number(elbo, 4):>10} nats a row, on the same rows"),
        ("amortisation gap", f"{_number(gap, 4):>10} nats a row, the first less the second"),
        ("rows", f"{result.rows:,}, {_count(len(result.channels), 'channel', 'channels')}"),
        ("training", _training(result)),
    )


def infer(result: "InferResult", as_json: bool, shown: progress.Shown) -> None:
    """What the labels say; on stderr where the rows themselves went to stdout, as are files that failed."""
    _warn(result.warnings, shown)
    for sentence in result.failures:
        shown.error(sentence)
    if result.output == "-":
        shown.note(f"{result.rows:,} rows labelled, {_count(result.segments, 'segment', 'segments')}")
        return
    if as_json:
        _print_json(result)
        return
    _print(_regimes(result.shares, result.expected_dwell))
    log_likelihood = _number(result.log_likelihood_per_row, 4)
    trained = _number(result.training_log_likelihood_per_row, 4)
    _print_facts(
        ("written to", str(result.output)),
        ("rows", f"{result.rows:,} in {_count(result.segments, 'segment', 'segments')}"),
        *([("files", _files(result))] if result.files + result.skipped + len(result.failures) != 1 else []),
        ("log-likelihood", f"{log_likelihood} nats a row in data units; in training {trained}"),
        ("time", f"{result.seconds:.1f} s"),
    )


def evaluate(result: "EvaluateResult", as_json: bool, shown: progress.Shown) -> None:
    """The scores, and one line on stderr for every gate that was missed."""
    if as_json:
        _print_json(result, leave_out=("missed",))
    else:
        _print_scores(result)
    for sentence in result.missed:
        shown.error(sentence)


def select(result: "SelectResult", as_json: bool, shown: progress.Shown) -> None:
    """Every candidate, the choice marked, and why."""
    _warn(result.warnings, shown)
    if as_json:
        _print_json(result)
        return
    table = _table("regimes", "lags", "covariance", "held-out", "below", "+- SE", "BIC", "agree", "smallest")
    for one in result.candidates:
        table.add_row(
            f"{'*' if one['chosen'] else ''} {one['regimes']}",
            str(one["lags"]),
            str(one["covariance"]),
            _number(float(one["held_out_log_likelihood_per_row"]), 4),
            _number(float(one["difference"]), 4),
            _number(float(one["standard_error"]), 4),
            _number(float(one["bic"]), 0),
            _number(float(one["agreement"]), 2),
            _percent(float(one["smallest_share"])),
        )
    _print(table)
    _print_facts(("choice", result.reason), ("rows", f"{result.rows:,}"), ("time", f"{result.seconds:.1f} s"))


def plan(result: "Plan", as_json: bool) -> None:
    """What a run would read and need."""
    if as_json:
        _print_json(result)
        return
    table = _table("channel", "missing cells", "share")
    for name, cells in result.missing.items():
        table.add_row(name, f"{cells:,}", _percent(cells / max(result.rows, 1)))
    _print(table)
    step = "" if result.step is None else f", a step of {result.step:g} {result.time_unit}"
    _print_facts(
        ("rows", f"{result.rows:,} in {_count(result.series, 'series', 'series')}{step}"),
        ("gaps", f"{_count(result.holes, 'hole', 'holes')}, {_count(result.breaks, 'break', 'breaks')}"),
        ("memory", f"about {_bytes(result.memory_bytes)}"),
        ("scratch", f"{_bytes(result.scratch_bytes)} in {result.scratch_folder}, {_bytes(result.free_bytes)} free"),
        ("time", f"about {max(result.seconds, 1):.0f} s"),
    )


def error(sentence: str) -> None:
    """One line on stderr, unwrapped, with nothing in it taken for markup."""
    from rich.text import Text

    progress.console(sys.stderr).print(Text(sentence), soft_wrap=True)


def usage_line(message: str) -> str:
    """The parser's message in our style: one line, lower case first, no full stop."""
    line = " ".join(message.replace("Value error, ", "").split()).rstrip(".")
    return f"{line[:1].lower()}{line[1:]}; --help lists what is possible"


_ROWS_NAMED = {"validation": "held-out rows", "train": "rows trained on"}

_SCORES = (
    ("accuracy", "best one-to-one matching"),
    ("ari", "adjusted Rand index"),
    ("nmi", "normalised mutual information"),
    ("ami", "adjusted mutual information"),
    ("v_measure", "homogeneity and completeness"),
    ("macro_f1", "mean over true labels"),
    ("covering", "overlap of segments"),
    ("change_point_precision", "predicted changes that are true"),
    ("change_point_recall", "true changes that are found"),
    ("change_point_f1", "both"),
    ("hausdorff", "rows to the farthest change"),
    ("log_likelihood_per_row", "nats, data units"),
    ("elbo_per_row", "nats, data units"),
)


def _print_scores(result: "EvaluateResult") -> None:
    table = _table("score", "value", "meaning")
    table.columns[0].justify = table.columns[2].justify = "left"
    for name, meaning in _SCORES:
        value = getattr(result, name)
        if value is not None:
            table.add_row(name, _number(value, 1 if name == "hausdorff" else 4), meaning)
    _print(table)
    if result.confusion is not None:
        if len(result.confusion[0]) <= WIDEST_CONFUSION:
            _print(_confusion(result))
        segments = f"{result.segments_predicted:,} predicted, {result.segments_true:,} true"
        _print_facts(
            ("rows", f"{result.rows:,}, {result.unlabelled:,} of them without a true label"), ("segments", segments)
        )
    else:
        _print_facts(("rows", f"{result.rows:,}"))


def _confusion(result: "EvaluateResult") -> "Table":
    assert result.confusion is not None
    table = _table("true / predicted", *("-" if label is None else label for label in result.labels_predicted or ()))
    for label, counts in zip(result.labels_true or (), result.confusion, strict=True):
        table.add_row(label, *(f"{count:,}" for count in counts))
    return table


def _training(result: "TrainResult") -> str:
    ending = "converged" if result.converged else "not converged"
    return f"{result.steps:,} steps, {result.seconds:.1f} s, {result.rows_per_second:,.0f} rows/s, {ending}"


def _files(result: "InferResult") -> str:
    skipped = f", {result.skipped:,} left as they were" if result.skipped else ""
    failed = f", {len(result.failures):,} failed" if result.failures else ""
    return f"{result.files:,} labelled{skipped}{failed}"


def _regimes(shares: Any, expected_dwell: Any) -> "Table":
    table = _table("regime", "share", "expected dwell")
    for regime, (share, dwell) in enumerate(zip(shares, expected_dwell, strict=True)):
        table.add_row(str(regime), _percent(share), _rows(dwell))
    return table


def _table(*headers: str) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for header in headers:
        table.add_column(Text(header), justify="right")
    return table


def _print(table: "Table") -> None:
    console = progress.console(sys.stdout)
    console.print(table)
    console.print()


def _print_facts(*facts: tuple[str, str]) -> None:
    from rich.text import Text

    width = max(len(name) for name, _ in facts)
    console = progress.console(sys.stdout)
    for name, fact in facts:
        console.print(Text(f"{name:<{width}}  {fact}"), soft_wrap=True)


def _warn(warnings: Any, shown: progress.Shown) -> None:
    for warning in warnings:
        shown.note(f"warning: {warning['sentence']}")


def _print_json(result: Any, leave_out: tuple[str, ...] = ()) -> None:
    values = {field.name: getattr(result, field.name) for field in fields(result) if field.name not in leave_out}
    print(json.dumps(jsonable(values), allow_nan=False, ensure_ascii=False))


def jsonable(value: Any) -> Any:
    """The value as JSON knows it: arrays as lists, whatever is undefined (NaN, infinite) as null."""
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    return value


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:,.{decimals}f}"


def _percent(share: float | None) -> str:
    return "-" if share is None or not math.isfinite(share) else f"{100 * share:.1f} %"


def _rows(count: float | None) -> str:
    return "-" if count is None or not math.isfinite(count) else f"{count:,.1f} rows"


def _bytes(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
