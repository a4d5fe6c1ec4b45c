"""`ppio-agent sessions`: the running sessions, whichever process created them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..messages import tr
from ..options import Local
from ..output import screen
from ..rendering import ago, ahead
from ..targets import client_of, command

if TYPE_CHECKING:
    from ppio_agent_client import SyncAgentRuntimeClient, SyncSandboxSession

app: typer.Typer = typer.Typer(add_completion=False, invoke_without_command=True, rich_markup_mode="markdown")

Session = Annotated[str, typer.Argument(metavar="SESSION", help="The id of a session.", show_default=False)]


@app.callback()
def sessions(context: typer.Context, local: Local = False) -> None:
    """List, pause, resume and close running sessions."""
    if context.invoked_subcommand is None:
        _list(local)


@app.command("list")
def list_sessions(context: typer.Context, local: Local = False) -> None:
    """List running sessions, oldest first."""
    _list(local or _said_before(context))


@app.command("close")
def close_session(context: typer.Context, session: Session, local: Local = False) -> None:
    """End a session and its sandbox."""
    with client_of(local or _said_before(context)) as client:
        _found(client, session).close()
    screen.result({"session_id": session, "status": "closed"}, tr("Closed {session}.", session=session))


@app.command("pause")
def pause_session(context: typer.Context, session: Session, local: Local = False) -> None:
    """Pause a session; its memory is kept."""
    here = local or _said_before(context)
    with client_of(here) as client:
        _found(client, session).pause()
    screen.result({"session_id": session, "status": "paused"}, tr("Paused {session}.", session=session))
    screen.note(tr("Resume it: {command}", command=command("sessions resume", session, local=here)))


@app.command("resume")
def resume_session(context: typer.Context, session: Session, local: Local = False) -> None:
    """Resume a paused session."""
    with client_of(local or _said_before(context)) as client:
        found = _found(client, session)
        with screen.working(tr("Resuming {session}", session=session)):
            found.resume()
    screen.result({"session_id": session, "status": "active"}, tr("Resumed {session}.", session=session))


def _list(local: bool) -> None:
    with client_of(local) as client:
        found = [session.info() for session in client.list_sessions()]
    screen.table(
        [one.model_dump(mode="json") for one in found],
        [tr("SESSION"), tr("TEMPLATE"), tr("STATUS"), tr("STARTED"), tr("ENDS")],
        [(one.session_id, one.template_id, one.status, ago(one.created_at), ahead(one.expires_at)) for one in found],
    )
    if not found:
        screen.note(
            tr(
                "No sessions are running. Start one: {command}",
                command=command("invoke", "--keep", "--template-id ...", local=local),
            )
        )


def _found(client: SyncAgentRuntimeClient, session_id: str) -> SyncSandboxSession:
    from ppio_agent_client import SessionNotFoundError

    session = client.get_session(session_id)
    if session is None:
        raise SessionNotFoundError(tr("no session {session_id!r} is running", session_id=session_id))
    return session


def _said_before(context: typer.Context) -> bool:
    """Return whether `--local` was given before the subcommand."""
    return bool(context.parent and context.parent.params.get("local"))
