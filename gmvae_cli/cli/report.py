"""The result of each command, on stdout: tables and facts for people, or one JSON object."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gmvae_cli.cli.formatting import (
    byte_size,
    clipped,
    columns_read,
    count,
    listed,
    number,
    percent,
    print_facts,
    print_json,
    print_ribbon,
    print_table,
    rare,
    rows,
    score_number,
)
from gmvae_cli.cli.regime_report import print_regimes
from gmvae_cli.cli.terminal import Terminal, plain
from gmvae_cli.regime_names import merged

if TYPE_CHECKING:
    from gmvae_cli.commands.dry_run import Plan
    from gmvae_cli.commands.evaluate import EvaluateResult
    from gmvae_cli.commands.infer import InferResult
    from gmvae_cli.commands.plot import PlotResult
    from gmvae_cli.commands.segment import SegmentResult
    from gmvae_cli.commands.select import SelectResult
    from gmvae_cli.commands.simulate import SimulateResult
    from gmvae_cli.commands.train import TrainResult
    from gmvae_cli.metrics.segments import Ribbon
    from gmvae_cli.training.given_labels import KnownSummary

WIDEST_CONFUSION = 10  # labels; --json has the matrix of any size

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
    if not for_people(result, terminal):
        return
    numbers = enumerate(zip(result.shares, result.expected_dwell, result.spectral_radius, strict=True))
    shown = 4 if any(result.spectral_radius) else 3  # without lags it is 0
    print_table(
        ("regime", "share", "expected dwell", "spectral radius")[:shown],
        [(str(k), percent(share), rows(dwell), number(radius, 3))[:shown] for k, (share, dwell, radius) in numbers],
    )
    print_facts(
        ("written to", result.output),
        ("rows", f"{result.rows:,} in {count(result.series, 'series', 'series')}, {result.segments:,} visits"),
        ("time", f"{result.seconds:.1f} s, {result.rows_per_second:,.0f} rows/s"),
        *([("model", result.truth)] if result.truth else []),
    )


def train(result: "TrainResult", terminal: Terminal) -> None:
    """Print the regimes found, and how well the model explains the rows."""
    if not for_people(result, terminal, leave_out=() if result.known else ("known",)):
        return
    ending = "converged" if result.converged else "not converged"
    resumed = ", resumed" if result.resumed else ""
    speed = f"{result.seconds:.1f} s, {result.rows_per_second:,.0f} rows/s"
    _print_regimes(result.shares, result.expected_dwell, result.names)
    print_facts(
        *likelihoods(result.log_likelihood_per_row, result.elbo_per_row, result.evaluated_on),
        ("rows", f"{result.rows:,}"),
        *columns_read(result.columns),
        ("modelled as", modelled_as(result.summarize, result.stride, result.evidence_scale)),
        *_labels_kept(result.known),
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
    if not for_people(result, terminal, leave_out=("ribbon", "missed")):
        return
    print_regimes(result.profile, result.time_unit)
    _print_ribbon(result.ribbon, result.names, terminal)
    log_likelihood = number(result.log_likelihood_per_row, 4)
    trained = number(result.training_log_likelihood_per_row, 4)
    print_facts(
        (
            "written to",
            ", ".join(
                filter(None, (result.output, result.segments_file, result.summary, result.metrics, result.manifest))
            ),
        ),
        ("rows", f"{result.rows:,} in {count(result.segments, 'segment', 'segments')}"),
        *columns_read(result.columns),
        *([("files", _files(result))] if _handled(result) != 1 else []),
        ("log-likelihood", f"{log_likelihood} per row in data units; in training {trained}"),
        *_novelty(result),
        ("time", f"{result.seconds:.1f} s"),
    )


def segment(result: "SegmentResult", terminal: Terminal) -> None:
    """Print the regimes found and how the rows were modelled; on stderr where the rows went to stdout."""
    _warn(result, terminal)
    if result.output == "-":
        regimes = count(result.regimes, "regime", "regimes")
        terminal.note(f"{result.rows:,} rows labelled, {regimes} in {count(result.segments, 'segment', 'segments')}")
        return
    if not for_people(result, terminal, leave_out=("ribbon",) if result.known else ("ribbon", "known")):
        return
    agreement = "not computed: the likelihood chose the labels"
    if result.agreement is not None:
        agreement = f"{number(result.agreement, 2)} with the labels at every time scale tried; 1 is the same labels"
    written = (result.output, result.model, result.plot, result.segments_file)
    print_regimes(result.profile, result.time_unit)
    _print_ribbon(result.ribbon, result.names, terminal)
    print_facts(
        ("written to", ", ".join(name for name in written if name)),
        *([("files", f"{result.files:,}")] if result.files > 1 else []),
        ("rows", f"{result.rows:,} in {count(result.segments, 'segment', 'segments')}"),
        *columns_read(result.columns),
        ("modelled as", modelled_as(result.summarize, result.stride, result.evidence_scale)),
        *_labels_kept(result.known),
        *([("choice", result.reason)] if result.reason else []),
        ("agreement", agreement),
        *_novelty(result),
        ("time", f"{result.seconds:.1f} s"),
    )


def evaluate(result: "EvaluateResult", terminal: Terminal) -> None:
    """Print the scores, and one line on stderr for every gate that was missed."""
    if for_people(result, terminal, leave_out=("missed",)):
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
    if not for_people(result, terminal):
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


def plot(result: "PlotResult", terminal: Terminal) -> None:
    """Print what was drawn."""
    if not for_people(result, terminal):
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
    if not for_people(result, terminal, leave_out=() if result.known else ("known",)):
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
        *(
            [("known", ", ".join(f"{name} {rows:,} rows" for name, rows in result.known.items()))]
            if result.known
            else []
        ),
        ("gaps", f"{count(result.holes, 'hole', 'holes')}, {count(result.breaks, 'break', 'breaks')}"),
        ("memory", f"about {byte_size(result.memory_bytes)}"),
        ("scratch", f"{scratch} in {result.scratch_folder}, {free} free"),
        ("time", f"about {max(result.seconds, 1):.0f} s"),
    )


def for_people(result: Any, terminal: Terminal, leave_out: Sequence[str] = ()) -> bool:
    """Print the warnings, and the result as JSON if that is asked for; return whether it is not."""
    _warn(result, terminal)
    if terminal.as_json:
        print_json(result, leave_out)
    return not terminal.as_json


def _warn(result: Any, terminal: Terminal) -> None:
    terminal.close()
    for warning in getattr(result, "warnings", ()):
        terminal.warning(warning)


def _print_regimes(shares: Sequence[float], expected_dwell: Sequence[float], names: Sequence[str] = ()) -> None:
    print_table(
        ("regime", "share", "expected dwell"),
        [(regime_label(k, names), percent(shares[k]), rows(expected_dwell[k])) for k in _used(names, len(shares))],
        left=(0,) if any(names) else (),
    )


def regime_label(number: int, names: Sequence[str]) -> str:
    """Show a regime by its number and, if it has one, its name."""
    return f"{number} {clipped(names[number])}" if names and names[number] else str(number)


def _used(names: Sequence[str], num_regimes: int) -> list[int]:
    """List the numbers of K regimes in use: of those with one name, the smallest."""
    return sorted(set(merged(names))) if names else list(range(num_regimes))


def _print_ribbon(ribbon: "Ribbon | None", names: Sequence[str], terminal: Terminal) -> None:
    if ribbon is not None and ribbon.rows and not (terminal.quiet or plain(sys.stdout)):
        print_ribbon(ribbon, names)


def likelihoods(log_likelihood: float | None, elbo: float | None, evaluated_on: str) -> list[tuple[str, str]]:
    """State how well a model explains rows, exactly and by its encoder alone; more is better."""
    named = _ROWS_NAMED[evaluated_on]
    return [
        ("log-likelihood", f"{number(log_likelihood, 4)} per row, on the {named}; higher is better"),
        ("encoder alone", f"{number(elbo, 4)} per row (ELBO), on the same rows"),
    ]


def modelled_as(block_rows: int, stride: int, evidence_scale: float) -> str:
    """Describe the rows as the model takes them."""
    unit = "rows" if block_rows == 1 else "blocks"
    taken = "rows as they are" if block_rows == 1 else f"blocks of {block_rows:,} rows"
    apart = "" if stride == 1 else f", lags {stride:,} {unit} apart"
    repeated = f"; neighbours repeat each other, so {number(evidence_scale, 1)} {unit} count as 1"
    return taken + apart + ("" if evidence_scale == 1 else repeated)


def _labels_kept(known: "KnownSummary | None") -> list[tuple[str, str]]:
    """State how many rows have known labels, and how many of these the model would label otherwise."""
    if known is None:
        return []
    names = listed([f"{label.name} ({label.regime})" for label in known.labels])
    differing = f"the model alone would label {known.differing:,} of them otherwise"
    return [("known", f"{known.rows:,} rows of {names}; {differing}")]


def _novelty(result: "InferResult | SegmentResult") -> list[tuple[str, str]]:
    """State how many rows are unlike the model and where they begin, as far as that was asked for."""
    facts = []
    if result.novel_share is not None:
        since = f", from {result.novel_since} on" if result.novel_since else ""
        facts.append(("novel", f"{rare(result.novel_share)} of the rows have a novelty above 6{since}"))
    if result.unknown_share is not None:
        facts.append(("unknown", f"{rare(result.unknown_share)} of the rows, which no regime explains"))
    return facts


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
