"""`gmvae plot`: draw a labelled file."""

import time
from dataclasses import dataclass

from gmvae_cli.config import SeriesConfig
from gmvae_cli.errors import Note
from gmvae_cli.files.atomic import atomic
from gmvae_cli.plotting import figure, labelled_file
from gmvae_cli.system.progress import Progress


@dataclass(frozen=True, kw_only=True)
class PlotResult:
    """The content of the picture: `series_drawn` of `series`, and these channels."""

    output: str
    rows: int
    series: int
    series_drawn: int
    channels: list[str]
    regimes: int
    segments: int
    seconds: float
    warnings: list[Note]


def plot(path: str, output: str, series: SeriesConfig, progress: Progress) -> PlotResult:
    """Draw a file that `infer` wrote; raise an error before it is read if the picture cannot be written."""
    started = time.perf_counter()
    kind = figure.format_of(output)
    with atomic(output) as temporary:
        data = labelled_file.read(path, series, progress)
        progress("draw", 0, 1)
        figure.save(temporary, kind, data)
    return PlotResult(
        output=output,
        rows=data.rows,
        series=data.num_series,
        series_drawn=len(data.panels),
        channels=list(data.channels),
        regimes=data.num_regimes,
        segments=data.segments,
        seconds=time.perf_counter() - started,
        warnings=list(data.notes),
    )
