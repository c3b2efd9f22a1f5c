"""Help and usage of a command as plain text, options in groups; completion in a shell, which is typer's own."""

import inspect
import os
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand
from typer.exceptions import TyperException

from gmvae_cli.cli import paths
from gmvae_cli.cli.terminal import width, wrapped

# the most useful first; expert: what hardly anyone needs
GROUPS = ("files", "model", "search", "output", "live", "cluster", "expert")
HELP_NAMES = ("-h", "--help")

_NO_BREAK = "\xa0"  # where a line must not break
_WIDEST = 80  # columns; longer lines are hard to read
_NARROW = 60  # columns; below, explanations stand under their options
_NARROW_INDENT = " " * 6
_TERM_COLUMNS = 28  # of an option beside its explanation; a longer one has a line of its own

Row = tuple[str, str]  # a term and its explanation


class Command(TyperCommand):
    """A command whose help is grouped."""

    def get_help_option_names(self, ctx: Any) -> list[str]:
        """Return the names of the help option, always in the same order."""
        return list(HELP_NAMES)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; every error knows the command, whose usage is shown with it."""
        try:
            return super().parse_args(ctx, args)
        except TyperException as error:
            error.ctx = ctx  # type: ignore[attr-defined]
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command, unless its log would overwrite one of its files."""
        paths.require_own_log(ctx.params)
        return super().invoke(ctx)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        formatter.write(help_text(ctx))


def help_text(ctx: Any, commands: Sequence[Row] = ()) -> str:
    """Compose the help of a command, or of a group with the list of its commands."""
    columns = min(width(), _WIDEST)
    description = inspect.cleandoc(ctx.command.help or "")
    groups = _grouped(ctx)
    margin = _margin([row for rows in groups.values() for row in rows])
    parts = [wrapped(usage(ctx), columns, "  "), wrapped(f"  {description}", columns, "  ")]
    parts += [_section(name, rows, columns, margin) for name, rows in groups.items() if rows]
    if commands:
        parts.append(_section("commands", commands, columns, _margin(commands)))
    return "\n\n".join(parts).replace(_NO_BREAK, " ") + "\n"


def usage(ctx: Any) -> str:
    """Compose the usage line: arguments, the options that must be given, then all others."""
    parameters = ctx.command.get_params(ctx)
    pieces = [_argument(parameter) for parameter in parameters if not _is_option(parameter)]
    pieces += [_option(parameter) for parameter in parameters if _is_option(parameter) and parameter.required]
    command = ["COMMAND"] if hasattr(ctx.command, "commands") else []
    return " ".join(["usage:", ctx.command_path, *pieces, "[OPTIONS]", *command])


def usage_problem(error: Any) -> str:
    """Say in one line what is wrong with the arguments, what was expected, or the nearest name there is."""
    parameter, cause = getattr(error, "param", None), error.__cause__
    if parameter is not None and hasattr(cause, "errors"):
        name = parameter.opts[-1] if _is_option(parameter) else parameter.metavar
        return f"{name} is '{cause.errors()[0]['input']}', but must be {_expected(parameter.type_descriptor)}"
    nearest = getattr(error, "possibilities", None)
    message = f"{error.message}; did you mean {nearest[0]}?" if nearest else error.format_message()
    line = " ".join(message.replace(". Did you mean", "; did you mean").split()).rstrip(".")
    hint = "" if line.endswith("?") else "; --help lists what is possible"
    return f"{line[:1].lower()}{line[1:]}{hint}"


def _expected(kind: Any) -> str:
    """Name the values that an option takes."""
    if kind.is_choice:
        return f"one of {', '.join(kind.choices)}"
    return {int: "a whole number", float: "a number"}.get(kind.annotation, "text")


def _is_option(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "option")


def _argument(parameter: Any) -> str:
    return f"{parameter.metavar}{'...' if parameter.nargs == -1 else ''}"


def _option(parameter: Any) -> str:
    """Compose an option as it is typed, with a word for its value."""
    names = ", ".join(parameter.opts)
    if parameter.secondary_opts:
        names = f"{names} / {', '.join(parameter.secondary_opts)}"
    return f"{names} {parameter.metavar}" if parameter.metavar else names


def _grouped(ctx: Any) -> dict[str, list[Row]]:
    """Sort the parameters of a command into groups; those of the group of commands are all "options"."""
    otherwise = "options" if hasattr(ctx.command, "commands") else "output"
    groups: dict[str, list[Row]] = {name: [] for name in (*GROUPS, "options")}
    for parameter in ctx.command.get_params(ctx):
        term = _option(parameter) if _is_option(parameter) else _argument(parameter)
        explanation = parameter.get_help_record(ctx)[1].replace("[default: ", f"[default:{_NO_BREAK}")
        groups[getattr(parameter, "rich_help_panel", None) or otherwise].append((term, explanation))
    return groups


def _margin(rows: Sequence[Row]) -> int:
    """Measure the longest term beside which an explanation stands, in columns."""
    return max(len(term) for term, _ in rows if len(term) <= _TERM_COLUMNS)


def _section(name: str, rows: Sequence[Row], columns: int, margin: int) -> str:
    """Lay out terms beside their explanations, or above them where there is little room."""
    lines = [f"{name.capitalize()}:"]
    for term, explanation in rows:
        if columns < _NARROW:
            lines += [wrapped(f"  {term}", columns, _NARROW_INDENT)]
            lines += [wrapped(_NARROW_INDENT + explanation, columns, _NARROW_INDENT)]
        else:
            beside = term if len(term) <= margin else ""
            lines += [] if beside else [f"  {term}"]
            lines += [wrapped(f"  {beside:<{margin}}  {explanation}", columns, " " * (margin + 4))]
    return "\n".join(lines)


# --- completion; typer's part is imported only when it is asked for ---

COMPLETION_VARIABLE = "_GMVAE_COMPLETE"  # of the environment, set by a shell that asks
_INSTALL, _SHOW = "--install-completion", "--show-completion"


def with_shell(arguments: list[str]) -> list[str]:
    """Append the login shell to arguments that end in an option of completion."""
    if arguments and arguments[-1] in (_INSTALL, _SHOW):
        return [*arguments, os.path.basename(os.environ.get("SHELL", ""))]
    return arguments


def register_completion() -> None:
    """Let typer answer the shell that asks for completions."""
    from typer.completion import get_completion_inspect_parameters

    get_completion_inspect_parameters()  # called for its effect: it registers the shells


def _install(context: typer.Context, parameter: typer.CallbackParam, shell: str | None) -> None:
    if shell is not None and not context.resilient_parsing:
        from typer.completion import install_callback

        install_callback(context, parameter, shell)  # ends the process


def _show(context: typer.Context, parameter: typer.CallbackParam, shell: str | None) -> None:
    if shell is not None and not context.resilient_parsing:
        from typer.completion import show_callback

        show_callback(context, parameter, shell)  # ends the process


def _completion_option(name: str, help_text: str, callback: Any) -> Any:
    return typer.Option(name, metavar="[SHELL]", help=help_text, callback=callback, is_eager=True, expose_value=False)


_Shell = Literal["bash", "zsh", "fish"]
InstallCompletion = Annotated[
    _Shell | None,
    _completion_option(_INSTALL, "Install completion for bash, zsh or fish; by default for the login shell.", _install),
]
ShowCompletion = Annotated[
    _Shell | None, _completion_option(_SHOW, "Print the completion script instead of installing it.", _show)
]
