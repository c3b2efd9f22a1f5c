"""What in a recording will mislead a model of it, found before the model is trained."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Note = tuple[str, str]

_SAME = 0.999  # correlation above which two channels are one
_TREND = 0.9  # correlation with time
_WANDERING = 0.98  # correlation of a tenth of a percent of the rows with the next ones
_POINTS = 600
_FAR, _SPIKE_SHARE = 10.0, 0.001  # robust standard deviations; share of rows that far out
_ROWS_PER_NUMBER = 5


def check(values: Values, channels: tuple[str, ...], stride: int, regimes: int, lags: int) -> list[Note]:
    """Notes on a recording, (code, sentence).

    Args:
        values: (n, D), NaN is missing. stride: the one that `calibrate.stride` finds.
    """
    notes: list[Note] = []
    if stride > 1:
        sentence = f"rows hardly differ from one to the next; one in {stride} says as much (train --stride {stride})"
        notes.append(("oversampled", sentence))
    for column, name in zip(values.T, channels, strict=True):
        notes += _of_channel(column[~np.isnan(column)], name)
    notes += _duplicates(values, channels)
    n, D = values.shape
    needed = _ROWS_PER_NUMBER * regimes * (D * lags + 1 + (D + 1) / 2)
    if n < needed:
        sentence = (
            f"{n} rows are few for {regimes} regimes of {D} channels; {needed:.0f} would be safe, or fewer --regimes "
            "or --channels"
        )
        notes.append(("too_short", sentence))
    return notes


def _of_channel(values: NDArray[Any], name: str) -> list[Note]:
    if len(values) < 20:
        return []
    notes: list[Note] = []
    time = np.arange(len(values))
    if values.std() > 0 and abs(np.corrcoef(values, time)[0, 1]) > _TREND:
        sentence = f"channel '{name}' follows a trend; regimes may only divide it into early and late"
        notes.append(("trend", sentence))
    else:
        few = values[np.linspace(0, len(values) - 1, min(_POINTS, len(values))).astype(int)]
        now, before = few[1:], few[:-1]  # either may be constant where one value at an end is not
        if min(now.std(), before.std()) > 0 and np.corrcoef(now, before)[0, 1] > _WANDERING:
            notes.append(
                ("unit_root", f"channel '{name}' wanders as a sum of its steps would; its differences may say more")
            )
    steps = np.diff(values)
    spread = 1.4826 * np.median(np.abs(steps - np.median(steps)))
    far = np.where(np.abs(steps - np.median(steps)) > _FAR * spread, np.sign(steps), 0)
    spikes = (far[1:] * far[:-1] < 0).mean()  # out and back
    if spread > 0 and spikes > _SPIKE_SHARE:
        sentence = (
            f"{100 * spikes:.2g} % of the rows of channel '{name}' are spikes of over {_FAR:.0f} times a usual step; "
            "--noise student is made for that"
        )
        notes.append(("heavy_tails", sentence))
    return notes


def _duplicates(values: Values, channels: tuple[str, ...]) -> list[Note]:
    whole = values[~np.isnan(values).any(1)]
    if len(whole) < 20 or len(channels) < 2:
        return []
    spread = whole.std(0)
    standard = (whole - whole.mean(0)) / np.where(spread > 0, spread, 1)
    correlation = np.abs(standard.T @ standard) / len(whole)
    return [
        ("duplicate_channels", f"channels '{channels[i]}' and '{channels[j]}' say the same; one of them is enough")
        for i, j in np.argwhere(np.triu(correlation > _SAME, 1)).tolist()
    ]
