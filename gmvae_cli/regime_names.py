"""Names that people give to regimes: which texts may be one, and what is shown where there is none."""

from collections.abc import Sequence

NAME_COLUMN = "regime_name"
LABEL_COLUMNS = ("regime", NAME_COLUMN, "log_likelihood", "novelty")  # beside those of probabilities
UNKNOWN = "unknown"  # the name of rows that no regime explains, and whose regime is -1
_LONGEST = 60  # characters; a table has room for some


def is_probability(name: str) -> bool:
    """Return whether a column has the name of a regime's probability, whatever the model."""
    return name.startswith("prob_") and name[5:].isdigit()


def is_label(name: str) -> bool:
    """Return whether a column has the name of one that labelling writes."""
    return name in LABEL_COLUMNS or is_probability(name)


def problem_with_name(name: str) -> str | None:
    """Say why a text cannot be the name of a regime, a line that tables show as it is; None if it can."""
    if not name.strip():
        return "it is empty"
    if name != name.strip() or not name.isprintable():
        return "it has spaces at its ends, or characters that cannot be seen"
    if len(name) > _LONGEST:
        return f"it has {len(name)} characters, but may at most have {_LONGEST}"
    if name == UNKNOWN:
        return "rows that no regime explains have this name"
    return None


def merged(names: Sequence[str]) -> list[int]:
    """Return the number that stands for each regime: the smallest of its name; its own where it has none."""
    first: dict[str, int] = {}
    return [first.setdefault(name, number) if name else number for number, name in enumerate(names)]


def shown(names: Sequence[str], num_regimes: int) -> list[str]:
    """List what is shown for each of K regimes: its name, or its number, as in "regime 2"; merged ones come once."""
    stands = merged(names) or range(num_regimes)
    texts = names or [""] * num_regimes
    return [
        name if name and stand == number else f"regime {number}"
        for number, (name, stand) in enumerate(zip(texts, stands, strict=True))
    ]
