"""The result of each command, on stdout: tables and facts for people, or one JSON object."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gmvae_cli.cli.formatting import (
    byte_size,
    clipped,
    columns_read,
    count,
    duration,
    listed,
    number,
    percent,
    print_facts,
    print_json,
    print_ribbon,
    print_table,
    rows,
    score_number,
    short_number,
)
from gmvae_cli.cli.terminal import Terminal, plain

if TYPE_CHECKING:
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

WIDEST_CONFUSION = 10  # labels; --json has the matrix of any size
WIDEST_WEIGHTS = 4  # lags times channels of the table of AR weights; --json has all of them

_ROWS_NAMED = {"validation": "held-out rows", "train": "rows trained on"}
_SHORT = {"covariance": "cov."}
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
    ("change_point_f1", "mean of these two, harmonic"),
    ("hausdorff", "rows to the farthest change"),
    ("log_likelihood_per_row", "in data units"),
    ("elbo_per_row", "in data units"),
)


def simulate(result: "SimulateResult", terminal: Terminal) -> None:
    """Print what was drawn; on stderr where the rows themselves went to stdout."""
    if result.output == "-":
        terminal.note(f"{result.rows:,} rows drawn, {result.series:,} series")
        return
    if not _for_people(result, terminal):
        return
    numbers = enumerate(zip(result.shares, result.expected_dwell, result.spectral_radius, strict=True))
    print_table(
        ("regime", "share", "expected dwell", "spectral radius"),
        [(str(k), percent(share), rows(dwell), number(radius, 3)) for k, (share, dwell, radius) in numbers],
    )
    print_facts(
        ("written to", result.output),
        ("rows", f"{result.rows:,} in {count(result.series, 'series', 'series')}, {result.segments:,} visits"),
        ("time", f"{result.seconds:.1f} s, {result.rows_per_second:,.0f} rows/s"),
        *([("model", result.truth)] if result.truth else []),
    )


def train(result: "TrainResult", terminal: Terminal) -> None:
    """Print the regimes found, and how well the model explains the rows."""
    if not _for_people(result, terminal):
        return
    ending = "converged" if result.converged else "not converged"
    resumed = ", resumed" if result.resumed else ""
    speed = f"{result.seconds:.1f} s, {result.rows_per_second:,.0f} rows/s"
    _print_regimes(result.shares, result.expected_dwell)
    print_facts(
        *_likelihoods(result.log_likelihood_per_row, result.elbo_per_row, result.evaluated_on),
        ("rows", f"{result.rows:,}"),
        *columns_read(result.columns),
        ("modelled as", _modelled_as(result.summarize, result.stride, result.evidence_scale)),
        ("training", f"{result.steps:,} steps{resumed}, {speed}, {ending}"),
    )


def infer(result: "InferResult", terminal: Terminal) -> None:
    """Print a summary of the labels; on stderr where the rows went to stdout, as are files that failed."""
    _warn(result, terminal)
    for sentence in (*result.failures, *result.missed):
        terminal.error(sentence)
    for sentence in result.failed_before:
        terminal.note(f"as before: {sentence}")
    if result.redone:
        terminal.note(f"{count(result.redone, 'output', 'outputs')} older than input or model, made again")
    if result.output == "-":
        terminal.note(f"{result.rows:,} rows labelled, {count(result.segments, 'segment', 'segments')}")
        return
    if not _for_people(result, terminal, leave_out=("ribbon", "missed")):
        return
    _print_regimes(result.shares, result.expected_dwell)
    _print_ribbon(result.ribbon, terminal)
    log_likelihood = number(result.log_likelihood_per_row, 4)
    trained = number(result.training_log_likelihood_per_row, 4)
    print_facts(
        ("written to", ", ".join(filter(None, (result.output, result.segments_file, result.manifest)))),
        ("rows", f"{result.rows:,} in {count(result.segments, 'segment', 'segments')}"),
        *columns_read(result.columns),
        *([("files", _files(result))] if _handled(result) != 1 else []),
        ("log-likelihood", f"{log_likelihood} per row in data units; in training {trained}"),
        ("time", f"{result.seconds:.1f} s"),
    )


def segment(result: "SegmentResult", terminal: Terminal) -> None:
    """Print the regimes found and how the rows were modelled; on stderr where the rows went to stdout."""
    _warn(result, terminal)
    if result.output == "-":
        regimes = count(result.regimes, "regime", "regimes")
        terminal.note(f"{result.rows:,} rows labelled, {regimes} in {count(result.segments, 'segment', 'segments')}")
        return
    if not _for_people(result, terminal, leave_out=("ribbon",)):
        return
    agreement = "not computed: the likelihood chose the labels"
    if result.agreement is not None:
        agreement = f"{number(result.agreement, 2)} with the labels at every time scale tried; 1 is the same labels"
    written = (result.output, result.model, result.plot, result.segments_file)
    _print_regimes(result.shares, result.expected_dwell)
    _print_ribbon(result.ribbon, terminal)
    print_facts(
        ("written to", ", ".join(name for name in written if name)),
        *([("files", f"{result.files:,}")] if result.files > 1 else []),
        ("rows", f"{result.rows:,} in {count(result.segments, 'segment', 'segments')}"),
        *columns_read(result.columns),
        ("modelled as", _modelled_as(result.summarize, result.stride, result.evidence_scale)),
        *([("choice", result.reason)] if result.reason else []),
        ("agreement", agreement),
        ("time", f"{result.seconds:.1f} s"),
    )


def evaluate(result: "EvaluateResult", terminal: Terminal) -> None:
    """Print the scores, and one line on stderr for every gate that was missed."""
    if _for_people(result, terminal, leave_out=("missed",)):
        scores = [(name, getattr(result, name), meaning) for name, meaning in _SCORES]
        print_table(
            ("score", "value", "meaning"),
            [
                (name, number(value, 1 if name == "hausdorff" else 4), meaning)
                for name, value, meaning in scores
                if value is not None
            ],
            left=(0, 2),
        )
        _print_confusion(result)
    for sentence in result.missed:
        terminal.error(sentence)


def select(result: "SelectResult", terminal: Terminal) -> None:
    """Print every candidate, the choice marked, and why; lags and covariance where they vary."""
    if not _for_people(result, terminal):
        return
    varying = [name for name in ("lags", "covariance") if len({row[name] for row in result.candidates}) > 1]
    print_table(
        ("K", *(_SHORT.get(name, name) for name in varying), "held-out", "below", "± SE", "BIC", "ARI", "rarest"),
        [
            (
                f"{'*' if candidate['chosen'] else ''} {candidate['regimes']}",
                *(str(candidate[name]) for name in varying),
                score_number(float(candidate["held_out_log_likelihood_per_row"])),
                score_number(float(candidate["difference"])),
                score_number(float(candidate["standard_error"])),
                f"{candidate['bic']:.0f}",
                number(float(candidate["agreement"]), 2),
                percent(float(candidate["smallest_share"])),
            )
            for candidate in result.candidates
        ],
    )
    rows_read = ("rows", f"{result.rows:,}")
    print_facts(
        ("choice", result.reason), rows_read, *columns_read(result.columns), ("time", f"{result.seconds:.1f} s")
    )


def inspect(result: "InspectResult", terminal: Terminal) -> None:
    """Print the regimes, how they follow one another, the channels in each, and how the model was trained."""
    if not _for_people(result, terminal):
        return
    _print_lasting(result)
    numbers = [str(regime.regime) for regime in result.regimes]
    moves = [[number(prob, 4) for prob in line] for line in result.transition_matrix.tolist()]
    _print_grid("from / to", numbers, numbers, moves)
    for title, name in (("mean", "mean"), ("std. dev.", "standard_deviation"), ("noise", "noise")):
        columns = [[short_number(value) for value in getattr(regime, name).tolist()] for regime in result.regimes]
        _print_grid(title, result.channels, numbers, [list(line) for line in zip(*columns, strict=True)])
    if len(result.channels) * result.configuration["lags"] <= WIDEST_WEIGHTS:
        _print_weights(result)
    print_facts(*_shape(result), *_origin(result))


def plot(result: "PlotResult", terminal: Terminal) -> None:
    """Print what was drawn."""
    if not _for_people(result, terminal):
        return
    print_facts(
        ("written to", result.output),
        ("rows", f"{result.rows:,} in {count(result.segments, 'segment', 'segments')}"),
        ("series", f"{result.series_drawn:,} of {result.series:,} drawn"),
        ("channels", listed(result.channels)),
        ("time", f"{result.seconds:.1f} s"),
    )


def plan(result: "Plan", terminal: Terminal) -> None:
    """Print what a run would read and need, and files that cannot be used on stderr."""
    for sentence in result.failures:
        terminal.error(sentence)
    if not _for_people(result, terminal):
        return
    print_table(
        ("channel", "missing cells", "share"),
        [(name, f"{cells:,}", percent(cells / max(result.rows, 1))) for name, cells in result.missing.items()],
    )
    failed = f", {len(result.failures):,} of them cannot be used" if result.failures else ""
    step = "" if result.step is None else f", a step of {result.step:g} {result.time_unit}"
    scratch, free = byte_size(result.scratch_bytes), byte_size(result.free_bytes)
    print_facts(
        *([("files", f"{result.files:,}{failed}")] if result.files > 1 else []),
        ("rows", f"{result.rows:,} in {count(result.series, 'series', 'series')}{step}"),
        *columns_read(result.columns),
        ("gaps", f"{count(result.holes, 'hole', 'holes')}, {count(result.breaks, 'break', 'breaks')}"),
        ("memory", f"about {byte_size(result.memory_bytes)}"),
        ("scratch", f"{scratch} in {result.scratch_folder}, {free} free"),
        ("time", f"about {max(result.seconds, 1):.0f} s"),
    )


def _for_people(result: Any, terminal: Terminal, leave_out: Sequence[str] = ()) -> bool:
    """Print the warnings, and the result as JSON if that is asked for; return whether it is not."""
    _warn(result, terminal)
    if terminal.as_json:
        print_json(result, leave_out)
    return not terminal.as_json


def _warn(result: Any, terminal: Terminal) -> None:
    terminal.close()
    for warning in getattr(result, "warnings", ()):
        terminal.warning(warning)


def _print_regimes(shares: Sequence[float], expected_dwell: Sequence[float]) -> None:
    regimes = enumerate(zip(shares, expected_dwell, strict=True))
    print_table(
        ("regime", "share", "expected dwell"), [(str(k), percent(share), rows(dwell)) for k, (share, dwell) in regimes]
    )


def _print_ribbon(ribbon: "Ribbon | None", terminal: Terminal) -> None:
    if ribbon is not None and ribbon.rows and not (terminal.quiet or plain(sys.stdout)):
        print_ribbon(ribbon)


def _likelihoods(log_likelihood: float | None, elbo: float | None, evaluated_on: str) -> list[tuple[str, str]]:
    """State how well a model explains rows, exactly and by its encoder alone; more is better."""
    named = _ROWS_NAMED[evaluated_on]
    return [
        ("log-likelihood", f"{number(log_likelihood, 4)} per row, on the {named}; higher is better"),
        ("encoder alone", f"{number(elbo, 4)} per row (ELBO), on the same rows"),
    ]


def _modelled_as(block_rows: int, stride: int, evidence_scale: float) -> str:
    """Describe the rows as the model takes them."""
    unit = "rows" if block_rows == 1 else "blocks"
    taken = "rows as they are" if block_rows == 1 else f"blocks of {block_rows:,} rows"
    apart = "" if stride == 1 else f", lags {stride:,} {unit} apart"
    repeated = f"; neighbours repeat each other, so {number(evidence_scale, 1)} {unit} count as 1"
    return taken + apart + ("" if evidence_scale == 1 else repeated)


def _handled(result: "InferResult") -> int:
    return result.files + result.skipped + len(result.failures) + len(result.failed_before)


def _files(result: "InferResult") -> str:
    skipped = f", {result.skipped:,} left as they were" if result.skipped else ""
    failed = f", {len(result.failures):,} failed" if result.failures else ""
    failed += f", {len(result.failed_before):,} failed before" if result.failed_before else ""
    return f"{result.files:,} labelled{skipped}{failed}"


def _print_confusion(result: "EvaluateResult") -> None:
    if result.confusion is None:
        print_facts(("rows", f"{result.rows:,}"))
        return
    if len(result.confusion[0]) <= WIDEST_CONFUSION:
        predicted = ["-" if label is None else label for label in result.labels_predicted or ()]
        counts = zip(result.labels_true or (), result.confusion, strict=True)
        print_table(
            ("true / predicted", *predicted), [(label, *(f"{cell:,}" for cell in line)) for label, line in counts]
        )
    print_facts(
        ("rows", f"{result.rows:,}, {result.unlabelled:,} of them without a true label"),
        ("segments", f"{result.segments_predicted:,} predicted, {result.segments_true:,} true"),
    )


def _print_lasting(result: "InspectResult") -> None:
    """Print each regime's share, and how it moves in time."""
    timed = any(regime.expected_dwell_time is not None for regime in result.regimes)
    print_table(
        ("regime", "share", "expected dwell", *(["in time"] if timed else []), "radius", "half-life", "period"),
        [
            (
                str(regime.regime),
                percent(regime.share),
                rows(regime.expected_dwell),
                *([duration(regime.expected_dwell_time, result.time_unit)] if timed else []),
                number(regime.spectral_radius, 3),
                rows(regime.half_life),
                rows(regime.dominant_period),
            )
            for regime in result.regimes
        ],
    )


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
            names.append(f"{regime.regime}: {name}")
            cells.append([*line, short_number(float(regime.ar_bias[channel]))])
    _print_grid("AR weights", names, [*headers, "bias"], cells)


def _shape(result: "InspectResult") -> list[tuple[str, str]]:
    shape = result.configuration
    regimes, lags = count(shape["regimes"], "regime", "regimes"), count(shape["lags"], "lag", "lags")
    intercept = "an intercept" if shape["intercept"] else "no intercept"
    facts = [
        ("model", f"{regimes}, {lags}, prior {shape['prior']}, covariance {shape['covariance']}, {intercept}"),
        ("modelled as", _modelled_as(shape["summarize"], shape["stride"], result.evidence_scale)),
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
        likelihoods = training["log_likelihood_per_row"], training.get("elbo_per_row")
        facts += _likelihoods(*likelihoods, training["evaluated_on"])
    ending = "converged" if training.get("converged") else "not converged"
    steps = f"{training.get('steps', 0):,} steps, seed {training.get('seed', 0)}, {ending}"
    facts.append(("training", f"{steps}, gmvae {training.get('versions', {}).get('gmvae', '-')}"))
    return facts + [("warning", warning["sentence"]) for warning in training.get("warnings", [])]
