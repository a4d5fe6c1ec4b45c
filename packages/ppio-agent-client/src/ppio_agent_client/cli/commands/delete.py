"""`ppio-agent delete`: deletes a template, or ends a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError
from ..messages import tr
from ..options import Local, Yes
from ..output import screen
from ..targets import check_templates_are_ours, client_of, is_local

if TYPE_CHECKING:
    from ppio_agent_client import SyncAgentRuntimeClient

app: typer.Typer = typer.Typer(add_completion=False)

TemplateId = Annotated[str | None, typer.Option("--template-id", "-t", metavar="ID", help="The template to delete.")]
SessionId = Annotated[str | None, typer.Option("--session-id", "-s", metavar="ID", help="The session to end.")]


@app.command()
def delete(
    template_id: TemplateId = None, session_id: SessionId = None, yes: Yes = False, local: Local = False
) -> None:
    """Delete a template, or end a session.

    Sandboxes that were started from the template keep running.
    """
    if (template_id is None) == (session_id is None):
        raise UsageError(tr("Give either --template-id or --session-id."))
    if template_id is not None:
        check_templates_are_ours(local)
    with client_of(local) as client:
        if session_id is not None:
            _end_session(client, session_id, yes)
        elif template_id is not None:
            _delete_template(client, template_id, yes, local)


def _end_session(client: SyncAgentRuntimeClient, session_id: str, yes: bool) -> None:
    from ppio_agent_client import SessionNotFoundError

    session = client.get_session(session_id)
    if session is None:
        raise SessionNotFoundError(tr("no session {session_id!r} is running", session_id=session_id))
    _confirm(tr("End the session {session_id!r} and everything in its sandbox?", session_id=session_id), yes)
    session.close()
    screen.result({"session_id": session_id, "deleted": True}, tr("Ended {session_id}.", session_id=session_id))


def _delete_template(client: SyncAgentRuntimeClient, template_id: str, yes: bool, local: bool) -> None:
    from ppio_agent_client import SyncLocalSandboxProvider, SyncPlatformSandboxProvider, TemplateNotFoundError

    template = client.get_template(template_id)
    _confirm(
        tr(
            "Delete the template {template_id!r} ({name} {version})?",
            template_id=template.template_id,
            name=template.name,
            version=template.version,
        ),
        yes,
    )
    provider = SyncLocalSandboxProvider() if is_local(local) else SyncPlatformSandboxProvider()
    deleted = provider.delete_template(template.template_id)
    provider.close()
    if not deleted:
        raise TemplateNotFoundError(tr("there is no template {template_id!r} to delete", template_id=template_id))
    screen.result(
        {"template_id": template.template_id, "deleted": True},
        tr("Deleted {template_id}.", template_id=template.template_id),
    )


def _confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not screen.can_ask:
        raise UsageError(
            tr("Nothing was deleted: there is no terminal to ask on."),
            hint=tr("To delete without a question, add --yes."),
        )
    if not screen.confirm(question):
        raise typer.Abort
