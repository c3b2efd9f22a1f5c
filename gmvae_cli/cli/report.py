"""A result dataclass as a table for people or as one JSON object; an error as one line."""

import json
import math
import sys
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from gmvae_cli.system import progress

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from gmvae_cli.commands.dry_run import Plan
    from gmvae_cli.commands.evaluate import EvaluateResult
    from gmvae_cli.commands.infer import InferResult
    from gmvae_cli.commands.inspect import InspectResult
    from gmvae_cli.commands.plot import PlotResult
    from gmvae_cli.commands.segment import SegmentResult
    from gmvae_cli.commands.select import SelectResult
    from gmvae_cli.commands.simulate import SimulateResult
    from gmvae_cli.commands.train import TrainResult
    from gmvae_cli.metrics.segments import Ribbon

WIDEST_CONFUSION = 10
WIDEST_WEIGHTS = 4  # lags times channels of the table of AR weights; --json has all of them
_PAGE = 80
_NAME = 20  # of a channel, in a table


def simulate(result: "SimulateResult", as_json: bool, terminal: progress.Terminal) -> None:
    """What was drawn; on stderr where the rows themselves went to stdout."""
    if result.output == "-":
        terminal.note(f"{result.rows:,} rows drawn, {result.series:,} series")
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


def train(result: "TrainResult", as_json: bool, terminal: progress.Terminal) -> None:
    """The regimes found, and how well the model explains the rows."""
    _warn(result.warnings, terminal)
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
        ("seen as", _seen(result.summarize, result.stride, result.evidence_scale)),
        ("training", _training(result)),
    )


def infer(result: "InferResult", as_json: bool, terminal: progress.Terminal) -> None:
    """What the labels say; on stderr where the rows themselves went to stdout, as are files that failed."""
    _warn(result.warnings, terminal)
    for sentence in (*result.failures, *result.missed):
        terminal.error(sentence)
    if result.output == "-":
        terminal.note(f"{result.rows:,} rows labelled, {_count(result.segments, 'segment', 'segments')}")
        return
    if as_json:
        _print_json(result, leave_out=("ribbon", "missed"))
        return
    _print(_regimes(result.shares, result.expected_dwell))
    if result.ribbon is not None and result.rows and not (terminal.quiet or progress.plain(sys.stdout)):
        _print_ribbon(result.ribbon)
    log_likelihood = _number(result.log_likelihood_per_row, 4)
    trained = _number(result.training_log_likelihood_per_row, 4)
    _print_facts(
        ("written to", str(result.output)),
        ("rows", f"{result.rows:,} in {_count(result.segments, 'segment', 'segments')}"),
        *([("files", _files(result))] if result.files + result.skipped + len(result.failures) != 1 else []),
        ("log-likelihood", f"{log_likelihood} nats a row in data units; in training {trained}"),
        ("time", f"{result.seconds:.1f} s"),
    )


def segment(result: "SegmentResult", as_json: bool, terminal: progress.Terminal) -> None:
    """What was found and how the recording was seen; on stderr where the rows themselves went to stdout."""
    _warn(result.warnings, terminal)
    if result.output == "-":
        regimes = _count(result.regimes, "regime", "regimes")
        terminal.note(f"{result.rows:,} rows labelled, {regimes} in {_count(result.segments, 'segment', 'segments')}")
        return
    if as_json:
        _print_json(result, leave_out=("ribbon",))
        return
    _print(_regimes(result.shares, result.expected_dwell))
    if result.ribbon is not None and not (terminal.quiet or progress.plain(sys.stdout)):
        _print_ribbon(result.ribbon)
    agreement = "not needed: likelihood alone decides" if result.agreement is None else _number(result.agreement, 2)
    _print_facts(
        ("written to", ", ".join(name for name in (result.output, result.model, result.plot) if name)),
        ("rows", f"{result.rows:,} in {_count(result.segments, 'segment', 'segments')}"),
        ("seen as", _seen(result.summarize, result.stride, result.evidence_scale)),
        ("agreement", agreement if result.agreement is None else f"{agreement} with the labellings of all time scales"),
        ("time", f"{result.seconds:.1f} s"),
    )


