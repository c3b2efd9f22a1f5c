"""Figures of a run as metrics of Prometheus, in a file for the textfile collector of its node exporter (`--metrics`).

Each metric has the label `run`, the name of the file: the collector takes no two files that say the same of the same.
"""

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from gmvae_cli.checkpoint import Checkpoint
from gmvae_cli.config import InferConfig
from gmvae_cli.errors import ConfigError, GmvaeError, Note
from gmvae_cli.files.atomic import atomic
from gmvae_cli.outputs.file_records import FileRecord, Status
from gmvae_cli.outputs.label_totals import LabelTotals, training_log_likelihood

SUFFIX = ".prom"
MOST_FILES = 100  # with metrics of their own: each is a dozen time series, which Prometheus keeps for weeks

_OF_FILES = {
    "rows": "Rows labelled",
    "segments": "Segments labelled",
    "log_likelihood_per_row": "Mean log-likelihood of a row, nats in data units",
    "log_likelihood_above_training": "Mean log-likelihood of a row, less that of the rows of training, nats",
    "novel_share": "Share of the rows whose novelty is above 6",
    "unknown_share": "Share of the rows that no regime explains",
}


def require_metrics(path: str) -> None:
    """Check that metrics can be written, before long work.

    Raises:
        ConfigError: a name that the collector would pass over. GmvaeError: the package is not installed.
    """
    if not path.endswith(SUFFIX):
        raise ConfigError(f"--metrics is '{path}', but the node exporter reads names that end in {SUFFIX} alone")
    try:
        import prometheus_client  # noqa: F401
    except ModuleNotFoundError:
        message = "--metrics needs the package prometheus_client, which is not installed; pip install 'gmvae[metrics]'"
        raise GmvaeError(message) from None


def write_metrics(
    path: str,
    checkpoint: Checkpoint,
    config: InferConfig,
    totals: LabelTotals,
    records: Sequence[FileRecord],
    notes: Sequence[Note],
    seconds: float,
) -> None:
    """Write the metrics of a run, and those of its files where they are few.

    Args:
        config: says what was asked for. totals: over the rows labelled. records: of all files.
        notes: warnings. seconds: that the run took.
    """
    from prometheus_client import generate_latest

    metrics = _Metrics(os.path.basename(path).removesuffix(SUFFIX))
    metrics.add("last_run_timestamp_seconds", "When the run ended", time.time())
    metrics.add("run_duration_seconds", "How long the run took", seconds)
    for status in get_args(Status):
        count = sum(record.status == status for record in records)
        metrics.add("files", "Files of the run, by what became of them", count, status=status)
    metrics.add("rows", "Rows labelled", totals.rows)
    metrics.add("segments", "Segments labelled", totals.segments)
    mean, training = totals.log_likelihood_per_row, training_log_likelihood(checkpoint)
    above = None if mean is None or training is None else mean - training
    metrics.add("log_likelihood_per_row", _OF_FILES["log_likelihood_per_row"], mean)
    metrics.add("log_likelihood_above_training", _OF_FILES["log_likelihood_above_training"], above)
    metrics.add("novel_rows", "Rows whose novelty is above 6", totals.novel if totals.judged else None)
    metrics.add("judged_rows", "Rows whose novelty is known", totals.judged or None)
    metrics.add("unknown_rows", "Rows that no regime explains", totals.unknown if config.unknown is not None else None)
    if totals.rows:
        used = sorted(set(checkpoint.merged.tolist()))
        metrics.add_shares("regime_share", {regime: totals.shares[regime] for regime in used}, checkpoint)
    for code, count in sorted(Counter(note.code for note in notes).items()):
        metrics.add("warnings", "Warnings of the run, by code", count, code=code)
    for record in records if len(records) <= MOST_FILES else ():
        metrics.add(
            "file_failed", "Whether the file could not be labelled", record.status == "failed", file=record.file
        )
        for name, meaning in _OF_FILES.items():
            metrics.add(f"file_{name}", meaning, getattr(record, name), file=record.file)
        metrics.add_shares("file_regime_share", record.shares, checkpoint, file=record.file)
    with atomic(path) as temporary, open(temporary, "wb") as file:
        file.write(generate_latest(metrics.registry))


class _Metrics:
    """Gauges of one run, by name."""

    def __init__(self, run: str) -> None:
        from prometheus_client import CollectorRegistry

        self.registry = CollectorRegistry()
        self._run, self._gauges = run, dict[str, Any]()

    def add(self, metric: str, meaning: str, value: float | None, **labels: str) -> None:
        """Set a gauge; nothing where the value is not known."""
        from prometheus_client import Gauge

        if value is None:
            return
        if metric not in self._gauges:
            self._gauges[metric] = Gauge(f"gmvae_{metric}", f"{meaning}.", ["run", *labels], registry=self.registry)
        self._gauges[metric].labels(run=self._run, **labels).set(value)

    def add_shares(self, metric: str, shares: Mapping[int, float], checkpoint: Checkpoint, **labels: str) -> None:
        """Set the shares of regimes, which have their number and their name as labels."""
        for regime, share in shares.items():
            text = checkpoint.names[regime] if checkpoint.names else ""
            self.add(metric, "Share of the rows in a regime", share, **labels, regime=str(regime), name=text)
