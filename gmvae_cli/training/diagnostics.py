"""Warnings: properties of a recording that may mislead a model, and properties of a model to be careful with."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gmvae_cli.checkpoint import Checkpoint
from gmvae_cli.errors import Note
from gmvae_cli.model import ar_dynamics
from gmvae_cli.training.fit import Fit

_Values = NDArray[np.float64]

# Of a recording. Measured on 200 simulated series of 5,000 rows each: of regimes that settle none has a trend, a unit
# root or duplicates, and 26 heavy tails; of random walks 152 have a unit root and 32 a trend; with 1 % of spikes all
# have heavy tails, and of Student t noise of 3 (5) degrees of freedom 10 (none).
_SAME_COLUMNS = 0.999  # correlation from which two channels carry one signal: the rest is 0.1 % of the variance
_TREND = 0.9  # correlation with time from which a line explains four fifths of the variance
_UNIT_ROOT = 0.98  # correlation of evenly spaced rows, at most 600 of them, with the next ones
_SPACED_ROWS = 600
# Of 240 clean series whose two regimes differ in spread by 3 and 10 none has spikes at 8, two at 7; with 1 % all have.
_SPIKE, _SPIKE_SHARE = 8.0, 0.001  # robust standard deviations of a step, out and back; share of such rows
# Rows in which a usual step is measured. Of 600 series of three regimes with standard deviations of 1 to 20, none with
# spikes, 66 have heavy tails by the usual step of the channel, 1 by that of neighbouring rows; with spikes all.
_LOCAL_ROWS = 20
_CODE_RANGES, _CODE_ROWS = 5.0, 2  # a value so many ranges (1 to 99 %) away, in so many rows, is a code; chosen
_NORMAL_MAD = 1.4826  # standard deviation of a Normal over its median absolute deviation
_FEWEST_VALUES = 20  # of a channel; fewer have no correlation worth a warning
_ROWS_PER_PARAMETER = 5  # then maximum likelihood loses about p / 2T = 0.1 nats a row on rows it has not seen

# Of a model; chosen, not measured. They only warn: no label and no parameter depends on them.
_RARE_SHARE = 0.01
_SAME_REGIMES = 0.01  # nats a row between the predictions of two regimes
_SHORT_VISIT = 3.0  # rows
_WIDE_GAP = 0.1  # nats a row
_SAME_NOISE = 1 - 1e-4  # correlation of the noise of two channels, in every regime
_FAR_FROM_ZERO = 100.0  # standard deviations: float32 then resolves 1e-5 of one
_LITTLE_AGREEMENT = 0.4  # root mean square ARI of a consensus with its labellings


# --- a recording -----------------------------------------------------------------------------------------------------


def check_data(values: _Values, channels: Sequence[str], stride: int, regimes: int, lags: int) -> list[Note]:
    """Find what in a recording may mislead a model of it.

    Args:
        values: (n, D), NaN is missing. stride: the one that `sampling_rate.stride` recommends.
        regimes: K of the model, 0 where it is not known yet.
    """
    notes = []
    if stride > 1:
        remedy = f"--stride {stride}" if lags else "--summarize auto"  # a stride is the distance of lags
        sentence = (
            f"consecutive rows are nearly equal; one row in {stride} holds as much: segment allows for it, with train "
            f"give {remedy}"
        )
        notes.append(Note("oversampled", sentence))
    for column, name in zip(values.T, channels, strict=True):
        notes += _channel_notes(column[~np.isnan(column)], name)
    notes += _duplicate_notes(values, channels)
    n, D = values.shape
    needed = _ROWS_PER_PARAMETER * regimes * (D * lags + 1 + (D + 1) / 2)
    if n < needed:
        sentence = (
            f"{n} rows are few for {regimes} regimes of {D} channels; {needed:.0f} would be safe: give more rows, or "
            "fewer --regimes or --channels"
        )
        notes.append(Note("too_short", sentence))
    return notes


def _channel_notes(values: NDArray[Any], name: str) -> list[Note]:
    """Find a trend, a unit root or spikes in the observed values of a channel."""
    if len(values) < _FEWEST_VALUES:
        return []
    notes = []
    if _has_trend(values):
        sentence = (
            f"channel '{name}' follows a trend, so regimes may only divide it into early and late; "
            "remove the trend, or leave the channel out"
        )
        notes.append(Note("trend", sentence))
    elif _has_unit_root(values):
        sentence = f"channel '{name}' drifts without returning to a level; try its changes from row to row"
        notes.append(Note("unit_root", sentence))
    code, rows = _missing_code(values)
    if rows:
        sentence = (
            f"channel '{name}' holds {code:.15g} in {rows} rows, far from all its other values; if that means "
            f"missing, give --na-values {code:.15g}"
        )
        return [*notes, Note("missing_code", sentence)]
    spikes = _spike_share(values)
    if spikes > _SPIKE_SHARE:
        sentence = (
            f"{100 * spikes:.2g} % of the rows of channel '{name}' are spikes of over {_SPIKE:.0f} times a usual step; "
            "if they are faults of measurement, use --noise student"
        )
        notes.append(Note("heavy_tails", sentence))
    return notes


def _has_trend(values: NDArray[Any]) -> bool:
    return bool(values.std() > 0 and abs(np.corrcoef(values, np.arange(len(values)))[0, 1]) > _TREND)


def _has_unit_root(values: NDArray[Any]) -> bool:
    spaced = values[np.linspace(0, len(values) - 1, min(_SPACED_ROWS, len(values))).astype(int)]
    now, before = spaced[1:], spaced[:-1]  # either may be constant where one value at an end is not
    return bool(min(now.std(), before.std()) > 0 and np.corrcoef(now, before)[0, 1] > _UNIT_ROOT)


def _spike_share(values: NDArray[Any]) -> float:
    """Compute the share of rows (n,) at which a channel jumps far out, to jump back in the next step.

    Far is far beside the steps of the neighbouring rows, and beside those of the whole channel.
    """
    steps = np.diff(values)
    sizes = np.abs(steps - np.median(steps))
    usual = np.median(sizes)
    whole = len(sizes) // _LOCAL_ROWS * _LOCAL_ROWS
    local = np.median(sizes[:whole].reshape(-1, _LOCAL_ROWS), axis=1)
    if whole < len(sizes):
        local = np.append(local, np.median(sizes[whole:]))
    padded = np.pad(local, 1, constant_values=usual)
    around = np.maximum.reduce([padded[:-2], padded[1:-1], padded[2:], np.full(len(local), usual)])
    std = _NORMAL_MAD * np.repeat(around, _LOCAL_ROWS)[: len(sizes)]
    far = np.where(sizes > _SPIKE * std, np.sign(steps), 0)
    return float((far[1:] * far[:-1] < 0).mean()) if usual > 0 else 0.0


def _missing_code(values: NDArray[Any]) -> tuple[float, int]:
    """Find a smallest or largest value (n,) that repeats far from all others, and its number of rows; 0 if none."""
    for code in (values.min(), values.max()):
        others, rows = values[values != code], int((values == code).sum())
        if _CODE_ROWS <= rows < len(values) / 2:
            low, middle, high = np.percentile(others, (1, 50, 99))
            if high > low and abs(code - middle) > _CODE_RANGES * (high - low):
                return float(code), rows
    return 0.0, 0


def _duplicate_notes(values: _Values, channels: Sequence[str]) -> list[Note]:
    observed = values[~np.isnan(values).any(1)]
    if len(observed) < _FEWEST_VALUES or len(channels) < 2:
        return []
    std = observed.std(0)
    standard = (observed - observed.mean(0)) / np.where(std > 0, std, 1)
    correlation = np.abs(standard.T @ standard) / len(observed)
    return [
        Note("duplicate_channels", f"channels '{channels[i]}' and '{channels[j]}' are nearly the same; leave one out")
        for i, j in np.argwhere(np.triu(correlation > _SAME_COLUMNS, 1)).tolist()
    ]


# --- a model ---------------------------------------------------------------------------------------------------------


def on_model(trained: Checkpoint, figures: dict[str, Any], mean: _Values) -> list[Note]:
    """Find regimes and channels of a model to be careful with.

    Args:
        figures: shares and expected_dwell of its regimes. mean: (D,) of the channels as they were.
    """
    emission, notes = trained.parameters.emission, []
    for regime, share in enumerate(figures["shares"]):
        if share < _RARE_SHARE:
            remedy = "try fewer --regimes"
            if trained.model.noise == "normal":
                remedy = f"if they are faults of measurement, use --noise student, otherwise {remedy}"
            sentence = f"regime {regime} holds only {100 * share:.2g} % of the rows; {remedy}"
            notes.append(Note("rare_regime", sentence))
    distances = ar_dynamics.divergence(emission.weights, emission.scale_tril)
    for i, j in (distances < _SAME_REGIMES).triu(1).nonzero().tolist():
        notes.append(Note("same_regimes", f"regimes {i} and {j} behave alike; try fewer --regimes"))
    for regime, radius in enumerate(ar_dynamics.spectral_radius(emission.ar_weights(trained.model.lags)).tolist()):
        if radius >= 1:
            sentence = (
                f"regime {regime} describes values that drift away instead of settling; that is usual for short visits"
            )
            if trained.model.lags > 1:
                sentence += ", otherwise train with fewer --lags"
            notes.append(Note("unstable_regime", sentence))
    if trained.model.prior == "markov":
        remedy = "set --expect-dwell or try fewer --regimes"
        if trained.model.noise == "normal":
            remedy += ", and against faults of measurement --noise student"
        for regime, dwell in enumerate(figures["expected_dwell"]):
            if dwell < _SHORT_VISIT:
                sentence = f"regime {regime} lasts only {dwell:.1f} rows at a time; if that is too short, {remedy}"
                notes.append(Note("short_visits", sentence))
    return notes + _model_channel_notes(trained, mean)


def _model_channel_notes(trained: Checkpoint, mean: _Values) -> list[Note]:
    """Find channels with the same noise, and channels too far from 0 for a model without an intercept."""
    notes, names = [], trained.modelled
    tril = trained.parameters.emission.scale_tril
    covariance = tril @ tril.mT
    std = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    correlation = (covariance / (std[..., :, None] * std[..., None, :])).abs().amin(0)
    for i, j in (correlation > _SAME_NOISE).triu(1).nonzero().tolist():
        sentence = f"channels '{names[i]}' and '{names[j]}' move together; leave one of them out"
        notes.append(Note("same_channels", sentence))
    if not trained.model.intercept:
        for name, distance in zip(names, (torch.as_tensor(mean) / trained.scale).abs().tolist(), strict=True):
            if distance > _FAR_FROM_ZERO:
                sentence = (
                    f"channel '{name}' lies {distance:.2g} standard deviations from 0, too far for --no-intercept; "
                    "leave that option out"
                )
                notes.append(Note("far_from_zero", sentence))
    return notes


def on_training(figures: dict[str, Any], result: Fit) -> list[Note]:
    """Find what more training may improve."""
    notes, gap = [], figures["amortisation_gap"]
    if gap is not None and gap > _WIDE_GAP:
        sentence = "labels by --posterior encoder will be less accurate than by smooth, the default, which is exact"
        notes.append(Note("amortisation_gap", sentence))
    if not result.converged:
        reason = "the model was still changing when training stopped"
        if not np.isfinite(result.gain):
            reason = "training stopped too early to tell whether the model had settled"
        notes.append(Note("not_converged", f"{reason}; train with more --polish"))
    return notes


def on_agreement(agreement: float) -> list[Note]:
    """Judge a consensus of time scales, which more training does not improve."""
    if agreement >= _LITTLE_AGREEMENT:
        return []
    sentence = (
        f"different time scales give different regimes (agreement {agreement:.2f} of 1); look at a --plot before you "
        "trust them, or set --regimes or --expect-dwell"
    )
    return [Note("little_agreement", sentence)]
