"""`ppio-agent console`: the console page for an agent that runs elsewhere."""

from __future__ import annotations

import asyncio
import shlex
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from ..dev_agent import holder, is_free, next_free
from ..errors import CommandError, UsageError
from ..messages import tr
from ..options import Local
from ..output import screen
from ..project import RUNTIME_LINE
from ..targets import client_of, command, template_here, without_credentials

if TYPE_CHECKING:
    from ppio_agent_client import SyncAgentRuntimeClient, SyncSandboxSession

HOST: Final = "127.0.0.1"
PORT: Final = 8090
"""Fixed, because the browser keeps the history of conversations by host and port."""
_CLOSE_SECONDS: Final = 1

app: typer.Typer = typer.Typer(add_completion=False)

Url = Annotated[str | None, typer.Option("--url", metavar="URL", help="Address of a running agent.")]
SessionId = Annotated[
    str | None, typer.Option("--session-id", "-s", metavar="ID", help="The agent of a running session.")
]
TemplateId = Annotated[
    str | None,
    typer.Option(
        "--template-id", "-t", metavar="ID", help="The agent of a template, in a new sandbox that is closed at the end."
    ),
]
Token = Annotated[
    str | None,
    typer.Option("--token", envvar="PPIO_TOKEN", metavar="KEY", help="With --url: the agent's API key."),
]
Port = Annotated[
    int | None,
    typer.Option("--port", "-p", metavar="PORT", min=1, max=65535, help="Port to listen on.", show_default=str(PORT)),
]
Open = Annotated[bool, typer.Option("--open", help="Open the page in the browser.")]


@app.command()
def console(
    url: Url = None,
    session_id: SessionId = None,
    template_id: TemplateId = None,
    token: Token = None,
    local: Local = False,
    port: Port = None,
    opens: Open = False,
) -> None:
    """Talk to an agent in the browser, and see its events, runs and health.

    The page is served on 127.0.0.1 only. The key stays in this program, and the history in the browser. Without a
    target, it is the agent of this folder. Ctrl-C stops it.
    """
    targets = {"--url": url, "--session-id": session_id, "--template-id": template_id}
    if len(given := [name for name, value in targets.items() if value]) > 1:
        raise UsageError(tr("{options} are different agents; give one of them.", options=", ".join(given)))
    page, uvicorn = _imported("ppio_agent_runtime.console.page"), _imported("uvicorn")
    if not given:
        template_id = template_here(local)
    with (
        client_of(local or url is not None) as client,
        _session(client, url, session_id, template_id, token, local=local) as session,
        socket.create_server((HOST, _free_port(port))) as listening,
    ):
        _serve(session, page, uvicorn, listening, is_url=url is not None, opens=opens)


def _imported(module: str) -> Any:
    """Return a module of the runtime, which contains the page's files.

    Raises:
        CommandError: It is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise CommandError(
            tr("The page and its server come with ppio-agent-runtime, which is not installed here or is too old."),
            hint=tr("Run: {command}", command=f"{RUNTIME_LINE} --upgrade"),
        ) from error


@contextmanager
def _session(
    client: SyncAgentRuntimeClient,
    url: str | None,
    session_id: str | None,
    template_id: str | None,
    token: str | None,
    *,
    local: bool,
) -> Iterator[SyncSandboxSession]:
    if url is not None:
        yield client.attach(url, token)
    elif session_id is not None:
        session = client.get_session(session_id)
        if session is None:
            from ppio_agent_client import SessionNotFoundError

            error = SessionNotFoundError(tr("there is no session {session_id!r}", session_id=session_id))
            error.add_note(tr("List them: {command}", command=command("sessions", local=local)))
            raise error
        yield session
    else:
        assert template_id is not None
        with screen.working(tr("Starting a sandbox from {template}", template=template_id)):
            made = client.create_session(template_id, keep_alive=True)
        with made:
            yield made
        screen.note(tr("The sandbox was closed."))


def _serve(
    session: SyncSandboxSession, page: Any, uvicorn: Any, listening: socket.socket, *, is_url: bool, opens: bool
) -> None:
    """Serve until Ctrl-C, which cuts responses that are still being relayed."""
    from ..relay import Relay  # httpx

    port = listening.getsockname()[1]
    target = without_credentials(session.host_url)
    relay = Relay(session, port, f"{target.rstrip('/')}/" if is_url else "")
    settings = uvicorn.Config(
        relay.guard(page.ConsolePage(relay)),
        log_config=None,
        log_level="critical",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=_CLOSE_SECONDS,
    )
    address = f"http://{HOST}:{port}"
    screen.result(
        {"url": address, "target": target},
        tr("The console of {target} is at {url}", target=target, url=address),
    )
    screen.note(tr("Ctrl-C stops it."))
    if opens:
        import webbrowser

        webbrowser.open(address)  # The socket is listening, so the browser waits for the server.

    async def serve() -> None:
        try:
            await uvicorn.Server(settings).serve([listening])
        finally:
            await relay.close()

    signal.signal(signal.SIGTERM, _leave)  # uvicorn raises it again after its shutdown, and the sandbox must be closed.
    asyncio.run(serve())


def _leave(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


def _free_port(wanted: int | None) -> int:
    """Return the port to listen on.

    Raises:
        CommandError: The requested port is in use.
    """
    port = wanted or PORT
    if is_free(HOST, port):
        return port
    program, other = holder(port), next_free(HOST, port)
    if wanted is not None:
        again = shlex.join(["ppio-agent", "console", "--port", str(other)])
        raise CommandError(
            tr("Port {port} is in use by {program}.", port=port, program=program),
            hint=tr("Use another: {command}", command=f"{again} ..."),
        )
    screen.note(
        tr(
            "Port {port} is in use by {program}; using {other}. The browser keeps a separate history there.",
            port=port,
            program=program,
            other=other,
        ),
        "yellow",
    )
    return other
