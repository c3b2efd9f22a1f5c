"""Drawing on given axes: shaded regimes, lines, stacked probabilities, numbers of segments.

A regime has the same colour in every picture: Tol's muted scheme for regimes 0 to 9, which colour-blind readers can
tell apart; from regime 10 on the colours repeat with hatching.                   [Tol 2021, SRON/EPS/TN/09-002]
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gmvae_cli.plotting.downsampling import Array, Columns, Spans

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch

PALETTE = (
    "#88CCEE",
    "#DDCC77",
    "#332288",
    "#117733",
    "#882255",
    "#999933",
    "#44AA99",
    "#CC6677",
    "#AA4499",
    "#BBBBBB",
)
_HATCHES = ("", "///", "...", "xxx")
_TINT = 0.5  # opacity behind lines; with 0.5 black lines and tints of eight regimes stay distinct (tests/plotting)
_INK = "#1A1A1A"
_DENSE = 700  # columns from which lines overlap: 1,500 pixels are 700 columns of two pixels
_DIGIT_PIXELS = 6.0  # width of a digit of 6.5 points at 100 dots per inch


def colour(regime: int) -> str:
    """Return the colour of a regime as #RRGGBB; from regime 10 on they repeat, and rows of none (-1) are dark."""
    return _INK if regime < 0 else PALETTE[regime % len(PALETTE)]


