"""Figure of a labelled series: places the axes and draws on each."""

import logging
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gmvae_cli.errors import ConfigError
from gmvae_cli.plotting import artists
from gmvae_cli.plotting.plot_data import Panel, PlotData
from gmvae_cli.regime_names import UNKNOWN
from gmvae_cli.system.storage import without_options

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
_DOTS_PER_INCH = 150
_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 12.0, 1.35, 0.4, 0.5, 0.45  # inches: of the figure, and its margins
_MOST_NAMED = 20  # regimes of the legend
_NAMES_WIDTH, _PATCH, _LETTER, _LINE = 7.5, 0.42, 0.062, 0.16  # inches: of the legend, its patches, letters, lines
_STRIP, _SPACE, _BETWEEN = 0.14, 0.06, 0.55  # inches: height of the true labels, space between axes, between panels


def format_of(path: str) -> str:
    """Return png, svg or pdf, by the suffix of the file name."""
    for suffix in FORMATS:
        if without_options(path).lower().endswith(suffix):
            return suffix[1:]
    raise ConfigError(f"{path}: the name ends in none of {', '.join(FORMATS)}, so the format is unknown")


def save(path: str, kind: str, data: PlotData) -> None:
    """Draw into a file, as png, svg or pdf; the same rows give the same bytes, whatever the user's settings."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it reports missing cache folders as warnings
    import matplotlib

    metadata: dict[str, None] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams |= {"svg.hashsalt": "gmvae", "hatch.linewidth": 0.8}
        warnings.simplefilter("ignore", UserWarning)  # letters that the font lacks are drawn as boxes
        draw(data).savefig(path, format=kind, metadata=metadata)


def draw(data: PlotData) -> "Figure":
    """Draw one series with axes for each channel, or several with a panel each."""
    from matplotlib.figure import Figure

    D, several = len(data.channels), len(data.panels) > 1
    height = min(2.4, max(0.7, 0.3 * D)) if several else min(1.9, max(0.62, 6 / D))
    heights = ([_STRIP] if len(data.truth) else []) + [height] * (1 if several else D) + [0.4 if several else 0.8]
    block = sum(heights) + _SPACE * (len(heights) - 1)
    present = sorted(set().union(*(data.regime_spans(panel).label.tolist() for panel in data.panels)))[:_MOST_NAMED]
    names = {regime: _short([*data.names, UNKNOWN][regime], 20) for regime in present}
    columns = min(len(present), 10, max(1, int(_NAMES_WIDTH / (_PATCH + _LETTER * max(map(len, names.values()))))))
    above = _TOP + _LINE * (-(-len(present) // columns) - 1)
    total = above + _BOTTOM + len(data.panels) * block + (len(data.panels) - 1) * _BETWEEN
    figure = Figure(figsize=(_WIDTH, total), dpi=_DOTS_PER_INCH)
    top = total - above
    for panel in data.panels:
        axes = []
        for inches in heights:
            box = (_LEFT / _WIDTH, (top - inches) / total, (_WIDTH - _LEFT - _RIGHT) / _WIDTH, inches / total)
            axes.append(figure.add_axes(box))
            top -= inches + _SPACE
        top -= _BETWEEN - _SPACE
        _draw_panel(data, panel, axes, several)
    legend = figure.legend(
        handles=artists.legend(names),
        loc="upper right",
        bbox_to_anchor=(1 - _RIGHT / _WIDTH, 1 - 0.02 / total),
        ncols=columns,
        fontsize=8,
        frameon=False,
        borderaxespad=0.2,
        columnspacing=1.2,
        handlelength=1.2,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    if not several:
        figure.text(_LEFT / _WIDTH, 1 - (above - 0.2) / total, _short(data.name, 60), fontsize=9, parse_math=False)
    return figure


def _draw_panel(data: PlotData, panel: Panel, axes: Sequence["Axes"], several: bool) -> None:
    columns, step, spans = panel.columns, data.step, data.regime_spans(panel)
    end = max(float(spans.stops(step)[-1]), float(columns.first[0]) + 1e-9)
    for axis in axes:
        axis.set_xlim(float(columns.first[0]), end)
        axis.tick_params(labelsize=7, labelbottom=False, bottom=False)
        axis.spines[["top", "right"]].set_visible(False)
    drawn = list(axes)
    if len(data.truth):
        strip = drawn.pop(0)
        artists.shade(strip, data.truth_spans(panel), step, full=True, unlabelled=-1)
        artists.name(strip, data.true_spans(panel), step, data.truth_names)
        strip.set_yticks([])
        strip.spines[:].set_visible(False)
        _name(strip, "truth")
    *channel_axes, lower = drawn
    for axis in channel_axes:
        artists.shade(axis, spans, step)
    if several:
        _draw_lanes(data, panel, channel_axes[0])
        axes[0].set_title(_short(panel.name, 60), loc="left", fontsize=9, pad=3, parse_math=False)
    else:
        for channel, axis in enumerate(channel_axes):
            artists.line(axis, columns, channel)
            axis.locator_params(axis="y", nbins=4)
            axis.yaxis.get_offset_text().set_fontsize(7)
            _name(axis, data.channels[channel])
    if panel.regimes is not None:
        artists.number(channel_axes[0], spans, step, panel.first_segment)
    pixels = lower.get_position().width * _WIDTH * _DOTS_PER_INCH
    coarse = columns.at_width((end - float(columns.first[0])) / pixels)
    artists.stack(lower, coarse, data.probs(coarse), step)
    _name(lower, "probability" if data.has_probs else "regime")
    lower.tick_params(labelbottom=True, bottom=True)
    _time_axis(lower, data)


def _draw_lanes(data: PlotData, panel: Panel, axes: "Axes") -> None:
    """Draw all channels of a series on one pair of axes, each in a lane scaled to its range."""
    D = len(data.channels)
    for channel in range(D):
        low, high = panel.columns.low[:, channel], panel.columns.high[:, channel]
        lowest, highest = (np.nanmin(low), np.nanmax(high)) if np.isfinite(low).any() else (0.0, 1.0)
        scale = (highest - lowest) / 0.9 or 1.0
        lane = D - 1 - channel + 0.05
        artists.line(axes, panel.columns, channel, mean=lowest - lane * scale, scale=scale)
    axes.set_ylim(0, D + 0.35)  # room for the numbers of the segments
    axes.set_yticks(np.arange(D)[::-1] + 0.5, [_short(name, 14) for name in data.channels], parse_math=False)
    axes.tick_params(left=False)


def _time_axis(axes: "Axes", data: PlotData) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    if data.is_date:
        locator = AutoDateLocator(minticks=4, maxticks=12)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    else:
        axes.ticklabel_format(axis="x", style="plain", useOffset=False)
    axes.xaxis.get_offset_text().set_fontsize(7)
    axes.set_xlabel(_short(data.time or "row", 60), fontsize=8, labelpad=2, parse_math=False)


def _name(axes: "Axes", name: str) -> None:
    axes.set_ylabel(_short(name, 14), rotation=0, ha="right", va="center", fontsize=8, labelpad=4, parse_math=False)
    axes.yaxis.set_label_coords(-0.05, 0.5)


def _short(name: str, length: int) -> str:
    return name if len(name) <= length else f"{name[: length - 3]}..."