def _seen(block_rows: int, stride: int, evidence_scale: float) -> str:
    """What the model sees of a recording, and how much it believes of it."""
    seen = "rows" if block_rows == 1 else f"blocks of {block_rows:,} rows"
    apart = "" if stride == 1 else f", lags {stride:,} apart"
    scaled = "" if evidence_scale == 1 else f"; {_number(evidence_scale, 1)} of them carry the evidence of one"
    return seen + apart + scaled


def evaluate(result: "EvaluateResult", as_json: bool, terminal: progress.Terminal) -> None:
    """The scores, and one line on stderr for every gate that was missed."""
    if as_json:
        _print_json(result, leave_out=("missed",))
    else:
        _print_scores(result)
    for sentence in result.missed:
        terminal.error(sentence)


_SHORT = {"covariance": "cov."}


def select(result: "SelectResult", as_json: bool, terminal: progress.Terminal) -> None:
    """Every candidate, the choice marked, and why; lags and covariance where they vary."""
    _warn(result.warnings, terminal)
    if as_json:
        _print_json(result)
        return
    shapes = [name for name in ("lags", "covariance") if len({one[name] for one in result.candidates}) > 1]
    table = _table(
        "K", *(_SHORT.get(name, name) for name in shapes), "held-out", "below", "± SE", "BIC", "ARI", "least"
    )
    for one in result.candidates:
        table.add_row(
            f"{'*' if one['chosen'] else ''} {one['regimes']}",
            *(str(one[name]) for name in shapes),
            _nats(float(one["held_out_log_likelihood_per_row"])),
            _nats(float(one["difference"])),
            _nats(float(one["standard_error"])),
            f"{one['bic']:.0f}",
            _number(float(one["agreement"]), 2),
            _percent(float(one["smallest_share"])),
        )
    _print(table)
    _print_facts(("choice", result.reason), ("rows", f"{result.rows:,}"), ("time", f"{result.seconds:.1f} s"))


def inspect(result: "InspectResult", as_json: bool) -> None:
    """The regimes, how they follow one another, what the channels do in each, and how the model was trained."""
    if as_json:
        _print_json(result)
        return
    timed = any(regime.expected_dwell_time is not None for regime in result.regimes)
    extra = ["in time"] if timed else []
    table = _table("regime", "share", "expected dwell", *extra, "radius", "half-life", "period")
    for one in result.regimes:
        lasting = [_duration(one.expected_dwell_time, result.time_unit)] if timed else []
        times = (_rows(one.half_life), _rows(one.dominant_period))
        radius = _number(one.spectral_radius, 3)
        table.add_row(str(one.regime), _percent(one.share), _rows(one.expected_dwell), *lasting, radius, *times)
    _print(table)
    numbers = [str(one.regime) for one in result.regimes]
    moves = [[_number(prob, 4) for prob in row] for row in result.transition_matrix.tolist()]
    _print_grid("from / to", numbers, numbers, moves)
    for title, name in (("mean", "mean"), ("std. dev.", "standard_deviation"), ("noise", "noise")):
        columns = [[_short_number(value) for value in getattr(one, name).tolist()] for one in result.regimes]
        _print_grid(title, result.channels, numbers, [list(row) for row in zip(*columns, strict=True)])
    if len(result.channels) * result.configuration["lags"] <= WIDEST_WEIGHTS:
        _print_weights(result)
    _print_facts(*_origin(result))


def _print_weights(result: "InspectResult") -> None:
    """x_t = weights x_t-1 .. + bias + noise, with the standard errors of the weights."""
    headers = [f"{name} (lag {lag + 1})" for lag in range(result.configuration["lags"]) for name in result.channels]
    rows, cells = [], []
    for one in result.regimes:
        weights = one.ar_weights.transpose(0, 1).flatten(1).tolist()
        errors = None
        if one.standard_errors is not None:
            errors = one.standard_errors.transpose(0, 1).flatten(1).tolist()
        for channel, name in enumerate(result.channels):
            line = [_short_number(weight) for weight in weights[channel]]
            if errors is not None:
                pairs = zip(line, errors[channel], strict=True)
                line = [f"{weight} ±{_short_number(error, 2)}" for weight, error in pairs]
            rows.append(f"regime {one.regime}: {_clipped(name)}")
            cells.append([*line, _short_number(float(one.ar_bias[channel]))])
    _print_grid("AR weights", rows, [*headers, "bias"], cells)


