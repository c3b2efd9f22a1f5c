"""Units that are multiples of one another: K beside M, ms beside s, MiB beside GiB."""

from collections.abc import Mapping, Sequence

_SI = {"p": 1e-12, "n": 1e-9, "u": 1e-6, "\u00b5": 1e-6, "\u03bc": 1e-6, "m": 1e-3, "c": 1e-2} | {
    "k": 1e3,
    "K": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
_COUNTS = {"k": 1e3, "K": 1e3, "M": 1e6}  # behind a number without a unit
_BILLIONS = ({"B": 1e9, "T": 1e12}, {"G": 1e9, "T": 1e12})


def multiples(suffixes: Sequence[str]) -> dict[str, float] | None:
    """Return the factor of each unit behind numbers; None where they are no multiples of one unit.

    Args:
        suffixes: different ones; an empty one stands for numbers without a unit.
    """
    units = [suffix for suffix in suffixes if suffix]
    if not units:
        return None
    shortest = min(units, key=len)
    bases = [""] if len(units) < len(suffixes) else [shortest, shortest[2:], shortest[1:], ""]
    tables: list[tuple[str, Mapping[str, float]]] = [(base, _BINARY) for base in bases]
    tables += [(base, _SI) for base in bases if base]
    tables += [("", _COUNTS | large) for large in _BILLIONS]
    for base, table in tables:
        factors = _factors(units, base, table)
        if factors is not None:
            return factors
    return None


def _factors(units: Sequence[str], base: str, prefixes: Mapping[str, float]) -> dict[str, float] | None:
    """Return the factor of each unit that is a prefix and the base; None if some unit is not."""
    known = {prefix + base: factor for prefix, factor in prefixes.items()} | ({base: 1.0} if base else {})
    return {unit: known[unit] for unit in units} if known.keys() >= set(units) else None