def hatch(regime: int) -> str:
    """Return the hatching that distinguishes regimes of one colour; none up to regime 9."""
    return _HATCHES[regime // len(PALETTE) % len(_HATCHES)]


def tint(regime: int) -> tuple[float, float, float]:
    """Return the colour behind lines, mixed with white rather than transparent, so that neighbours show no seam."""
    code = colour(regime)
    red, green, blue = (1 - _TINT + _TINT * int(code[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue


def shade(axes: "Axes", spans: Spans, step: float, *, full: bool = False, unlabelled: int | None = None) -> None:
    """Shade each span in its regime's colour over the whole height, as one collection per regime (`gid` "regime K").

    Args:
        step: length of a row, for spans before missing rows. full: no tint. unlabelled: a label that stays white.
    """
    stops = spans.stops(step)
    for regime in np.unique(spans.label[spans.label != unlabelled]).tolist():
        selected = spans.label == regime
        axes.broken_barh(
            list(zip(spans.first[selected], stops[selected] - spans.first[selected], strict=True)),
            (0, 1),
            transform=axes.get_xaxis_transform(),
            facecolor=colour(regime) if full else tint(regime),
            hatch=hatch(regime) or None,
            edgecolor="white",
            linewidth=0,
            zorder=0,
            gid=f"regime {regime}",
        )


def line(axes: "Axes", columns: Columns, channel: int, *, ink: str = _INK, mean: float = 0, scale: float = 1) -> None:
    """Draw a channel through the smallest and the largest value of each column, with gaps where values are missing.

    A value between two gaps is a dot. Values are drawn as (value - mean) / scale.
    """
    low, high = ((values[:, channel] - mean) / scale for values in (columns.low, columns.high))
    upward = np.arange(len(columns)) % 2 == 0  # alternate, so that the line between two columns is short
    pairs = np.stack([np.where(upward, low, high), np.where(upward, high, low)], axis=1)
    position = np.stack([columns.first, columns.first], axis=1)
    cuts = np.flatnonzero(columns.gap[1:]) + 1
    x = np.insert(position.ravel(), 2 * cuts, columns.first[cuts])
    y = np.insert(pairs.ravel(), 2 * cuts, np.nan)
    dense = len(columns) >= _DENSE  # the regimes show through lines that cover them
    width, alpha = (0.6, 0.6) if dense else (0.9, 1.0)
    axes.plot(x, y, color=ink, linewidth=width, alpha=alpha, zorder=2, gid=f"channel {channel}")
    known = np.isfinite(low)
    joined = known[1:] & known[:-1] & ~columns.gap[1:]
    alone = known & ~np.append(False, joined) & ~np.append(joined, False)
    if alone.any():
        axes.plot(columns.first[alone], low[alone], ".", color=ink, markersize=2.5, zorder=2)
        axes.vlines(columns.first[alone], low[alone], high[alone], color=ink, linewidth=width, zorder=2)


def stack(axes: "Axes", columns: Columns, probs: Array, step: float) -> None:
    """Stack the probabilities (C, K) of the regimes from 0 to 1; white where rows are missing."""
    stops = np.append(columns.first[1:], columns.last[-1] + step)
    before_gap = np.append(columns.gap[1:], False)
    stops[before_gap] = np.minimum(stops, columns.last + step)[before_gap]
    cuts = np.flatnonzero(before_gap)
    twice = np.repeat(cuts, 2)  # before missing rows: the last probabilities to their end, then none
    held = np.where((np.arange(len(twice)) % 2 == 0)[:, None], probs[twice], np.nan)
    x = np.insert(np.append(columns.first, stops[-1]), twice + 1, stops[twice])
    heights = np.insert(np.vstack([probs, probs[-1:]]), twice + 1, held, axis=0)
    edges = np.cumsum(np.column_stack([np.zeros(len(heights)), heights]), axis=1)
    for regime in range(probs.shape[1]):
        axes.fill_between(
            x,
            edges[:, regime],
            edges[:, regime + 1],
            step="post",
            facecolor=colour(regime),
            hatch=hatch(regime) or None,
            edgecolor="white",
            linewidth=0,
            gid=f"probability {regime}",
        )
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 1])
    bottom, top = axes.get_yticklabels()
    bottom.set_verticalalignment("bottom")
    top.set_verticalalignment("top")


def number(axes: "Axes", spans: Spans, step: float, first_number: int = 0) -> None:
    """Write the number of each segment at its top where it fits; the axes' limits must be set before."""
    done = -1
    middles, pixels = _room(axes, spans, step)
    for index in np.flatnonzero(pixels > 2 * _DIGIT_PIXELS):
        text = str(first_number + int(spans.segment[index]))
        if spans.segment[index] != done and pixels[index] > (len(text) + 1) * _DIGIT_PIXELS:
            done = spans.segment[index]
            _write(axes, middles[index], 0.97, text, "top", f"segment {text}")


def name(axes: "Axes", spans: Spans, step: float, names: Sequence[str]) -> None:
    """Write the name of each span's label into it where it fits; the axes' limits must be set before."""
    middles, pixels = _room(axes, spans, step)
    for index in np.flatnonzero((spans.label >= 0) & (pixels > 2 * _DIGIT_PIXELS)):
        text = names[spans.label[index]]
        if pixels[index] > (len(text) + 1) * _DIGIT_PIXELS:
            _write(axes, middles[index], 0.5, text, "center", f"name {text}")


def _room(axes: "Axes", spans: Spans, step: float) -> tuple[Array, Array]:
    """Return the middles of spans (S,), and their widths in pixels of 100 dots per inch."""
    left, right = axes.get_xlim()
    width = axes.get_position().width * axes.figure.bbox.width / (axes.figure.dpi / 100)
    stops = spans.stops(step)
    return (spans.first + stops) / 2, (stops - spans.first) / (right - left) * width


def _write(axes: "Axes", position: float, height: float, text: str, vertical: str, gid: str) -> None:
    axes.text(
        position,
        height,
        text,
        transform=axes.get_xaxis_transform(),
        ha="center",
        va=vertical,
        fontsize=6.5,
        color=_INK,
        zorder=3,
        clip_on=True,
        gid=gid,
        parse_math=False,
        bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "alpha": 0.6, "linewidth": 0},
    )


def legend(names: Mapping[int, str]) -> list["Patch"]:
    """Return a patch for each regime, with its name, for a legend."""
    from matplotlib.patches import Patch

    return [
        Patch(
            facecolor=colour(regime),
            hatch=hatch(regime) or None,
            edgecolor="white",
            linewidth=0,
            label=f" {text}" if text.startswith("_") else text,  # a legend leaves out labels that begin with _
        )
        for regime, text in names.items()
    ]
