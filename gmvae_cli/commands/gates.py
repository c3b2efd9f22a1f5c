"""Gates that a script sets on a result: `--fail-under NAME=VALUE`."""

import math
from collections.abc import Iterable, Sequence

from gmvae_cli.errors import ConfigError

Gate = tuple[str, float]


def parse(texts: Iterable[str], names: Sequence[str]) -> list[Gate]:
    """Name and limit of each gate; ConfigError for a name that is none of `names`, or a limit that is no number."""
    return [_parsed(text, names) for text in texts]


def _parsed(text: str, names: Sequence[str]) -> Gate:
    name, _, value = text.partition("=")
    if name not in names:
        raise ConfigError(f"--fail-under names '{name}', but must name one of {', '.join(names)}, as in {names[0]}=0.9")
    try:
        limit = float(value)
    except ValueError:
        limit = math.nan
    if not math.isfinite(limit):
        raise ConfigError(f"--fail-under {name} is given '{value}', but needs a number, as in {name}=0.9")
    return name, limit


def missed(gates: Iterable[Gate], result: object, smaller_is_better: Sequence[str] = ()) -> tuple[str, ...]:
    """One sentence for every gate that the result misses; an undefined figure misses its gate."""
    sentences = (_missed(name, limit, getattr(result, name), name in smaller_is_better) for name, limit in gates)
    return tuple(sentence for sentence in sentences if sentence)


def _missed(name: str, limit: float, value: float | None, smaller_is_better: bool) -> str | None:
    if value is None:
        return f"missed --fail-under {name}={limit:g}: {name} is undefined here"
    excess = value - limit if smaller_is_better else limit - value
    if excess <= 0:
        return None
    side = "above" if smaller_is_better else "below"
    return f"missed --fail-under {name}={limit:g}: {name} is {value:.6g}, {excess:.3g} {side}"
