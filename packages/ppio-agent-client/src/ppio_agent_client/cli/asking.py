"""The agent to call and the session to call it in, shared by `invoke` and `chat`."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from .errors import CommandError, UsageError
from .messages import tr
from .output import screen
from .targets import client_of, command, is_local

if TYPE_CHECKING:
    from ppio_agent_client import SyncAgentRuntimeClient, SyncSandboxSession


@dataclass(frozen=True, slots=True)
class Target:
    """The agent to call, and whether its sandbox is kept."""

    template_id: str | None
    session_id: str | None
    variables: dict[str, str]
    keep: bool
    life: float
    local: bool
    url: str | None
    token: str | None
    user_id: str | None
    headers: dict[str, str]
    verb: str = "invoke"

    @property
    def is_kept(self) -> bool:
        """Whether the sandbox keeps running afterwards."""
        return self.keep or self.session_id is not None


@contextmanager
def session_of(client: SyncAgentRuntimeClient, target: Target) -> Iterator[SyncSandboxSession]:
    """Yield the session to use; then close it if it was for this call alone, else show how to continue it."""
    if target.url is not None:
        yield client.attach(target.url, target.token, session_id=target.session_id)
        return
    session = _joined(client, target) or _made(client, target)
    if not target.is_kept:
        with session:
            yield session
        screen.note(tr("The sandbox was closed."))
        if target.verb == "invoke":
            screen.note(tr("To keep it for more questions, add --keep."))
        return
    worked = False
    try:
        yield session
        worked = True
    finally:
        if worked or target.session_id is None:  # A user who gave the ID knows it.
            words = ["-s", shlex.quote(session.session_id), *(["-i ..."] if target.verb == "invoke" else [])]
            again = command(target.verb, *words, local=target.local)
            screen.note(
                tr(
                    "Session {session_id} is still running. Continue it:\n  {command}",
                    session_id=session.session_id,
                    command=again,
                )
            )


def _joined(client: SyncAgentRuntimeClient, target: Target) -> SyncSandboxSession | None:
    if target.session_id is None:
        return None
    session = client.get_session(target.session_id)
    if session is None and target.template_id is None:
        from ppio_agent_client import SessionNotFoundError

        raise SessionNotFoundError(
            tr("there is no session {session_id!r}; add --template-id to start it", session_id=target.session_id)
        )
    if session is None or target.template_id is not None:
        return None  # It is created, or joined if it is of this template.
    if target.variables:
        screen.warn(tr("the session is running already, so --env has no effect on its agent."))
    return session


def _made(client: SyncAgentRuntimeClient, target: Target) -> SyncSandboxSession:
    from ppio_agent_client import SandboxConfig

    assert target.template_id is not None
    if target.template_id == "." and is_local(target.local):
        _say_which(client)
    source = tr("this folder") if target.template_id == "." else target.template_id
    with screen.working(tr("Starting a sandbox from {template}", template=source)):
        config = SandboxConfig(env_vars=target.variables)
        session = client.create_session(target.template_id, target.life, config, session_id=target.session_id)
    screen.detail(
        tr(
            "session {session_id} in sandbox {sandbox_id} at {host_url}",
            session_id=session.session_id,
            sandbox_id=session.sandbox_id,
            host_url=session.host_url,
        )
    )
    return session


def _say_which(client: SyncAgentRuntimeClient) -> None:
    """Note that the folder is called as it is now, if a copy of it was deployed as well."""
    name = client.get_template(".").name
    if name in {template.template_id for template in client.list_templates()}:
        deployed = command("invoke", "--template-id", name, local=True)
        screen.note(
            tr(
                "This calls the agent {name!r} as it is in this folder now. To call its deployed copy:\n  {command}",
                name=name,
                command=deployed,
            )
        )


@contextmanager
def explained(session: SyncSandboxSession, target: Target) -> Iterator[None]:
    """Add hints to errors that say which command to run next."""
    from ppio_agent_client import InvocationError, NetworkError, SandboxPausedError

    try:
        yield
    except SandboxPausedError as error:
        again = command("sessions resume", shlex.quote(session.session_id), local=target.local)
        raise CommandError(
            tr("The session {session_id!r} is paused.", session_id=session.session_id),
            hint=tr("Resume it: {command}", command=again),
        ) from error
    except NetworkError as error:
        if target.url is not None and error.retryable:
            error.add_note(
                tr("Is the agent running at {url}? `ppio-agent dev` in its folder starts it.", url=target.url)
            )
        raise
    except InvocationError as error:
        if error.error_type == "HandlerError":
            error.add_note(_where_the_log_is(session, target))
        raise


def _where_the_log_is(session: SyncSandboxSession, target: Target) -> str:
    if target.url is not None:
        return tr("See the agent's log, where it runs.")
    log = command("logs", "-s", shlex.quote(session.session_id), local=target.local)
    if is_local(target.local) or target.is_kept:
        return tr("See its log: {command}", command=log)
    return tr("Its log was deleted with the sandbox. To see it, call again with --keep, then run `ppio-agent logs`.")


def check_together(url: str | None, others: dict[str, Any]) -> None:
    """Check that `--url` is used without options for a sandbox.

    Raises:
        UsageError: It is not.
    """
    if url is not None and (given := [name for name, value in others.items() if value]):
        raise UsageError(tr("--url is an agent that is running already; remove {options}.", options=", ".join(given)))


@contextmanager
def client_for(target: Target) -> Iterator[SyncAgentRuntimeClient]:
    """Yield a client that reaches the agent, and close it afterwards."""
    _end_in_order_when_terminated()
    settings = {} if target.url is None else {"max_retries": 1, "retry_delay": 0.2}  # The address may be mistyped.
    with client_of(target.local or target.url is not None, **settings) as client:
        yield client


def _end_in_order_when_terminated() -> None:
    """Let SIGTERM close the sandbox too: its handler raises an exception, which unwinds the `with` blocks."""

    def leave(number: int, frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