def _origin(result: "InspectResult") -> list[tuple[str, str]]:
    shape, training = result.configuration, result.training
    lags = _count(shape["lags"], "lag", "lags")
    intercept = "an intercept" if shape["intercept"] else "no intercept"
    regimes = _count(shape["regimes"], "regime", "regimes")
    facts = [
        ("model", f"{regimes}, {lags}, prior {shape['prior']}, covariance {shape['covariance']}, {intercept}"),
        ("seen as", _seen(shape["summarize"], shape["stride"], result.evidence_scale)),
        ("channels", _wrapped(result.channels)),
    ]
    if result.degrees_of_freedom is not None:
        heavy = "; a standard deviation exists above 2" if result.degrees_of_freedom <= 2 else ""
        facts.append(("noise", f"Student t, {_number(result.degrees_of_freedom, 2)} degrees of freedom{heavy}"))
    if "rows" not in training:
        return [*facts, ("trained", "no; these are the parameters of a simulation")]
    timed = result.step is not None and result.time_unit is not None
    step = f", {_duration(result.step, result.time_unit)} apart" if timed else ""
    series = _count(training["series_count"], "series", "series")
    facts.append(("trained on", f"{training['rows']:,} rows in {series}{step}"))
    if training.get("log_likelihood_per_row") is not None:
        on = _ROWS_NAMED[training["evaluated_on"]]
        both = ", ".join(
            f"{name} {_number(training.get(key), 4)}"
            for name, key in (("log-likelihood", "log_likelihood_per_row"), ("ELBO", "elbo_per_row"))
        )
        facts.append(("nats a row", f"{both}, on the {on}"))
    ending = "converged" if training.get("converged") else "not converged"
    how = f"{training.get('steps', 0):,} steps, seed {training.get('seed', 0)}, {ending}"
    facts.append(("training", f"{how}, gmvae {training.get('versions', {}).get('gmvae', '-')}"))
    return facts + [("warning", warning["sentence"]) for warning in training.get("warnings", [])]


def plot(result: "PlotResult", as_json: bool, terminal: progress.Terminal) -> None:
    """What was drawn."""
    _warn(result.warnings, terminal)
    if as_json:
        _print_json(result)
        return
    _print_facts(
        ("written to", result.output),
        ("rows", f"{result.rows:,} in {_count(result.segments, 'segment', 'segments')}"),
        ("series", f"{result.series_drawn:,} of {result.series:,} drawn"),
        ("channels", _wrapped(result.channels)),
        ("time", f"{result.seconds:.1f} s"),
    )


def plan(result: "Plan", as_json: bool, terminal: progress.Terminal) -> None:
    """What a run would read and need."""
    for sentence in result.failures:
        terminal.error(sentence)
    if as_json:
        _print_json(result)
        return
    table = _table("channel", "missing cells", "share")
    for name, cells in result.missing.items():
        table.add_row(name, f"{cells:,}", _percent(cells / max(result.rows, 1)))
    _print(table)
    step = "" if result.step is None else f", a step of {result.step:g} {result.time_unit}"
    _print_facts(
        *([("files", _usable(result.files, len(result.failures)))] if result.files > 1 else []),
        ("rows", f"{result.rows:,} in {_count(result.series, 'series', 'series')}{step}"),
        ("gaps", f"{_count(result.holes, 'hole', 'holes')}, {_count(result.breaks, 'break', 'breaks')}"),
        ("memory", f"about {_bytes(result.memory_bytes)}"),
        ("scratch", f"{_bytes(result.scratch_bytes)} in {result.scratch_folder}, {_bytes(result.free_bytes)} free"),
        ("time", f"about {max(result.seconds, 1):.0f} s"),
    )


def _usable(count: int, failed: int) -> str:
    return f"{count:,}" + (f", {failed:,} of which cannot be used" if failed else "")


def error(sentence: str) -> None:
    """One line on stderr, unwrapped, without control codes, with nothing in it taken for markup."""
    from rich.text import Text

    progress.console(sys.stderr).print(Text(progress.one_line(sentence)), soft_wrap=True)


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


