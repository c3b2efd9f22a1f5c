"""Figures of results that may be gates, and gates as they are typed: `--fail-under NAME=VALUE`."""

import math
from collections.abc import Iterable, Sequence

from gmvae_cli.errors import ConfigError

KNOWN_SHARE = "known_share"
Gate = tuple[str, float]  # a figure of the result and its limit
INFER_GATES = ("log_likelihood_per_row", "log_likelihood_above_training", KNOWN_SHARE)
COMPARE_GATES = ("agreement", "ari", "log_likelihood_difference")
EVALUATE_GATES = (
    "accuracy",
    "ari",
    "nmi",
    "ami",
    "v_measure",
    "macro_f1",
    "covering",
    "change_point_precision",
    "change_point_recall",
    "change_point_f1",
    "hausdorff",
    "elbo_per_row",
    "log_likelihood_per_row",
)


def read_gates(texts: Iterable[str], names: Sequence[str]) -> list[Gate]:
    """Read each "NAME=VALUE" as a gate on one of these figures.

    Raises:
        ConfigError: another figure, or a value that is no number.
    """
    gates = []
    for text in texts:
        name, _, value = text.partition("=")
        if name not in names:
            raise ConfigError(
                f"--fail-under names '{name}', but must name one of {', '.join(names)}, as in {names[0]}=0.9"
            )
        try:
            limit = float(value)
        except ValueError:
            limit = math.nan
        if not math.isfinite(limit):
            raise ConfigError(f"--fail-under {name} is given '{value}', but needs a number, as in {name}=0.9")
        gates.append((name, limit))
    return gates
