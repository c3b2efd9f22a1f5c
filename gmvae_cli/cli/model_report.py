"""Models on stdout: their regimes, the names of these, and what they forecast."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gmvae_cli.cli.formatting import (
    clipped,
    count,
    duration,
    listed,
    number,
    percent,
    print_facts,
    print_table,
    rows,
    short_number,
)
from gmvae_cli.cli.report import for_people, likelihoods, modelled_as, regime_label
from gmvae_cli.cli.terminal import Terminal, printable

if TYPE_CHECKING:
    import pyarrow as pa

    from gmvae_cli.commands.inspect import InspectResult, Regime
    from gmvae_cli.commands.rename import RenameResult
    from gmvae_cli.forecasting.forecast import ForecastResult

_SHOWN_STEPS = (1, 2, 5, 10, 20, 50, 100)  # ahead, beside the last one
_SHOWN_CHANNELS = 3  # of a forecast; the file has all
WIDEST_WEIGHTS = 4  # lags times channels of the table of AR weights; --json has all of them

# Titles and attributes of the channels' tables; a regime without lags is its mean and its noise
_LEVEL = (("mean", "mean"), ("std. dev.", "standard_deviation"))
_DYNAMICS = ("radius", "half-life", "period")
_AUTOREGRESSION = (("settles at", "mean"), ("std. dev.", "standard_deviation"), ("noise", "noise"))


def inspect(result: "InspectResult", terminal: Terminal) -> None:
    """Print the regimes, how they follow one another, the channels in each, and how the model was trained."""
    if not for_people(result, terminal):
        return
    _print_lasting(result)
    numbers = [regime_label(regime.regime, result.names) for regime in result.regimes]
    moves = [[number(prob, 4) for prob in line] for line in result.transition_matrix.tolist()]
    _print_grid("from / to", numbers, numbers, moves)
    lags = result.configuration["lags"]
    if lags and all(regime.row_mean is not None for regime in result.regimes):
        means = [regime.row_mean or [] for regime in result.regimes]
        cells = [
            [short_number(math.nan if value is None else value) for value in channel]
            for channel in zip(*means, strict=True)
        ]
        _print_grid("mean of rows", result.channels, numbers, cells)
    for title, name in _AUTOREGRESSION if lags else _LEVEL:
        columns = [[short_number(value) for value in getattr(regime, name).tolist()] for regime in result.regimes]
        _print_grid(title, result.channels, numbers, [list(line) for line in zip(*columns, strict=True)])
    if 0 < len(result.channels) * lags <= WIDEST_WEIGHTS:
        _print_weights(result)
    print_facts(*_shape(result), *_origin(result))


def rename(result: "RenameResult", terminal: Terminal) -> None:
    """Print the regimes with their names, and which of them are one from now on."""
    if not for_people(result, terminal):
        return
    shares = result.shares or [math.nan] * len(result.names)
    numbers = zip(result.names, result.stands_for, shares, strict=True)
    print_table(
        ("regime", "share", "name", "in outputs"),
        [(str(k), percent(share), clipped(name), str(number)) for k, (name, number, share) in enumerate(numbers)],
        left=(2,),
    )
    print_facts(("written to", result.model))


def forecast(result: "ForecastResult", terminal: Terminal) -> None:
    """Print some rows of the forecast of the first series; on stderr a line, where the forecast went to stdout."""
    if result.output == "-":
        for_people(result, terminal)
        terminal.note(f"{count(result.horizon, 'row', 'rows')} ahead of {count(result.series, 'series', 'series')}")
        return
    if not for_people(result, terminal, leave_out=("shown",)):
        return
    for name, table in result.shown:
        if result.series > 1:
            print(printable(f"series {clipped(name)}"))
        _print_forecast(result, table)
    more = result.series - len(result.shown)
    timed = result.step is not None and result.time_unit is not None
    step = f", {duration(result.step, result.time_unit)} apart" if timed else ""
    others = f", of which {len(result.shown)} are shown" if more else ""
    print_facts(
        ("written to", result.output),
        ("series", f"{result.series:,}{others}; {result.rows:,} rows read"),
        ("ahead", f"{count(result.horizon, 'row', 'rows')}{step}"),
        ("quantiles", f"from {result.paths:,} simulated paths; regimes, mean and s.d. by formula"),
        ("time", f"{result.seconds:.1f} s"),
    )


def _print_forecast(result: "ForecastResult", table: "pa.Table") -> None:
    """Print some rows of a forecast: the likeliest regime, and of the first channels mean and 90 % interval."""
    steps = [step for step in _SHOWN_STEPS if step < result.horizon] + [result.horizon]
    columns = table.take([step - 1 for step in steps]).to_pydict()
    lines = []
    for row, step in enumerate(steps):
        probs = [columns[f"prob_{regime}"][row] for regime in range(result.regimes)]
        likeliest = max(range(result.regimes), key=probs.__getitem__)
        time = [] if result.time is None else [str(columns[result.time][row])]
        line = [str(step), *time, regime_label(likeliest, result.names), percent(probs[likeliest])]
        for channel in result.channels[:_SHOWN_CHANNELS]:
            mean, low, high = (columns[f"{channel}_{figure}"][row] for figure in ("mean", "q05", "q95"))
            line.append(f"{_figure(mean)} ({_figure(low)} to {_figure(high)})")
        lines.append(line)
    headers = [f"{clipped(name)} (90 % within)" for name in result.channels[:_SHOWN_CHANNELS]]
    timed = [] if result.time is None else [result.time]
    print_table(("step", *timed, "regime", "likely", *headers), lines, left=(1, 2) if timed else (1,))


def _figure(value: float | None) -> str:
    return short_number(math.nan if value is None else value)


def _print_lasting(result: "InspectResult") -> None:
    """Print each regime's share, and how it moves in time: with lags also how fast a disturbance fades."""
    lags = result.configuration["lags"]
    timed = any(regime.expected_dwell_time is not None for regime in result.regimes)
    print_table(
        ("regime", "share", "expected dwell", *(["in time"] if timed else []), *(_DYNAMICS if lags else [])),
        [
            (
                regime_label(regime.regime, result.names),
                percent(regime.share),
                rows(regime.expected_dwell),
                *([duration(regime.expected_dwell_time, result.time_unit)] if timed else []),
                *(_dynamics(regime) if lags else []),
            )
            for regime in result.regimes
        ],
    )


