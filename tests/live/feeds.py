"""Feeds in this process: text in, text out, and what was said of broken lines."""

import json
import tempfile

import numpy as np
from filtering.models import block_model, random_model, random_rows

from gmvae_cli import checkpoint as files
from gmvae_cli.config import InferConfig, SeriesConfig
from gmvae_cli.live.follow import follow
from gmvae_cli.live_config import LiveConfig

CHOICES = ("novelty", "unknown", "only_regimes", "posterior", "min_dwell", "fail_under")


def model_file(folder, seed=3, name="model.safetensors", **kind):
    """A random model as a file, with columns x0, x1 .. and a time t whose usual step is 1."""
    path = folder / name
    files.save(str(path), random_model(seed, **kind))
    return path


def block_file(folder):
    """A model of blocks of 10 rows as a file."""
    path = folder / "blocks.safetensors"
    files.save(str(path), block_model(2, 10))
    return path


def follow_text(text, model, said=None, notes=None, **options):
    """What comes out for some text; sentences about broken lines go into the list `said`, codes into `notes`."""
    chosen = {name: options.pop(name) for name in CHOICES if name in options}
    live = {name: options.pop(name) for name in tuple(options) if name in LiveConfig.__dataclass_fields__}
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as target:
        source.write(text if isinstance(text, bytes) else text.encode())
        source.seek(0)
        try:
            follow(
                ["-"],
                str(model),
                "-",
                LiveConfig(follow=True, **live),
                InferConfig(**chosen),
                SeriesConfig(**options),
                not_possible={},
                on_error=[].append if said is None else said.append,
                on_note=lambda note: None if notes is None else notes.append(note.code),
                source=source.fileno(),
                target=target.fileno(),
            )
        finally:
            target.seek(0)
            follow_text.written = target.read().decode()
    return follow_text.written


def table(seed, rows, channels=2, series=1):
    """A feed as CSV: times with holes, missing cells, and series whose rows come in turn."""
    lines = [",".join(["t", "id", *(f"x{channel}" for channel in range(channels)), "note"])]
    parts = [random_rows(seed + number, rows // series, channels) for number in range(series)]
    for row in range(rows // series):
        for number, (values, steps) in enumerate(parts):
            time = int(np.maximum(steps[: row + 1], 1).sum())
            cells = ["" if np.isnan(value) else repr(float(value)) for value in values[row]]
            lines.append(",".join([str(time), f"m{number}", *cells, f"row {row}"]))
    return "\n".join([*lines, ""])


def as_json(text):
    """The rows of CSV without quotes as JSON objects."""
    header, *rows = (line.split(",") for line in text.splitlines())
    objects = []
    for row in rows:
        cells = dict(zip(header, row, strict=True))
        numbers = {name: float(cell) if cell else None for name, cell in cells.items() if name[0] in "tx"}
        objects.append(json.dumps(cells | numbers))
    return "\n".join([*objects, ""])


def body(text):
    """All lines but the header."""
    return text.split("\n", 1)[1]
