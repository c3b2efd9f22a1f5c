"""The picture of a labelled file: where its axes stand, and what is drawn on each."""

import logging
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gmvae_cli.errors import ConfigError
from gmvae_cli.plotting import artists
from gmvae_cli.plotting.plot_data import Labelled, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
_DOTS_AN_INCH = 150
_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 12.0, 1.35, 0.4, 0.5, 0.45  # inches
_STRIP, _SPACE, _BETWEEN = 0.14, 0.06, 0.55


def format_of(path: str) -> str:
    """png, svg or pdf, by suffix."""
    for suffix in FORMATS:
        if path.lower().endswith(suffix):
            return suffix[1:]
    raise ConfigError(f"{path}: the name ends in none of {', '.join(FORMATS)}, so the format is unknown")


def save(path: str, kind: str, labelled: Labelled) -> None:
    """Draw the picture into a file, as png, svg or pdf. The same rows give the same bytes, whoever's settings hold."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it would tell of caches and folders that it misses
    import matplotlib

    metadata: dict[str, None] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams |= {"svg.hashsalt": "gmvae", "hatch.linewidth": 0.8}
        warnings.simplefilter("ignore", UserWarning)  # a letter in a name that the font lacks is drawn as a box
        draw(labelled).savefig(path, format=kind, metadata=metadata)


def draw(labelled: Labelled) -> "Figure":
    """The picture: of one series an axis for each channel, of several one panel each."""
    from matplotlib.figure import Figure

    D, several = len(labelled.channels), len(labelled.panels) > 1
    height = min(2.4, max(0.7, 0.3 * D)) if several else min(1.9, max(0.62, 6 / D))
    heights = ([_STRIP] if len(labelled.truth) else []) + [height] * (1 if several else D) + [0.4 if several else 0.8]
    block = sum(heights) + _SPACE * (len(heights) - 1)
    total = _TOP + _BOTTOM + len(labelled.panels) * block + (len(labelled.panels) - 1) * _BETWEEN
    figure = Figure(figsize=(_WIDTH, total), dpi=_DOTS_AN_INCH)
    top = total - _TOP
    for panel in labelled.panels:
        axes = []
        for inches in heights:
            box = (_LEFT / _WIDTH, (top - inches) / total, (_WIDTH - _LEFT - _RIGHT) / _WIDTH, inches / total)
            axes.append(figure.add_axes(box))
            top -= inches + _SPACE
        top -= _BETWEEN - _SPACE
        _draw_panel(labelled, panel, axes, several)
    present = sorted(set().union(*(labelled.spans(panel).label.tolist() for panel in labelled.panels)))
    figure.legend(
        handles=artists.legend(present[:20]),
        loc="upper right",
        bbox_to_anchor=(1 - _RIGHT / _WIDTH, 1 - 0.02 / total),
        ncols=min(len(present), 10),
        fontsize=8,
        frameon=False,
        borderaxespad=0.2,
        columnspacing=1.2,
        handlelength=1.2,
    )
    if not several:
        figure.text(_LEFT / _WIDTH, 1 - 0.3 / total, _short(labelled.name, 60), fontsize=9, parse_math=False)
    return figure


def _draw_panel(labelled: Labelled, panel: Panel, axes: Sequence["Axes"], several: bool) -> None:
    columns, step, spans = panel.columns, labelled.step, labelled.spans(panel)
    end = max(float(spans.stops(step)[-1]), float(columns.first[0]) + 1e-9)
    for axis in axes:
        axis.set_xlim(float(columns.first[0]), end)
        axis.tick_params(labelsize=7, labelbottom=False, bottom=False)
        axis.spines[["top", "right"]].set_visible(False)
    drawn = list(axes)
    if len(labelled.truth):
        strip = drawn.pop(0)
        artists.shade(strip, labelled.truth_spans(panel), step, full=True)
        strip.set_yticks([])
        strip.spines[:].set_visible(False)
        _name(strip, "truth")
    *channel_axes, lower = drawn
    for axis in channel_axes:
        artists.shade(axis, spans, step)
    if several:
        _draw_lanes(labelled, panel, channel_axes[0])
        axes[0].set_title(_short(panel.name, 60), loc="left", fontsize=9, pad=3, parse_math=False)
    else:
        for channel, axis in enumerate(channel_axes):
            artists.line(axis, columns, channel)
            axis.locator_params(axis="y", nbins=4)
            axis.yaxis.get_offset_text().set_fontsize(7)
            _name(axis, labelled.channels[channel])
    if panel.regimes.spans is not None:
        artists.number(channel_axes[0], spans, step, panel.first_segment)
    pixels = lower.get_position().width * _WIDTH * _DOTS_AN_INCH
    coarse = columns.at_width((end - float(columns.first[0])) / pixels)
    artists.stack(lower, coarse, labelled.probs(coarse), step)
    _name(lower, "probability" if labelled.has_probs else "regime")
    lower.tick_params(labelbottom=True, bottom=True)
    _time_axis(lower, labelled)


def _draw_lanes(labelled: Labelled, panel: Panel, axes: "Axes") -> None:
    """All channels of a series in one panel, each in a lane of its own, as high as its range in this panel."""
    D = len(labelled.channels)
    for channel in range(D):
        low, high = panel.columns.low[:, channel], panel.columns.high[:, channel]
        lowest, highest = (np.nanmin(low), np.nanmax(high)) if np.isfinite(low).any() else (0.0, 1.0)
        scale = (highest - lowest) / 0.9 or 1.0
        lane = D - 1 - channel + 0.05
        artists.line(axes, panel.columns, channel, mean=lowest - lane * scale, scale=scale)
    axes.set_ylim(0, D + 0.35)  # the numbers of the segments need room
    axes.set_yticks(np.arange(D)[::-1] + 0.5, [_short(name, 14) for name in labelled.channels], parse_math=False)
    axes.tick_params(left=False)


def _time_axis(axes: "Axes", labelled: Labelled) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    if labelled.is_date:
        locator = AutoDateLocator(minticks=4, maxticks=12)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    else:
        axes.ticklabel_format(axis="x", style="plain", useOffset=False)
    axes.xaxis.get_offset_text().set_fontsize(7)
    axes.set_xlabel(_short(labelled.time or "row", 60), fontsize=8, labelpad=2, parse_math=False)


def _name(axes: "Axes", name: str) -> None:
    axes.set_ylabel(_short(name, 14), rotation=0, ha="right", va="center", fontsize=8, labelpad=4, parse_math=False)
    axes.yaxis.set_label_coords(-0.05, 0.5)


def _short(name: str, length: int) -> str:
    return name if len(name) <= length else f"{name[: length - 3]}..."
