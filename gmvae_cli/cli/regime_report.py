"""Regimes as their rows show them, printed: how long each lasts, and the channels that tell it apart."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gmvae_cli.cli.formatting import (
    clipped,
    count,
    duration,
    listed,
    number,
    percent,
    print_facts,
    print_json,
    print_table,
    rare,
    short_number,
)
from gmvae_cli.cli.terminal import Terminal

if TYPE_CHECKING:
    from gmvae_cli.commands.compare import CompareResult
    from gmvae_cli.labelled.profile import ProfileResult

Regimes = Sequence[Mapping[str, Any]]

_TOLD_APART = 3  # channels of a regime that are printed; --json and --output have all
_FOLLOWERS = 2  # of a regime that are printed
_REGIME_LENGTH, _CHANNEL_LENGTH = 14, 18  # of names that are printed, so that a line fits into 80 columns
_LINE_LENGTH = 62  # beside the name of a regime
_MOST_MOVES = 10  # that are printed
_PLAIN = (1e-4, 1e7)  # numbers outside are printed with an exponent


def profile(result: "ProfileResult", terminal: Terminal) -> None:
    """Print what each regime is: how long it lasts, what follows it, and the channels that tell it apart."""
    terminal.close()
    for warning in result.warnings:
        terminal.warning(warning)
    if terminal.as_json:
        print_json(result)
        return
    names = [regime_name(regime) for regime in result.regimes]
    _print_visits(names, result)
    if any(regime["first"] is not None for regime in result.regimes):
        times = [(name, regime["first"], regime["last"]) for name, regime in zip(names, result.regimes, strict=True)]
        print_table(("regime", "first row", "last row"), times, left=(0,))
    if result.channels:
        lines = [
            line for name, regime in zip(names, result.regimes, strict=True) for line in _lines(name, regime, result)
        ]
        print_table(("regime", "channel", "mean ± s.d.", "middle half", "elsewhere"), lines, left=(0, 1))
    without = f", {result.unlabelled:,} of them without a label" if result.unlabelled else ""
    step = "" if result.time_unit is None else f", {duration(result.step, result.time_unit)} apart"
    print_facts(
        *([("written to", result.output)] if result.output else []),
        ("rows", f"{result.rows:,} in {count(result.series, 'series', 'series')}{step}{without}"),
        ("visits", f"{result.segments:,}"),
        *([("channels", listed(result.channels))] if result.channels else []),
        ("time", f"{result.seconds:.1f} s"),
    )


def compare(result: "CompareResult", terminal: Terminal) -> None:
    """Print which regimes of two models are the same, which rows moved, and how well each model explains the rows."""
    terminal.close()
    for warning in result.warnings:
        terminal.warning(warning)
    if terminal.as_json:
        print_json(result, leave_out=("missed",))
    else:
        _print_comparison(result)
    for sentence in result.missed:
        terminal.error(sentence)


def _print_comparison(result: "CompareResult") -> None:
    matched = [
        (_regime_of(pair, "a"), _regime_of(pair, "b"), *(f"{pair[name]:,}" for name in ("rows_a", "rows_b", "rows")))
        for pair in result.matched
    ]
    print_table(("regime in A", "in B", "rows in A", "in B", "in both"), matched, left=(0, 1))
    if result.moved:
        moved = [
            (_regime_of(move, "a"), _regime_of(move, "b"), f"{move['rows']:,}", rare(move["share"]))
            for move in result.moved[:_MOST_MOVES]
        ]
        print_table(("moved from", "to", "rows", "share"), moved, left=(0, 1))
    more = len(result.moved) - _MOST_MOVES
    likelihoods = (result.log_likelihood_per_row_a, result.log_likelihood_per_row_b)
    before, after = (number(value, 4) for value in likelihoods)
    difference = result.log_likelihood_difference
    gain = "" if difference is None else f", {difference:+.4f}"
    print_facts(
        ("A", result.model_a),
        ("B", result.model_b),
        *([("written to", result.output)] if result.output else []),
        *([("moved", f"{count(more, 'other pair', 'other pairs')} of regimes; --json has all")] if more > 0 else []),
        (
            "agreement",
            f"{number(100 * result.agreement, 2)} % of the rows; adjusted Rand index {number(result.ari, 4)}",
        ),
        ("log-likelihood", f"A {before}, B {after} per row in data units{gain}"),
        ("segments", f"A {result.segments_a:,}, B {result.segments_b:,}"),
        ("rows", f"{result.rows:,} in {count(result.series, 'series', 'series')}"),
        ("time", f"{result.seconds:.1f} s"),
    )


def _regime_of(pair: Mapping[str, Any], model: str) -> str:
    regime = pair[f"regime_{model}"]
    return "-" if regime is None else regime_name({"regime": regime, "name": pair[f"name_{model}"]})


def print_regimes(regimes: Regimes, time_unit: str | None) -> None:
    """Print what the rows show of each regime in short: how much of the time, how often, and what tells it apart."""
    lines = [
        (
            regime_name(regime),
            percent(regime["share"]),
            f"{regime['visits']:,}",
            lasting(regime["mean_time"], time_unit),
            lasting(regime["longest_time"], time_unit),
        )
        for regime in regimes
    ]
    print_table(("regime", "share", "visits", "mean time", "longest"), lines, left=(0,))
    told = [(regime_name(regime), _in_a_line(map(" ".join, _told_apart(regime)))) for regime in regimes]
    print_table(("regime", "told apart by (mean ± standard deviation)"), told, left=(0, 1))


def _in_a_line(texts: Iterable[str]) -> str:
    """Join as many texts as fit into a line, at least one."""
    first, *others = texts
    for text in others:
        first = f"{first}, {text}" if len(first) + len(text) + 2 <= _LINE_LENGTH else first
    return first


def regime_name(regime: Mapping[str, Any]) -> str:
    """Return number and name of a regime as tables show them: "2 idle"."""
    label, name = str(regime["regime"]), regime.get("name")
    return clipped(f"{label} {name}" if name and name != label else label, _REGIME_LENGTH)


def lasting(value: float | None, unit: str | None) -> str:
    """Format how long something lasts; without a unit of the time in rows."""
    if unit is None and value is not None:
        return f"{value:,.1f} rows" if value % 1 else f"{value:,.0f} rows"
    return duration(value, unit)


def mean_and_deviation(mean: float | None, deviation: float | None) -> str:
    """Format a mean with as many decimals as its standard deviation needs for two digits: "40.21 ± 0.32"."""
    if mean is None or deviation is None:
        return "-"
    if not _PLAIN[0] <= deviation < _PLAIN[1] or abs(mean) >= _PLAIN[1]:
        return f"{short_number(mean)} ± {short_number(deviation, 2)}"
    decimals = _decimals(deviation, 2)
    return f"{mean:.{decimals}f} ± {deviation:.{decimals}f}"


def _plain_number(value: float, digits: int = 3) -> str:
    """Format a number with at least so many significant digits, if it can be without an exponent."""
    if value and not _PLAIN[0] <= abs(value) < _PLAIN[1]:
        return short_number(value, digits)
    return f"{value:.{_decimals(value, digits)}f}" if value else "0"


def _decimals(value: float, digits: int) -> int:
    return max(0, digits - 1 - math.floor(math.log10(abs(value))))


def _print_visits(names: Sequence[str], result: "ProfileResult") -> None:
    lines = [
        (
            name,
            percent(regime["share"]),
            f"{regime['visits']:,}",
            lasting(regime["mean_time"], result.time_unit),
            lasting(regime["longest_time"], result.time_unit),
            lasting(regime["total_time"], result.time_unit),
        )
        for name, regime in zip(names, result.regimes, strict=True)
    ]
    print_table(("regime", "share", "visits", "mean time", "longest", "in all"), lines, left=(0,))
    if len(names) > 1:
        known = {str(regime["regime"]): name for regime, name in zip(result.regimes, names, strict=True)}
        followed = [(name, _followers(regime, known)) for name, regime in zip(names, result.regimes, strict=True)]
        print_table(("regime", "followed by"), followed, left=(0, 1))


def _followers(regime: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """List the regimes that follow most often, with their shares."""
    after = sorted(regime["followed_by"].items(), key=lambda pair: -pair[1])
    total = sum(regime["followed_by"].values())
    shown = [f"{names[label]} ({percent(visits / total)})" for label, visits in after[:_FOLLOWERS]]
    rest = len(after) - len(shown)
    return ", ".join(shown + ([f"{rest} others" if rest > 1 else "1 other"] if rest else [])) or "-"


def _told_apart(regime: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List the channels that tell a regime apart most, or the first ones where none does, with mean and deviation."""
    names = (regime["tells_apart"] or list(regime["channels"]))[:_TOLD_APART]
    figures = [regime["channels"][name] for name in names]
    return [
        (clipped(name, _CHANNEL_LENGTH), mean_and_deviation(channel["mean"], channel["standard_deviation"]))
        for name, channel in zip(names, figures, strict=True)
    ]


def _lines(name: str, regime: Mapping[str, Any], result: "ProfileResult") -> list[tuple[str, ...]]:
    """List a regime's channels that tell it apart, each beside its mean in all other regimes."""
    shown = (regime["tells_apart"] or list(regime["channels"]))[:_TOLD_APART]
    lines: list[tuple[str, ...]] = []
    for channel, (label, values) in zip(shown, _told_apart(regime), strict=True):
        figures = regime["channels"][channel]
        quarters = [figures["quartile_1"], figures["quartile_3"]]
        half = "-" if None in quarters else " to ".join(map(_plain_number, quarters))
        others = [other["channels"][channel] for other in result.regimes if other is not regime]
        total = sum(other["values"] for other in others)
        elsewhere = sum(other["mean"] * other["values"] for other in others if other["values"]) / max(total, 1)
        lines.append((name, label, values, half, _plain_number(elsewhere) if total else "-"))
    return lines