def _print_ribbon(ribbon: "Ribbon") -> None:
    """The rows from first to last as one line of blocks in the regimes' colours, with their numbers where they fit."""
    from rich.text import Text

    from gmvae_cli.plotting.artists import colour

    console = progress.console(sys.stdout)
    regimes = ribbon.majority(console.width).tolist()
    line, start = Text(), 0
    while start < len(regimes):
        stop = next((place for place in range(start, len(regimes)) if regimes[place] != regimes[start]), len(regimes))
        name = str(regimes[start])
        back = colour(regimes[start])
        ink = "white" if sum(int(back[i : i + 2], 16) for i in (1, 3, 5)) < 300 else "black"
        line.append((name if len(name) + 2 <= stop - start else "").center(stop - start), f"{ink} on {back}")
        start = stop
    console.print(line, soft_wrap=True)
    console.print()


def _training(result: "TrainResult") -> str:
    ending = "converged" if result.converged else "not converged"
    again = ", resumed" if result.resumed else ""
    return f"{result.steps:,} steps{again}, {result.seconds:.1f} s, {result.rows_per_second:,.0f} rows/s, {ending}"


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


def _print_grid(title: str, rows: Any, columns: Any, cells: list[list[str]]) -> None:
    """A table of any width, in as many parts as a page of 80 columns needs."""
    widths = [max(map(len, (name, *(row[i] for row in cells)))) + 3 for i, name in enumerate(columns)]
    names = [_clipped(name, 2 * _NAME) for name in rows]
    room = _PAGE - max(map(len, (title, *names)))
    start = 0
    while start < len(columns):
        stop = start + 1
        while stop < len(columns) and sum(widths[start : stop + 1]) <= room:
            stop += 1
        table = _table(title, *columns[start:stop])
        table.columns[0].justify = "left"
        for name, row in zip(names, cells, strict=True):
            table.add_row(_plain(name), *row[start:stop])
        _print(table)
        start = stop


def _plain(text: str) -> "Text":
    """Text with nothing in it taken for markup."""
    from rich.text import Text

    return Text(text)


def _clipped(name: str, length: int = _NAME) -> str:
    return name if len(name) <= length else f"{name[: length - 3]}..."


def _wrapped(names: list[str]) -> str:
    """So many of the names as fit a line."""
    count = len(names)
    while count > 1 and len(", ".join(names[:count])) > _PAGE - 30:
        count -= 1
    rest = f" and {len(names) - count} more" if count < len(names) else ""
    return f"{len(names)}: {', '.join(names[:count])}{rest}"


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


def warning_line(sentence: str, terminal: progress.Terminal) -> None:
    """A warning on stderr; one that was given before is not repeated."""
    terminal.note(f"warning: {sentence}")


def _warn(warnings: Any, terminal: progress.Terminal) -> None:
    for warning in warnings:
        warning_line(warning["sentence"], terminal)


def _print_json(result: Any, leave_out: tuple[str, ...] = ()) -> None:
    values = {field.name: getattr(result, field.name) for field in fields(result) if field.name not in leave_out}
    print(json.dumps(jsonable(values), allow_nan=False, ensure_ascii=False))


def jsonable(value: Any) -> Any:
    """The value as JSON knows it: arrays as lists, whatever is undefined (NaN, infinite) as null."""
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if is_dataclass(value):
        return jsonable(vars(value))
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    return value


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:,.{decimals}f}"


def _nats(value: float) -> str:
    """Four decimals where they matter, and five digits at most where they do not."""
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.5g}"


def _short_number(value: float, digits: int = 4) -> str:
    """So many significant digits, and no more characters than a narrow table has room for."""
    return "-" if not math.isfinite(value) else f"{value:.{digits}g}"


def _duration(value: float | None, unit: str | None) -> str:
    """A time in the largest unit that it fills, or in the time column's own."""
    if value is None or not math.isfinite(value):
        return "-"
    if unit != "seconds":
        return f"{value:.4g}"
    size, name = next(((s, n) for s, n in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")) if value >= s), (1, "s"))
    return f"{value / size:.4g} {name}"


def _percent(share: float | None) -> str:
    return "-" if share is None or not math.isfinite(share) else f"{100 * share:.1f} %"


def _rows(count: float | None) -> str:
    return "-" if count is None or not math.isfinite(count) else f"{count:,.1f} rows"


def _bytes(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