def _dynamics(regime: "Regime") -> tuple[str, str, str]:
    return number(regime.spectral_radius, 3), rows(regime.half_life), rows(regime.dominant_period)


def _print_grid(title: str, names: Sequence[str], columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    lines = [(clipped(name), *line) for name, line in zip(names, cells, strict=True)]
    print_table((title, *columns), lines, left=(0,))


def _print_weights(result: "InspectResult") -> None:
    """Print weights W and bias b of x_t = W_1 x_t-1 + .. + W_P x_t-P + b + noise, with standard errors of W."""
    lags = range(1, result.configuration["lags"] + 1)
    headers = [f"{name} (lag {lag})" for lag in lags for name in result.channels]
    names, cells = [], []
    for regime in result.regimes:
        weights = regime.ar_weights.transpose(0, 1).flatten(1).tolist()
        standard_errors = regime.standard_errors
        errors = None if standard_errors is None else standard_errors.transpose(0, 1).flatten(1).tolist()
        for channel, name in enumerate(result.channels):
            line = [short_number(weight) for weight in weights[channel]]
            if errors is not None:
                pairs = zip(line, errors[channel], strict=True)
                line = [f"{weight} ±{short_number(error, 2)}" for weight, error in pairs]
            names.append(f"{regime_label(regime.regime, result.names)}: {name}")
            cells.append([*line, short_number(float(regime.ar_bias[channel]))])
    _print_grid("AR weights", names, [*headers, "bias"], cells)


def _shape(result: "InspectResult") -> list[tuple[str, str]]:
    shape = result.configuration
    regimes = count(shape["regimes"], "regime", "regimes")
    lags = count(shape["lags"], "lag", "lags") if shape["lags"] else "no lags"
    intercept = "an intercept" if shape["intercept"] else "no intercept"
    facts = [
        ("model", f"{regimes}, {lags}, prior {shape['prior']}, covariance {shape['covariance']}, {intercept}"),
        ("modelled as", modelled_as(shape["summarize"], shape["stride"], result.evidence_scale)),
        ("channels", listed(result.channels)),
    ]
    if result.degrees_of_freedom is not None:
        heavy = "; a standard deviation exists above 2" if result.degrees_of_freedom <= 2 else ""
        facts.append(("noise", f"Student t, {number(result.degrees_of_freedom, 2)} degrees of freedom{heavy}"))
    return facts


def _origin(result: "InspectResult") -> list[tuple[str, str]]:
    """State how a model was trained, with the warnings of that run."""
    training = result.training
    if "rows" not in training:
        return [("trained", "no; these are the parameters of a simulation")]
    timed = result.step is not None and result.time_unit is not None
    step = f", {duration(result.step, result.time_unit)} apart" if timed else ""
    facts = [
        ("trained on", f"{training['rows']:,} rows in {count(training['series_count'], 'series', 'series')}{step}")
    ]
    if training.get("log_likelihood_per_row") is not None:
        figures = training["log_likelihood_per_row"], training.get("elbo_per_row")
        facts += likelihoods(*figures, training["evaluated_on"])
    ending = "converged" if training.get("converged") else "not converged"
    steps = f"{training.get('steps', 0):,} steps, seed {training.get('seed', 0)}, {ending}"
    facts.append(("training", f"{steps}, gmvae {training.get('versions', {}).get('gmvae', '-')}"))
    return facts + [("warning", warning["sentence"]) for warning in training.get("warnings", [])]
