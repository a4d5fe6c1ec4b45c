"""`ppio-agent invoke`: one question to an agent, in a sandbox of its own or in a session that goes on."""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from ..errors import CommandError, UsageError
from ..inputs import Asked, payload_of, variables_of
from ..options import EnvFile, EnvVars, Local, SessionId
from ..output import screen
from ..rendering import StreamView, show_answer
from ..targets import client_of, command, is_local, template_here

if TYPE_CHECKING:
    from ppio_agent_client import SyncAgentRuntimeClient, SyncSandboxSession

_LIFE_SECONDS = 300.0
_LIFE_BEYOND_TIMEOUT_SECONDS = 60.0

app = typer.Typer(add_completion=False)

TemplateId = Annotated[
    str | None,
    typer.Option("--template-id", "-t", metavar="ID", help="The agent; the one of this folder unless given."),
]
Input = Annotated[
    str | None,
    typer.Option("--input", "-i", metavar="TEXT|-|@FILE", help="A text, or a JSON object; - reads standard input."),
]
Stream = Annotated[bool, typer.Option("--stream", help="Show the answer as it comes.")]
Keep = Annotated[bool, typer.Option("--keep", help="Let the sandbox live on, for a next question.")]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", min=0.001, metavar="SECONDS", help="Longest time of the answer. Default: 300."),
]
Life = Annotated[
    float | None, typer.Option("--life", min=1, metavar="SECONDS", help="How long a new sandbox lives. Default: 300.")
]
Url = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="Ask an agent that runs there, such as one of `dev`.")
]
Token = Annotated[
    str | None,
    typer.Option("--token", envvar="PPIO_TOKEN", metavar="KEY", help="With --url: the key that the agent wants."),
]


@dataclass(frozen=True, slots=True)
class _Target:
    """Which agent is asked, and what becomes of its sandbox."""

    template_id: str | None
    session_id: str | None
    variables: dict[str, str]
    keep: bool
    life: float
    local: bool
    url: str | None
    token: str | None

    @property
    def is_kept(self) -> bool:
        """Whether the sandbox lives on afterwards."""
        return self.keep or self.session_id is not None


