"""Period of a recording, from its autocorrelation in pieces: a regime is a kind of oscillation, not a phase of one."""

import numpy as np
from numpy.typing import NDArray

from gmvae_cli.data.series_data import SeriesData

_PIECES = (4, 8)  # a recording is cut into so many, since the period may change between regimes
_LONGEST_PIECE = 1 << 15  # rows; longer ones are cut, so that the cost is flat; chosen, not measured
_FEWEST = 3  # pieces with a period, for the recording to have one; chosen, not measured
_QUANTILE = 0.75  # of the periods of all pieces: blocks must hold the longest that is common; chosen, not measured
_LEFT, _LOWEST, _NEAR = 0.1, 0.3, 0.85  # of autocorrelation: it first falls to, peaks count from, equal the highest


def common_period(data: SeriesData) -> int | None:
    """Return the longest period that is common in the pieces of a recording, in rows; None if it has none."""
    found = []
    for pieces in _PIECES:
        length = data.rows // pieces
        for index in range(pieces):
            values = data.read(index * length, index * length + min(length, _LONGEST_PIECE))[0]
            found += [period for period in map(period_of, values.T) if period is not None]
    return int(np.quantile(found, _QUANTILE)) if len(found) >= _FEWEST else None


def period_of(values: NDArray[np.float64]) -> int | None:
    """Return the lag of the first high peak of the autocorrelation, None without one: values (n,), NaN is missing."""
    size = len(values)
    known = ~np.isnan(values)
    if np.count_nonzero(known) < 8:
        return None
    centred = np.where(known, values - values[known].mean(), 0)
    spectrum = np.abs(np.fft.rfft(centred, 2 * size)) ** 2
    autocorrelation = np.fft.irfft(spectrum)[:size] / np.arange(size, 0, -1)
    if autocorrelation[0] <= 0:
        return None
    autocorrelation = autocorrelation[: size // 3] / autocorrelation[0]
    below = np.flatnonzero(autocorrelation < _LEFT)
    if not len(below):
        return None
    later = autocorrelation[below[0] :]
    peaks = 1 + np.flatnonzero((later[1:-1] >= later[:-2]) & (later[1:-1] > later[2:]))
    if not len(peaks) or later[peaks].max() < _LOWEST:
        return None
    return int(below[0] + peaks[later[peaks] >= _NEAR * later[peaks].max()][0])
