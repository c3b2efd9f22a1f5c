"""Gates on a result: `--fail-under NAME=VALUE`."""

from collections.abc import Iterable, Sequence

from gmvae_cli.gate_config import Gate


def missed(gates: Iterable[Gate], result: object, smaller_is_better: Sequence[str] = ()) -> tuple[str, ...]:
    """Return a sentence for each gate that the result misses; an undefined figure misses its gate."""
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
