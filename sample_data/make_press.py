"""Draw the log of a press: `python sample_data/make_press.py OUT.csv`.

One row every second. The press stands by, ramps up, presses and cools; some cycles end in a jam. Levels, noise and the
slow temperature differ between states, as in the log of a real machine.
"""

import sys

import numpy as np
import pandas as pd
from scipy.signal import lfilter

ROWS, SEED = 4_000, 1
STATES = ("standby", "ramp", "press", "cool", "jam")
CYCLE, JAMMED_CYCLE, JAM_SHARE = (0, 1, 2, 3), (0, 1, 2, 4, 3), 0.3
MEAN_VISIT = np.array([150, 40, 300, 90, 30])  # rows
PRESSURE, PRESSURE_NOISE = np.array([1.0, 4.5, 8.0, 3.0, 9.5]), np.array([0.02, 0.3, 0.12, 0.1, 0.8])  # bar
POWER, POWER_NOISE = np.array([0.4, 7.0, 11.0, 2.0, 13.0]), np.array([0.02, 0.5, 0.3, 0.1, 1.5])  # kW
TARGET_TEMPERATURE, TEMPERATURE_NOISE, INERTIA = np.array([20.0, 60.0, 55.0, 30.0, 75.0]), 0.1, 0.98  # degrees C


def states(rows: int, rng: np.random.Generator) -> np.ndarray:
    """The state of every row, (rows,) int."""
    visits: list[int] = []
    while len(visits) < rows / 20:  # more than enough: the shortest visit takes 15 rows, and there are longer ones
        visits += JAMMED_CYCLE if rng.random() < JAM_SHARE else CYCLE
    lengths = (MEAN_VISIT[visits] * rng.uniform(0.5, 1.5, len(visits))).astype(int)
    return np.repeat(visits, lengths)[:rows]


def log(rows: int = ROWS, seed: int = SEED) -> pd.DataFrame:
    """A log of so many rows."""
    rng = np.random.default_rng(seed)
    state = states(rows, rng)
    start = [INERTIA * TARGET_TEMPERATURE[0]]
    temperature = lfilter([1 - INERTIA], [1, -INERTIA], TARGET_TEMPERATURE[state], zi=start)[0]
    return pd.DataFrame(
        {
            "timestamp": pd.date_range("2024-05-01 06:00", periods=rows, freq="s"),
            "pressure_bar": (PRESSURE[state] + PRESSURE_NOISE[state] * rng.standard_normal(rows)).round(3),
            "power_kW": (POWER[state] + POWER_NOISE[state] * rng.standard_normal(rows)).round(3),
            "temperature_C": (temperature + TEMPERATURE_NOISE * rng.standard_normal(rows)).round(2),
            "true_regime": np.array(STATES)[state],
        }
    )


if __name__ == "__main__":
    log().to_csv(sys.argv[1], index=False)
