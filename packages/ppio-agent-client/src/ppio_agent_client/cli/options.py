"""Options of several commands, each declared once. `common_parameters` are added to every command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command

from .output import screen

Local = Annotated[bool, typer.Option("--local", help="Use sandboxes on this machine instead of the platform.")]
TemplateId = Annotated[str, typer.Option("--template-id", "-t", help="The template.")]
SessionId = Annotated[str | None, typer.Option("--session-id", "-s", help="The session to continue.")]
AnyTemplateId = Annotated[
    str | None,
    typer.Option("--template-id", "-t", metavar="ID", help="The agent's template. Default: the agent of this folder."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before ending or deleting something.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite existing files.")]
NoInput = Annotated[bool, typer.Option("--no-input", help="Do not ask; use the options and the defaults.")]
Folder = Annotated[Path, typer.Argument(help="The agent's folder.", show_default="this folder")]
EnvVars = Annotated[
    list[str] | None,
    typer.Option("--env", "-e", metavar="NAME=VALUE", help="An environment variable for the agent; may be repeated."),
]
EnvFile = Annotated[
    Path | None, typer.Option("--env-file", help="A file of NAME=VALUE lines with variables for the agent.")
]
Url = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="Address of a running agent, such as one of `dev`.")
]
Token = Annotated[
    str | None,
    typer.Option("--token", envvar="PPIO_TOKEN", metavar="KEY", help="With --url: the agent's API key."),
]
UserId = Annotated[
    str | None, typer.Option("--user-id", metavar="ID", help="Who is calling: the agent's context.user_id.")
]
Headers = Annotated[
    list[str] | None,
    typer.Option("--header", "-H", metavar="'NAME: VALUE'", help="A request header to send; may be repeated."),
]

_PANEL = "Output"


def _json(value: bool) -> None:
    screen.as_json = screen.as_json or value


def _quiet(value: bool) -> None:
    screen.quiet = screen.quiet or value


def _verbose(value: bool) -> None:
    screen.verbose = screen.verbose or value


def _debug(value: bool) -> None:
    screen.debug = screen.debug or value


def _flag(names: str, callback: Any, text: str) -> Any:
    return typer.Option(
        *names.split(), callback=callback, expose_value=False, is_eager=True, rich_help_panel=_PANEL, help=text
    )


def _common(
    as_json: Annotated[bool, _flag("--json", _json, "Print data and errors as JSON.")] = False,
    quiet: Annotated[bool, _flag("--quiet -q", _quiet, "Print data and errors only.")] = False,
    verbose: Annotated[bool, _flag("--verbose -v", _verbose, "Print more details.")] = False,
    debug: Annotated[bool, _flag("--debug", _debug, "Print the traceback of an error.")] = False,
) -> None:
    """Declare the parameters that every command has; never called."""


def common_parameters() -> list[Any]:
    """Return the options that every command has; their values are in `screen`."""
    app = typer.Typer(add_completion=False)
    app.command()(_common)
    return list(get_command(app).params)
