"""`gmvae rename`: name the regimes of a model; regimes of one name are one regime from then on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gmvae_cli.checkpoint import Checkpoint, load, save
from gmvae_cli.errors import ConfigError
from gmvae_cli.regime_names import merged, problem_with_name
from gmvae_cli.system.progress import Progress


@dataclass(frozen=True, kw_only=True)
class RenameResult:
    """Names of a model's regimes.

    Args:
        names: K texts, "" for a regime without a name. stands_for: (K,) the number of each regime in outputs, of
            regimes with one name the smallest. shares: (K,) of the rows trained on, as far as they are known.
    """

    model: str
    names: list[str]
    stands_for: list[int]
    shares: list[float] | None


def rename(path: str, assignments: Sequence[str], output: str | None, progress: Progress) -> RenameResult:
    """Set names in a model file.

    Args:
        assignments: of the form ID=NAME, where an empty NAME takes a name away. output: the file to write; None: the
            model itself.
    Raises:
        ConfigError: an assignment that is none, or names no regime of the model. CheckpointError: it is no model.
    """
    checkpoint = load(path)
    names = list(checkpoint.names or [""] * checkpoint.model.regimes)
    for number, name in _parsed(assignments, checkpoint):
        names[number] = name
    save(output or path, replace(checkpoint, names=tuple(names) if any(names) else ()))
    return RenameResult(
        model=output or path,
        names=names,
        stands_for=merged(names),
        shares=checkpoint.training.get("shares"),
    )


def _parsed(assignments: Sequence[str], checkpoint: Checkpoint) -> list[tuple[int, str]]:
    """Read each ID=NAME; ID is a number, or the present name of one regime."""
    pairs, K = list[tuple[int, str]](), checkpoint.model.regimes
    for text in assignments:
        left, equals, name = text.partition("=")
        if not equals:
            raise ConfigError(f"'{text}' is no ID=NAME; write a regime's number and its name, as in 0=idle")
        known = [number for number, present in enumerate(checkpoint.names) if present == left]
        number = int(left) if left.isdecimal() and not known else known[0] if len(known) == 1 else -1
        if not 0 <= number < K:
            raise ConfigError(f"'{text}' names regime '{left}', but this model has regimes 0 to {K - 1}")
        problem = problem_with_name(name) if name else None
        if problem is not None:
            raise ConfigError(f"'{text}' gives regime {number} a name that cannot be one: {problem}")
        if number in dict(pairs):
            raise ConfigError(f"regime {number} is named twice; give it one name")
        pairs.append((number, name))
    return pairs
