"""`gmvae plot`: a labelled file as a picture."""

import time
from dataclasses import dataclass

from gmvae_cli.config import SeriesConfig
from gmvae_cli.files.table_writer import atomic
from gmvae_cli.plotting import figure, plot_data
from gmvae_cli.system.progress import Progress


@dataclass(frozen=True, kw_only=True)
class PlotResult:
    """What was drawn: `series_drawn` of `series`, and these channels."""

    output: str
    rows: int
    series: int
    series_drawn: int
    channels: list[str]
    regimes: int
    segments: int
    seconds: float
    warnings: list[dict[str, str]]


def plot(path: str, output: str, series: SeriesConfig, progress: Progress) -> PlotResult:
    """Draw what `infer` wrote. A picture that cannot be written is refused before the file is read."""
    started = time.perf_counter()
    kind = figure.format_of(output)
    with atomic(output) as temporary:
        found = plot_data.read(path, series, progress)
        progress("draw", 0, 1)
        figure.save(temporary, kind, found)
    return PlotResult(
        output=output,
        rows=found.rows,
        series=found.num_series,
        series_drawn=len(found.panels),
        channels=list(found.channels),
        regimes=found.num_regimes,
        segments=found.segments,
        seconds=time.perf_counter() - started,
        warnings=[{"code": code, "sentence": sentence} for code, sentence in found.warnings],
    )
