"""Logs of an imagined press, of any length, with its true states.

    python tests/quality/machine_log.py OUT.parquet ROWS [SEED] [PACE]

A cycle is standby, ramp, press, cool; three in ten cycles jam before they cool. A visit lasts between half and one and
a half times the usual rows of its state, times the pace. Each state has a level and a noise of its own for pressure,
power and torque; the pressure swings while the press works; the temperature follows its state's target slowly.
"""

import sys
from pathlib import Path

import numpy as np
from measure import TRUTH, write
from scipy.signal import lfilter

# state: usual rows of a visit, (level, noise) of pressure, power and torque, target of the temperature
STATES = {
    "standby": (500, (1.0, 0.02), (0.4, 0.02), (0.0, 0.3), 20.0),
    "ramp": (90, (4.5, 0.30), (7.0, 0.50), (20.0, 3.0), 60.0),
    "press": (1200, (8.0, 0.12), (11.0, 0.30), (35.0, 2.0), 55.0),
    "cool": (300, (3.0, 0.10), (2.0, 0.10), (5.0, 1.0), 30.0),
    "jam": (60, (9.5, 0.80), (13.0, 1.50), (60.0, 9.0), 75.0),
}
NAMES = list(STATES)
JAM_SHARE = 0.3  # of the cycles
SHORTEST_VISIT = 2  # rows
WARMING = 0.006  # of the distance to the target, a row
SWING, SWING_ROWS = 0.4, 9  # of the pressure while the press works


def states(rows: int, pace: float, jams: float, generator: np.random.Generator) -> np.ndarray:
    """Position in NAMES of each row's state, (rows,); jams: share of the cycles that jam."""
    visits: list[np.ndarray] = []
    drawn = 0
    while drawn < rows:
        jam = ["jam"] if generator.random() < jams else []
        for name in ("standby", "ramp", "press", *jam, "cool"):
            length = max(SHORTEST_VISIT, int(pace * STATES[name][0] * generator.uniform(0.5, 1.5)))
            visits.append(np.full(length, NAMES.index(name)))
            drawn += length
    return np.concatenate(visits)[:rows]


def columns(rows: int, seed: int = 0, pace: float = 1.0, jams: float = JAM_SHARE) -> dict[str, np.ndarray]:
    """Columns of a log with one row a second."""
    generator = np.random.default_rng(seed)
    state = states(rows, pace, jams, generator)
    signals = []
    for position in (1, 2, 3):
        level, noise = np.array([STATES[name][position] for name in NAMES])[state].T
        signals.append(level + noise * generator.normal(size=rows))
    pressure, power, torque = signals
    pressure = pressure + (state == NAMES.index("press")) * SWING * np.sin(2 * np.pi * np.arange(rows) / SWING_ROWS)
    target = np.array([STATES[name][4] for name in NAMES])[state]
    begin = [(1 - WARMING) * target[0]]  # the log begins at the temperature of its first state
    temperature = lfilter([WARMING], [1, WARMING - 1], target, zi=begin)[0] + 0.1 * generator.normal(size=rows)
    return {
        "timestamp": np.datetime64("2024-05-01", "s") + np.arange(rows),
        "pressure_bar": pressure.round(3),
        "temp_C": temperature.round(2),
        "power_kW": power.round(3),
        "torque_Nm": torque.round(2),
        TRUTH: np.array(NAMES)[state],
    }


if __name__ == "__main__":
    out, length, *rest = sys.argv[1:]
    write(Path(out), columns(int(length), int(rest[0]) if rest else 0, float(rest[1]) if len(rest) > 1 else 1.0))
