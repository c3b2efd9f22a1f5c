"""Options of a command out of a config: each field, and a line that explains it, becomes an option.

A command says `config: Annotated[TrainConfig, options_of(TrainConfig, lr=Option(...))]`; `with_options` puts options
in the place of that parameter, and passes the config that they make.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args, get_origin

import typer

_Command = TypeVar("_Command", bound=Callable[..., None])


class Option(NamedTuple):
    """One option of a config.

    Args:
        group: of the help, one of `help.GROUPS`. explanation: a sentence of the help. metavar: a word for the value; a
            field with choices shows these instead.
        parse: reads the value of the field from the text typed, given the name of the option for its errors.
        typed: the default as it would be typed, where there is `parse`. name: where it is not that of the field.
    """

    group: str
    explanation: str
    metavar: str | None = None
    parse: Callable[[str, str], Any] | None = None
    typed: Any = None
    name: str | None = None


@dataclass(frozen=True)
class OptionSet:
    """Options whose values together make one object.

    Args:
        build: makes the object; options that were not given and have no default are left out.
        declared: the options by the names of the arguments of `build`. parameters: the same for a command's signature.
    """

    build: Callable[..., Any]
    declared: dict[str, Option]
    parameters: list[inspect.Parameter]

    def built(self, values: dict[str, Any]) -> Any:
        """Build the object from the values of the options, which are removed from `values`."""
        given: dict[str, Any] = {}
        for name, option in self.declared.items():
            value = values.pop(name)
            if isinstance(value, list):
                given[name] = tuple(value)
            elif value is not None:
                given[name] = value if option.parse is None else option.parse(value, _dashed(name))
        return self.build(**given)


def options_of(source: Callable[..., Any], **declared: Option) -> OptionSet:
    """Declare options of a config (or arguments of a function), with the types and defaults of its fields."""
    known = inspect.signature(source).parameters
    return OptionSet(source, declared, [_parameter(known[name], option) for name, option in declared.items()])


def joined(build: Callable[..., Any], *sets: OptionSet) -> OptionSet:
    """Join option sets into one whose values `build` makes one object from."""
    declared = {name: option for options in sets for name, option in options.declared.items()}
    return OptionSet(build, declared, [parameter for options in sets for parameter in options.parameters])


def _parameter(field: inspect.Parameter, option: Option) -> inspect.Parameter:
    """Turn an option into a parameter that typer understands."""
    annotation, default, metavar = field.annotation, field.default, option.metavar
    if option.parse is not None:
        annotation, default = (str if option.typed else str | None), option.typed
    if annotation == tuple[str, ...]:  # an option that may be repeated
        annotation, default = list[str] | None, None
    if get_origin(annotation) is Literal:
        metavar = "|".join(get_args(annotation))
    declaration = typer.Option(
        option.name or f"--{_dashed(field.name)}",
        metavar=metavar,
        help=option.explanation,
        rich_help_panel=option.group,
    )
    return field.replace(
        kind=inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, declaration]
    )


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def with_options(command: _Command) -> _Command:
    """Replace every parameter `name: Annotated[type, OptionSet]` by its options, and pass the object that they make."""
    own = inspect.signature(command).parameters.values()
    sets = {p.name: s for p in own for s in getattr(p.annotation, "__metadata__", ()) if isinstance(s, OptionSet)}
    spliced: list[inspect.Parameter] = []
    for parameter in own:
        single = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
        spliced += sets[parameter.name].parameters if parameter.name in sets else single

    @wraps(command)
    def run(**values: Any) -> None:
        command(**{name: options.built(values) for name, options in sets.items()}, **values)

    run.__signature__ = inspect.Signature(spliced)  # type: ignore[attr-defined]
    return run  # type: ignore[return-value]
