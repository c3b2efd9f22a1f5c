"""Random pairs of labellings, and their segments found row by row, that several tests score."""

import numpy as np

from gmvae_cli.metrics import partition


def random_labels(seed):
    """Two labellings that agree in part, of 1 to 80 rows with 1 to 6 labels each, some labels never used."""
    generator = np.random.default_rng(seed)
    n = int(generator.integers(1, 80))
    num_true, num_predicted = (int(k) for k in generator.integers(1, 7, size=2))
    true = np.repeat(generator.integers(num_true, size=n), generator.integers(1, 6, size=n))[:n]
    noise = generator.integers(num_predicted, size=n)
    predicted = np.where(generator.random(n) < 0.5, noise, (true + 1) % num_predicted)
    return true, predicted, partition.contingency(true, predicted, num_true, num_predicted)


def spans(labels, starts):
    """(start, stop) of every segment, row by row."""
    segments, begin = [], 0
    for row in range(1, len(labels) + 1):
        if row == len(labels) or row in starts or labels[row] != labels[row - 1]:
            segments.append((begin, row))
            begin = row
    return segments


def change_rows(labels):
    return [row for row in range(1, len(labels)) if labels[row] != labels[row - 1]]


def edges(labels, starts=(0,)):
    """First rows of segments."""
    return np.array([begin for begin, _ in spans(labels, {int(row) for row in starts})])