@app.command()
def invoke(
    template_id: TemplateId = None,
    given: Input = None,
    stream: Stream = False,
    session_id: SessionId = None,
    keep: Keep = False,
    env: EnvVars = None,
    env_file: EnvFile = None,
    timeout: Timeout = None,
    life: Life = None,
    local: Local = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Ask an agent, and show its answer or its stream.

    Without --session-id and --keep the sandbox is closed afterwards.
    """
    _check_together(url, {"--template-id": template_id, "--local": local, "--keep": keep, "--env": env})
    variables = variables_of(env, env_file)
    request = Asked(payload_of(given), timeout)
    if template_id is None and session_id is None and url is None:
        template_id = template_here(local)
    life = life or max(_LIFE_SECONDS, (timeout or 0) + _LIFE_BEYOND_TIMEOUT_SECONDS)
    target = _Target(template_id, session_id, variables, keep, life, local, url, token)
    _end_in_order_when_terminated()
    settings = {} if url is None else {"max_retries": 1, "retry_delay": 0.2}  # Nobody wants to wait for a typing error.
    with (
        client_of(local or url is not None, **settings) as client,
        _session(client, target) as session,
        _explained(session, target),
    ):
        if stream:
            _stream(session, request)
        else:
            _invoke(session, request, target)


def _invoke(session: SyncSandboxSession, request: Asked, target: _Target) -> None:
    with screen.working("Waiting for the answer"):
        # Somebody who presses Ctrl-C wants the agent to stop too.
        answer = session.invoke(request, on_disconnect="cancel")
    facts = {"session_id": session.session_id, "template_id": session.template_id, "kept": target.is_kept}
    show_answer({**answer.model_dump(mode="json"), **facts}, answer.result)


def _stream(session: SyncSandboxSession, request: Asked) -> None:
    from ppio_agent_client import PPIOAgentRuntimeError

    view = StreamView()
    asked = time.monotonic()
    first: float | None = None
    with session.stream(request) as stream:
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
    screen.detail(f"{stream.received} chunks in {took:.2f} s, the first after {first or took:.3f} s")


@contextmanager
def _session(client: SyncAgentRuntimeClient, target: _Target) -> Iterator[SyncSandboxSession]:
    """Give the session to ask in, close it if it is for this question alone, and say how to go on if it is not."""
    if target.url is not None:
        yield client.attach(target.url, target.token)
        return
    session = _joined(client, target) or _made(client, target)
    if not target.is_kept:
        with session:
            yield session
        screen.note("The sandbox was closed. --keep keeps it for a next question.")
        return
    worked = False
    try:
        yield session
        worked = True
    finally:
        if worked or target.session_id is None:  # who gave the id has it
            again = command("invoke", "-s", shlex.quote(session.session_id), "-i ...", local=target.local)
            screen.note(f"Session {session.session_id} lives on. Go on with it:\n  {again}")


def _joined(client: SyncAgentRuntimeClient, target: _Target) -> SyncSandboxSession | None:
    if target.session_id is None:
        return None
    session = client.get_session(target.session_id)
    if session is None and target.template_id is None:
        from ppio_agent_client import SessionNotFoundError

        raise SessionNotFoundError(f"there is no session {target.session_id!r}; with --template-id a new one is made")
    if session is None or target.template_id is not None:
        return None  # made, or joined if it is of this template
    if target.variables:
        screen.warn("the session lives already, so --env does not reach its agent.")
    return session


def _made(client: SyncAgentRuntimeClient, target: _Target) -> SyncSandboxSession:
    from ppio_agent_client import SandboxConfig

    assert target.template_id is not None
    if target.template_id == "." and is_local(target.local):
        _say_which(client)
    with screen.working(
        f"Starting a sandbox from {'this folder' if target.template_id == '.' else target.template_id}"
    ):
        config = SandboxConfig(env_vars=target.variables)
        session = client.create_session(target.template_id, target.life, config, session_id=target.session_id)
    screen.detail(f"session {session.session_id} in sandbox {session.sandbox_id} at {session.host_url}")
    return session


def _say_which(client: SyncAgentRuntimeClient) -> None:
    """Say that the folder is asked as it is now, where a copy of it was deployed too."""
    name = client.get_template(".").name
    if name in {template.template_id for template in client.list_templates()}:
        deployed = command("invoke", "--template-id", name, local=True)
        screen.note(f"This asks the agent {name!r} of this folder as it is now. Its deployed copy is asked with")
        screen.note(f"  {deployed}")


@contextmanager
def _explained(session: SyncSandboxSession, target: _Target) -> Iterator[None]:
    """Say what to do next, in the words of the command line."""
    from ppio_agent_client import InvocationError, NetworkError, SandboxPausedError

    try:
        yield
    except SandboxPausedError as error:
        again = command("sessions resume", shlex.quote(session.session_id), local=target.local)
        raise CommandError(f"The session {session.session_id!r} is paused.", hint=f"Wake it: {again}") from error
    except NetworkError as error:
        if target.url is not None and error.retryable:
            error.add_note(f"Does the agent run at {target.url}? In its folder, `ppio-agent dev` runs it.")
        raise
    except InvocationError as error:
        if error.error_type == "HandlerError":
            error.add_note(_where_the_log_is(session, target))
        raise


def _where_the_log_is(session: SyncSandboxSession, target: _Target) -> str:
    if target.url is not None:
        return "The agent's log is where it runs."
    log = command("logs", "-s", shlex.quote(session.session_id), local=target.local)
    if is_local(target.local) or target.is_kept:
        return f"See it: {log}"
    return "The log went with the sandbox. Ask again with --keep; then `ppio-agent logs` shows it."


def _check_together(url: str | None, others: dict[str, Any]) -> None:
    if url is not None and (given := [name for name, value in others.items() if value]):
        raise UsageError(f"--url is an agent that runs already, so {' and '.join(given)} cannot be said about it.")


def _end_in_order_when_terminated() -> None:
    """Let SIGTERM close the sandbox too: it is raised where the program is, and passes everything on the way out."""

    def leave(number: int, frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
