"""Advice on times that repeat or go back: which option reads them, as far as the first rows of the file show."""

import shlex
from collections.abc import Mapping

import numpy as np

from gmvae_cli.recognition import names
from gmvae_cli.recognition.column_facts import ColumnFacts
from gmvae_cli.recognition.time_choice import columns_apart

_HOUR = 3600.0  # by which clocks are set back in autumn


def options_for_repeats(time: str, facts: Mapping[str, ColumnFacts]) -> list[str]:
    """Return what each option would do that reads a time which comes twice."""
    hours = [name for name in facts if names.calendar_part(name) == "hour"] if time in facts else []
    joined = [f"--time {shlex.quote(f'{time},{name}')} joins it with '{name}'" for name in hours[:1]]
    return [*_apart(time, facts), *joined, "--no-time ignores times"]


def options_for_disorder(time: str, facts: Mapping[str, ColumnFacts], back: float | None) -> list[str]:
    """Return what each option would do that reads times which go back.

    Args:
        back: seconds from one row back to the next; None where the times are numbers.
    """
    options = _apart(time, facts)
    is_span = time in facts and (facts[time].holds_durations or facts[time].holds_clocks)
    if not options and back is not None and 0 < back <= _HOUR and not is_span:
        options = ["--timezone ZONE reads local times whose clock was set back"]
    if not options:
        order = facts[time].order if time in facts else None
        if order is None or len(np.unique(order)) == len(order):
            options = ["--sort sorts"]
    return [*options, "--no-time ignores times"]


def _apart(time: str, facts: Mapping[str, ColumnFacts]) -> list[str]:
    """Name the column that tells series apart, if the times of each ascend."""
    if time not in facts:
        return []
    for name in columns_apart(time, facts)[:1]:
        groups = facts[name].groups
        assert groups is not None, "it tells series apart"
        comes_back = int((np.diff(groups) != 0).sum()) + 1 > len(np.unique(groups))
        return [f"--series {shlex.quote(name)} {'with --sort ' if comes_back else ''}reads a series for each '{name}'"]
    return []
