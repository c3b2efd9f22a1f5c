"""Options whose values are typed as text: numbers, ranges and lists.

Every function takes the text and the name of the option, and raises a ConfigError that says what was expected.
"""

import sys

from gmvae_cli.errors import ConfigError


def names(text: str, option: str) -> tuple[str, ...]:
    """Read names out of "a,b,c"."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def number_or_auto(text: str, option: str) -> int | None:
    """Read a whole number, or "auto" as None."""
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"--{option} is '{text}', but must be auto or a whole number") from None


def rows_auto_or_all(text: str, option: str) -> int | None:
    """Read a number of rows: "auto" as None, "all" as more than there can be."""
    if text == "all":
        return sys.maxsize
    try:
        return None if text == "auto" else int(text)
    except ValueError:
        raise ConfigError(f"--{option} is '{text}', but must be auto, all or a whole number") from None


def block_rows(text: str, option: str) -> int | None:
    """Read the rows of a block: "none" as 1, "auto" as None."""
    return 1 if text == "none" else number_or_auto(text, option)


def whole_numbers(text: str, option: str) -> tuple[int, ...]:
    """Read "1:6" (both ends included) or "2,4" as numbers."""
    try:
        if ":" in text:
            first, last = (int(part) for part in text.split(":"))
            numbers = tuple(range(first, last + 1))
        else:
            numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--{option} is '{text}', but must be a range like 1:6 or numbers like 2,4") from None
    if not numbers:
        raise ConfigError(f"--{option} is '{text}', a range that ends before it begins")
    return numbers
