"""Odd files as feeds: a line is labelled as the file is, or the feed ends with one line; never otherwise."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from cases import CASES, Read
from filtering.models import random_model
from live.feeds import follow_text
from random_models import collected

from gmvae_cli import checkpoint as files
from gmvae_cli.config import SeriesConfig
from gmvae_cli.errors import GmvaeError
from gmvae_cli.files.series_reader import open_series

FEWEST = 240  # that are labelled as the file is


def labels(text, regimes=3):
    """The probabilities of labelled rows, whatever stands between their cells."""
    header = text.split("\n", 1)[0]
    delimiter = next(mark for mark in ",\t;|" if "prob_0" in next(csv.reader([header], delimiter=mark)))
    names, *rows = csv.reader(io.StringIO(text), delimiter=delimiter)
    first = names.index("prob_0")
    return np.array([[float(cell.replace(",", ".")) for cell in row[first : first + regimes]] for row in rows])


@pytest.mark.slow
def test_an_odd_file_is_labelled_as_a_file_is_or_ends_the_feed(tmp_path):
    source, model, alike = tmp_path / "rows.csv", tmp_path / "model.safetensors", 0
    for name, case in CASES.items():
        if not isinstance(case.expected, Read) or case.suffix != ".csv" or case.options.get("sort"):
            continue
        source.write_bytes(case.content)
        reader = open_series([str(source)], SeriesConfig(**case.options))
        with reader.read_data() as data:
            layout = reader.layout
            training = {"time": layout.time, "series": layout.series, "reading": layout.reading()}
            training |= {"step": data.step, "time_unit": data.time_unit}
            checkpoint = random_model(1, D=len(data.channels), training=training)
            checkpoint = replace(checkpoint, channels=data.channels)
            files.save(str(model), checkpoint)
            probs = collected(data, checkpoint, "filter", 64)[1]
        options = {option: value for option, value in case.options.items() if option != "channels"}
        try:
            out = follow_text(case.content, model, digits=17, **options)
        except GmvaeError:
            continue
        np.testing.assert_allclose(labels(out), probs, rtol=0, atol=1e-9, err_msg=name)
        alike += 1
    assert alike >= FEWEST
