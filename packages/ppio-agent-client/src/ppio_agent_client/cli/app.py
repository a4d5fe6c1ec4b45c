"""The program: finds a command, and imports it only when it runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from .commands import COMMANDS
from .errors import run_reported
from .help_texts import translate
from .messages import tr
from .options import common_parameters
from .output import screen

_HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}


class _LazyGroup(TyperGroup):
    """Lists commands by their summaries; a command is imported only to run or complete it."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.params.extend(common_parameters())
        for name, summary in COMMANDS.items():
            self.add_command(TyperCommand(name=name, help=tr(summary.text), rich_help_panel=tr(summary.group)))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Replace the summary by the command itself."""
        if args and args[0] in COMMANDS:
            self.add_command(_loaded(args[0]))
        return super().resolve_command(ctx, args)


def _loaded(name: str) -> Any:
    command: Any = get_command(import_module(f".commands.{name}", __package__).app)
    command.name = name
    for one in [command, *getattr(command, "commands", {}).values()]:
        one.context_settings = {**_HELP_OPTIONS, **one.context_settings}
        one.params.extend(common_parameters())
        one.rich_markup_mode = "markdown"
        _without_types_of_flags(one)
        translate(one)
    return command


def _without_types_of_flags(command: Any) -> None:
    """Keep the help from showing a flag as `<bool>`."""
    for parameter in command.params:
        if getattr(parameter, "is_flag", False) and parameter.metavar is None:
            parameter.metavar = ""


def _show_version(wanted: bool) -> None:
    if wanted:
        from ppio_agent_client import __version__

        screen.result({"version": __version__}, f"ppio-agent {__version__}")
        raise typer.Exit


def _root(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """From an empty folder to a running agent.

    Begin with `ppio-agent init`, then `ppio-agent dev`. Neither needs an account.
    """
    if context.invoked_subcommand is None:
        screen.text(f"{context.get_help()}\n".lstrip("\n"))


def build(*, completion: bool = True) -> Any:
    """Return the whole program as one command, without importing its subcommands."""
    app = typer.Typer(
        cls=_LazyGroup,
        add_completion=completion,
        invoke_without_command=True,
        context_settings=_HELP_OPTIONS,
        rich_markup_mode="markdown",
    )
    app.callback()(_root)
    program = get_command(app)
    _without_types_of_flags(program)
    translate(program)
    return program


def run(arguments: Sequence[str], program: str) -> int:
    """Run one command, report any error, and return the exit code."""
    screen.begin(arguments)
    command = build(completion=" " not in program)
    if f"_{program}_COMPLETE".replace("-", "_").upper() in os.environ:
        command.main(list(arguments), prog_name=program)

    def invoke() -> None:
        with command.make_context(program, list(arguments)) as context:
            command.invoke(context)

    return run_reported(invoke)
