"""`ppio-agent invoke`: one call of an agent, in its own sandbox or in a session that continues."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..asking import Target, check_together, client_for, explained, session_of
from ..event_view import EventView
from ..inputs import Asked, headers_of, payload_of, variables_of
from ..interrupts import answers_to, not_answered
from ..messages import ntr, tr
from ..options import AnyTemplateId, EnvFile, EnvVars, Headers, Local, NoInput, SessionId, Token, Url, UserId
from ..output import screen
from ..rendering import StreamView, show_answer
from ..targets import template_here

if TYPE_CHECKING:
    from ppio_agent_client import SyncSandboxSession

_LIFE_SECONDS = 300.0
_LIFE_BEYOND_TIMEOUT_SECONDS = 60.0

app: typer.Typer = typer.Typer(add_completion=False)

Input = Annotated[
    str | None,
    typer.Option("--input", "-i", metavar="TEXT|-|@FILE", help="Text or a JSON object; - reads standard input."),
]
Stream = Annotated[bool, typer.Option("--stream", help="Show the result as it arrives.")]
Events = Annotated[bool, typer.Option("--events", help="Show everything the agent does: text, tool calls, questions.")]
Keep = Annotated[bool, typer.Option("--keep", help="Keep the sandbox running for more questions.")]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout", min=0.001, metavar="SECONDS", help="Longest time until the result is complete. Default: 300."
    ),
]
Life = Annotated[
    float | None, typer.Option("--life", min=1, metavar="SECONDS", help="Time to live of a new sandbox. Default: 300.")
]


@app.command()
def invoke(
    template_id: AnyTemplateId = None,
    given: Input = None,
    stream: Stream = False,
    events: Events = False,
    no_input: NoInput = False,
    session_id: SessionId = None,
    keep: Keep = False,
    env: EnvVars = None,
    env_file: EnvFile = None,
    timeout: Timeout = None,
    life: Life = None,
    local: Local = False,
    url: Url = None,
    token: Token = None,
    user_id: UserId = None,
    header: Headers = None,
) -> None:
    """Call an agent, and show its result or its stream.

    Without --session-id and --keep, the sandbox is closed afterwards. With --events, a question of the agent is asked
    on the terminal; without a terminal, or with --no-input, the exit code is 6.
    """
    check_together(url, {"--template-id": template_id, "--local": local, "--keep": keep, "--env": env})
    variables = variables_of(env, env_file)
    request = Asked(payload_of(given), timeout)
    if template_id is None and session_id is None and url is None:
        template_id = template_here(local)
    life = life or max(_LIFE_SECONDS, (timeout or 0) + _LIFE_BEYOND_TIMEOUT_SECONDS)
    target = Target(template_id, session_id, variables, keep, life, local, url, token, user_id, headers_of(header))
    with (
        client_for(target) as client,
        session_of(client, target) as session,
        explained(session, target),
    ):
        if events:
            _events(session, request, target, asks=not no_input)
        elif stream:
            _stream(session, request, target)
        else:
            _invoke(session, request, target)


def _invoke(session: SyncSandboxSession, request: Asked, target: Target) -> None:
    with screen.working(tr("Waiting for the result")):
        # Ctrl-C should stop the agent too.
        answer = session.invoke(request, on_disconnect="cancel", headers=target.headers, user_id=target.user_id)
    facts = {"session_id": session.session_id, "template_id": session.template_id, "kept": target.is_kept}
    show_answer({**answer.model_dump(mode="json"), **facts}, answer.result)


def _stream(session: SyncSandboxSession, request: Asked, target: Target) -> None:
    from ppio_agent_client import PPIOAgentRuntimeError

    view = StreamView()
    asked = time.monotonic()
    first: float | None = None
    with session.stream(request, headers=target.headers, user_id=target.user_id) as stream:
        try:
            for event in stream.events():
                first = time.monotonic() - asked if first is None else first
                view.show(event.kind, event.data, event.event_id)
        except PPIOAgentRuntimeError as error:
            if screen.as_json:
                view.show("error", {"error": error.message, "error_type": error.error_type})
            raise
        finally:
            view.end()
    took = time.monotonic() - asked
    screen.detail(
        ntr(
            "{n} chunk in {took:.2f} s, the first after {first:.3f} s",
            "{n} chunks in {took:.2f} s, the first after {first:.3f} s",
            stream.received,
            took=took,
            first=first or took,
        )
    )


def _events(session: SyncSandboxSession, request: dict[str, Any], target: Target, *, asks: bool) -> None:
    """Show typed events, and continue the run with answers to the agent's questions."""
    while True:
        view = EventView()
        with session.events(request, headers=target.headers, user_id=target.user_id) as stream:
            try:
                for event in stream:
                    view.show(event)
            finally:
                view.end()
        screen.detail(view.summary())
        if not view.interrupts:
            return
        if not (asks and screen.can_ask):
            raise not_answered(view.interrupts)
        request = {
            "resume": answers_to(view.interrupts, lambda question: screen.ask("\n".join([question, tr("Answer")]), ""))
        }
