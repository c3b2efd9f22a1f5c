"""Completion of commands, options and their values in bash, zsh and fish: typer's own, imported only when asked for."""

import os
from typing import Annotated, Any, Literal

import typer

VARIABLE = "_GMVAE_COMPLETE"  # of the environment, set by a shell that asks
_INSTALL, _SHOW = "--install-completion", "--show-completion"


def with_shell(arguments: list[str]) -> list[str]:
    """Append the login shell to arguments that end in an option of completion."""
    if arguments and arguments[-1] in (_INSTALL, _SHOW):
        return [*arguments, os.path.basename(os.environ.get("SHELL", ""))]
    return arguments


def register() -> None:
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


def _option(name: str, help_text: str, callback: Any) -> Any:
    return typer.Option(name, metavar="[SHELL]", help=help_text, callback=callback, is_eager=True, expose_value=False)


_Shell = Literal["bash", "zsh", "fish"]
Install = Annotated[
    _Shell | None,
    _option(_INSTALL, "Install completion for bash, zsh or fish; by default for the login shell.", _install),
]
Show = Annotated[_Shell | None, _option(_SHOW, "Print the completion script instead of installing it.", _show)]
