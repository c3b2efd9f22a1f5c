"""The choices about a model that the user leaves to the data: made before training, from the whole recording."""

from collections.abc import Callable
from dataclasses import replace

from gmvae_cli.config import TrainConfig
from gmvae_cli.data.lagged_rows import training_rows
from gmvae_cli.data.series_data import SeriesData
from gmvae_cli.data.steps import duration_rows, shortest_visit
from gmvae_cli.errors import Note
from gmvae_cli.selection import multiscale, sampling_rate
from gmvae_cli.system.progress import Progress
from gmvae_cli.training.diagnostics import check_data
from gmvae_cli.training.given_labels import require_regimes
from gmvae_cli.training.sampling import SAMPLE_ROWS, require_rows
from gmvae_cli.training.trained_model import Start

OnNote = Callable[[Note], None]


def make_choices(
    config: TrainConfig, data: SeriesData, progress: Progress, on_note: OnNote | None = None
) -> tuple[TrainConfig, Start]:
    """Return a configuration that leaves nothing open, and where training starts.

    Args:
        on_note: called with each property of the data that may mislead the comparison, before it starts.
    Raises:
        SeriesError: too few rows for the smallest model that the configuration allows, or fewer regimes than are known.
    """
    if config.min_dwell is None:
        return _chosen(config, data, progress, on_note)
    rows = shortest_visit(config.min_dwell, data.step, data.unit_seconds)
    lasting = replace(config, model=replace(config.model, shortest_visit=rows))  # checked before the long comparison
    chosen, start = _chosen(lasting, data, progress, on_note)
    joined = rows > 1 or chosen.model.join_passages
    return replace(chosen, model=replace(chosen.model, shortest_visit=rows, join_passages=joined)), start


def _chosen(
    config: TrainConfig, data: SeriesData, progress: Progress, on_note: OnNote | None
) -> tuple[TrainConfig, Start]:
    """Make the choices of `make_choices`, but for the shortest visit."""
    search, model = config.search, config.model
    require_regimes(data, model.regimes if search is None else search.regimes)
    if search is None:
        return config, Start(dwell=dwell_rows(config, data))
    if search.time_scale is None:
        require_rows(training_rows(data, model), config)  # the comparison takes long and would end at the same error
        if on_note is not None:
            for note in data_notes(data, config):
                on_note(note)
        chosen, start = multiscale.choose(data, search.regimes, dwell_rows(config, data), config, progress)
        return replace(config, model=chosen, search=None), start
    if search.block_rows is None:
        model = replace(model, summarize=sampling_rate.rows_per_block(data.rows))
    if search.stride is None and model.summarize == 1 and model.lags:
        model = replace(model, stride=sampling_rate.stride(data))
    config = replace(config, model=model, search=None)
    return config, Start(dwell=dwell_rows(config, data))


def data_notes(data: SeriesData, config: TrainConfig) -> list[Note]:
    """Warn of properties of the rows, or of the first of very many, that may mislead the search and the model."""
    values, _ = data.read(0, min(data.rows, SAMPLE_ROWS))
    model = config.model
    regimes = 0 if config.search is not None and config.search.regimes is None else model.regimes
    notes = check_data(values, data.channels, sampling_rate.stride(data), regimes, model.lags)
    allowed_for = set() if model.noise == "normal" else {"heavy_tails"}
    if model.stride > 1 or model.summarize > 1:
        allowed_for.add("oversampled")
    if config.search is None and model.lags:  # an autoregression of the rows follows both
        allowed_for |= {"trend", "unit_root"}
    return [note for note in notes if note.code not in allowed_for]


def dwell_rows(config: TrainConfig, data: SeriesData) -> float | None:
    """Return the expected dwell in rows of the model, which may be blocks of the recording's; None if none is given."""
    if config.expect_dwell is None:
        return None
    rows = duration_rows(config.expect_dwell, data.step, data.unit_seconds, "expect-dwell")
    return max(1.0, rows / config.model.summarize)
