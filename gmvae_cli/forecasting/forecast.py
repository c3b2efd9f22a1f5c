"""`gmvae forecast`: the rows that follow a series, by the law of its regime and of its channels."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gmvae_cli.checkpoint import Checkpoint, load
from gmvae_cli.config import SeriesConfig
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.errors import CheckpointError, Note
from gmvae_cli.files.atomic import require_apart, require_no_input, require_writable
from gmvae_cli.files.inputs import TEXT_SUFFIXES, expand, suffix_of
from gmvae_cli.files.series_reader import SeriesReader
from gmvae_cli.files.table_writer import TableWriter, writer
from gmvae_cli.filtering import filter_model
from gmvae_cli.filtering.filter_model import FilterModel
from gmvae_cli.forecast_config import ForecastConfig
from gmvae_cli.forecasting.forecast_table import forecast_rows
from gmvae_cli.forecasting.future_times import future_times
from gmvae_cli.forecasting.moments import Moments, forecast_moments
from gmvae_cli.forecasting.paths import simulate
from gmvae_cli.forecasting.series_ends import SeriesRows, ends_of, last_laws, series_of
from gmvae_cli.forecasting.series_state import LONGEST_GAP, SeriesState, state_of
from gmvae_cli.inference.apply import infer, open_for
from gmvae_cli.outputs.label_table import scratch_folder
from gmvae_cli.outputs.label_totals import note_on_step
from gmvae_cli.system.device import configure_process, device_of
from gmvae_cli.system.progress import Progress

Array = NDArray[np.float64]

SHOWN_SERIES = 3  # of which some rows are kept to be printed
_ROWS_AT_ONCE = 1 << 16  # that are written


@dataclass(frozen=True, kw_only=True)
class ForecastResult:
    """Figures of a forecast.

    `empty_series` counts those without a complete row, whose channels have no forecast; `gap_series` those that end in
    missing cells or rows. `time` is the column of the time. `shown` holds tables of the first series.
    """

    output: str
    rows: int
    series: int
    horizon: int
    paths: int
    regimes: int
    names: list[str]
    channels: list[str]
    time: str | None
    step: float | None
    time_unit: str | None
    gap_series: int
    empty_series: int
    columns: list[dict[str, Any]] = field(default_factory=list)
    seconds: float
    warnings: list[Note]
    shown: list[tuple[str, pa.Table]]


def forecast(
    inputs: Sequence[str],
    model_path: str,
    output: str,
    config: ForecastConfig,
    files: SeriesConfig,
    progress: Progress,
) -> ForecastResult:
    """Forecast the next rows of every series of a table, and write them.

    Raises:
        CheckpointError: the model describes blocks of rows, does not fit the table, or its rows grow without bound.
        SeriesError: a file cannot be used, or the output not be written. ConfigError: the output is an input.
    """
    started = time.perf_counter()
    configure_process()
    paths = [file.path for file in expand(inputs)]
    require_no_input([output], paths)
    if output != "-":
        require_apart({"--output": output}, [model_path])
    require_writable(output)
    checkpoint = load(model_path)
    if checkpoint.model.summarize > 1:
        raise CheckpointError(
            f"{model_path}: describes blocks of {checkpoint.model.summarize} rows, so it cannot forecast rows; "
            "train without --summarize"
        )
    device_of(config.device)
    model = filter_model.load(model_path)
    reader = open_for(inputs, files, checkpoint, model_path)
    how = replace(reader.config, digits=files.digits)
    delimiter = how.delimiter or (reader.delimiter if suffix_of(output) == ".csv" else None)
    with (
        writer(output, delimiter=delimiter, decimal=how.decimal, digits=how.digits) as rows,
        reader.read_data(scratch_folder(output), progress, keep_constant=True) as data,
    ):
        series, states, gaps = _states(reader, data, checkpoint, model, config, scratch_folder(output), progress)
        tables = _tables(reader, data, series, states, model, checkpoint, config, output, model_path, progress)
        shown = _write(rows, series, tables)
        notes = [*data.notes, *note_on_step(data, checkpoint)]
        empty = [rows for rows, state in zip(series, states, strict=True) if not state.lanes]
        return ForecastResult(
            output=output,
            rows=data.rows,
            series=len(series),
            horizon=config.horizon,
            paths=config.paths,
            regimes=model.config.regimes,
            names=list(model.names),
            channels=list(model.channels),
            time=reader.layout.time,
            step=_step(data, checkpoint),
            time_unit=data.time_unit,
            gap_series=gaps,
            empty_series=len(empty),
            columns=reader.columns(data),
            seconds=time.perf_counter() - started,
            warnings=[*notes, *_notes_on_ends(empty, gaps, len(series), model)],
            shown=shown,
        )


def _states(
    reader: SeriesReader,
    data: SeriesData,
    checkpoint: Checkpoint,
    model: FilterModel,
    config: ForecastConfig,
    directory: str | None,
    progress: Progress,
) -> tuple[list[SeriesRows], list[SeriesState], int]:
    """Filter the table; return its series, the state at the end of each, and how many end in missing cells or rows."""
    series = series_of(reader, data.rows)
    ends = list(ends_of(data, series, model))
    unmerged = replace(checkpoint, names=())
    with infer(data, unmerged, "filter", config.device, directory=directory, progress=progress) as posterior:
        laws = last_laws(posterior.blocks(), series, ends)
    states = [state_of(end, law, model) for end, law in zip(ends, laws, strict=True)]
    return series, states, sum(end.rows_behind > 0 for end in ends)


def _tables(
    reader: SeriesReader,
    data: SeriesData,
    series: Sequence[SeriesRows],
    states: Sequence[SeriesState],
    model: FilterModel,
    checkpoint: Checkpoint,
    config: ForecastConfig,
    output: str,
    model_path: str,
    progress: Progress,
) -> Iterator[pa.Table]:
    """Yield the forecast of each series."""
    is_typed, step = suffix_of(output) not in TEXT_SUFFIXES and output != "-", _step(data, checkpoint)
    for number, (rows, state) in enumerate(zip(series, states, strict=True)):
        progress("forecast", number, len(series))
        leading = list[tuple[str, Any]]()
        if rows.times is not None:
            name, regular = str(reader.layout.time), reader.config.regular
            cells = pa.nulls(config.horizon, pa.string())
            if step is not None:
                times = future_times(reader.layout, rows.times, step, config.horizon, regular=regular)
                cells = times.typed if is_typed and reader.format == "csv" else times.cells
            leading.append((name, cells))
        if reader.layout.series is not None:
            leading.append((reader.layout.series, pa.repeat(rows.name, config.horizon)))
        elif len(reader.files) > 1:
            leading.append(("series", pa.repeat(rows.file, config.horizon)))
        moments, quantiles = _forecast_series(model, state, config, number, model_path)
        yield forecast_rows(model, moments, quantiles, leading)
        progress("forecast", number + 1, len(series))


def _forecast_series(
    model: FilterModel, state: SeriesState, config: ForecastConfig, number: int, model_path: str
) -> tuple[Moments, Array | None]:
    """Compute moments and quantiles of one series, whose paths have a seed of their own."""
    if not state.lanes:
        return forecast_moments(model, state, config.horizon), None
    generator = np.random.default_rng([config.seed, number])
    with np.errstate(over="ignore", invalid="ignore"):
        paths = simulate(model, state, config.horizon, config.paths, generator)
        moments = forecast_moments(model, state, config.horizon, paths.inflation)
    has_spread = model.degrees is None or model.degrees > 2
    known = [paths.quantiles, moments.std] if has_spread else [paths.quantiles]
    if not all(np.isfinite(figures).all() for figures in known):
        raise CheckpointError(
            f"{model_path}: its rows grow without bound within {config.horizon:,} steps; shorten --horizon"
        )
    return moments, paths.quantiles


def _write(target: TableWriter, series: Sequence[SeriesRows], tables: Iterator[pa.Table]) -> list[tuple[str, pa.Table]]:
    """Write the tables of all series, many at once; return those of the first ones, with their names."""
    held, shown = list[pa.Table](), list[tuple[str, pa.Table]]()
    for rows, table in zip(series, tables, strict=True):
        if len(shown) < SHOWN_SERIES:
            shown.append((rows.file if rows.name is None else str(rows.name), table))
        held.append(table)
        if sum(map(len, held)) >= _ROWS_AT_ONCE:
            target.write(pa.concat_tables(held))
            held.clear()
    if held:
        target.write(pa.concat_tables(held))
    return shown


def _step(data: SeriesData, checkpoint: Checkpoint) -> float | None:
    """Return the usual time between rows: of the table, or where no series has two rows, of the training."""
    training = checkpoint.training
    if data.step is None and training.get("time_unit") == data.time_unit:
        return training.get("step")
    return data.step


def _notes_on_ends(empty: Sequence[SeriesRows], gaps: int, total: int, model: FilterModel) -> list[Note]:
    """Warn of series that end in missing cells, and of those that have no complete rows."""
    notes, whole = [], f" of {total:,} series" if total > 1 else ""
    if gaps:
        subject = f"{gaps:,}{whole} end" if total > 1 else "the series ends"
        sentence = f"{subject} in missing cells or rows; the forecast goes on from the last complete rows over these"
        notes.append(Note("ends_in_gap", sentence))
    if empty:
        name = f"series '{empty[0].name}'" if empty[0].name is not None else empty[0].file
        others = f" and {len(empty) - 1:,} more have" if len(empty) > 1 else " has"
        needed = max(model.config.context_rows, 1)
        rows = f"{needed:,} complete rows in a row" if needed > 1 else "complete row"
        sentence = (
            f"{name}{others} no {rows} within {LONGEST_GAP:,} rows of the end, so only regimes are forecast; "
            "its channels stay empty"
        )
        notes.append(Note("no_complete_rows", sentence))
    return notes
