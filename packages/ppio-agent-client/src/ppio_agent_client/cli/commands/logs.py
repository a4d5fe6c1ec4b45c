"""`ppio-agent logs`: shows the output of a session's agent."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ..messages import tr
from ..options import Local
from ..output import screen
from ..rendering import readable
from ..targets import client_of, is_local

if TYPE_CHECKING:
    from ppio_agent_client import LogPage, SyncAgentRuntimeClient

_LOOK_SECONDS: Final = 0.3
"""Seconds between two polls on this machine."""
_LOOK_FAR_SECONDS: Final = 1.0
"""Seconds between two polls of the platform, each of which is two requests."""

app: typer.Typer = typer.Typer(add_completion=False)

SessionId = Annotated[str, typer.Option("--session-id", "-s", metavar="ID", help="The session.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Keep showing new output until the agent ends or Ctrl-C.")]
Lines = Annotated[
    int | None,
    typer.Option("--lines", "-n", min=0, metavar="NUMBER", help="Show only the last lines of the output so far."),
]


@app.command()
def logs(session_id: SessionId, follow: Follow = False, lines: Lines = None, local: Local = False) -> None:
    """Show the output of a session's agent.

    With --json, each part is one line: `{"text": ...}`.
    """
    with client_of(local) as client:
        page = _show_what_is_there(client, session_id, lines)
        while follow and not page.is_over:
            time.sleep(_LOOK_SECONDS if is_local(local) else _LOOK_FAR_SECONDS)
            page = _next(client, session_id, page)
            _show(page.text)
    if page.is_over:
        screen.note(_how_it_ended(page.exit_code))


def _how_it_ended(exit_code: int | None) -> str:
    """Return how the agent ended, as far as it is known; a negative code is the signal that ended it."""
    if exit_code is None:
        return tr("The agent has ended.")
    if exit_code < 0:
        return tr("The agent was stopped by signal {number}.", number=-exit_code)
    return tr("The agent has ended with exit code {code}.", code=exit_code)


def _show_what_is_there(client: SyncAgentRuntimeClient, session_id: str, lines: int | None) -> LogPage:
    page = client.get_logs(session_id)
    texts = [page.text]
    while page.text and not page.is_over:
        if lines is None:
            _show(texts.pop())
        page = client.get_logs(session_id, page.cursor)
        texts.append(page.text)
    text = "".join(texts)
    _show(text if lines is None else "".join(text.splitlines(keepends=True)[-lines:] if lines else []))
    return page


def _next(client: SyncAgentRuntimeClient, session_id: str, last: LogPage) -> LogPage:
    from dataclasses import replace

    from ppio_agent_client import SessionNotFoundError

    try:
        return client.get_logs(session_id, last.cursor)
    except SessionNotFoundError:
        return replace(last, text="", is_over=True)


def _show(text: str) -> None:
    if text and screen.as_json:
        screen.line({"text": text})
    elif text:
        screen.text(readable(text))
