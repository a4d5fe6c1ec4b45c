"""`ppio-agent dev`: the agent of a folder, running on this machine and restarted after each save."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ppio_agent_models import AGENT_PORT

from ..dev_agent import holder, is_free, next_free
from ..dev_loop import DevLoop
from ..errors import EXIT_INTERRUPTED, CommandError
from ..messages import tr
from ..options import Folder
from ..output import screen
from ..project import check_runtime, manifest_path, names_script, project_python

app: typer.Typer = typer.Typer(add_completion=False)


@app.command()
def dev(
    folder: Folder = Path(),
    port: Annotated[
        int | None,
        typer.Option(
            "--port", "-p", metavar="PORT", min=1, max=65535, help="Port to listen on.", show_default=str(AGENT_PORT)
        ),
    ] = None,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    opens: Annotated[bool, typer.Option("--open", help="Open the agent's page in a browser.")] = False,
) -> None:
    """Run the agent on this machine, and restart it after each save.

    It runs with the Python of the folder's .venv, or else of the active environment, and with your environment
    variables. Each request is shown on one line, with what the agent prints and logs, and warnings of libraries (-v:
    everything). After an error, the next save starts it again. Keys: r restarts it, o opens its page, c chats with it,
    q or Ctrl-C quits.
    """
    manifest = manifest_path(folder)
    python = project_python(manifest.parent)
    if not names_script(manifest):
        check_runtime(python)
    loop = DevLoop(manifest, python, host, _free_port(host, port), opens=opens)
    received: list[int] = []
    try:
        with _ended_by_signals(received):
            loop.run()
    except KeyboardInterrupt:
        raise typer.Exit(128 + received[0] if received else EXIT_INTERRUPTED) from None
    finally:
        loop.stop()
        screen.note(tr("Stopped."))


def _free_port(host: str, wanted: int | None) -> int:
    port = wanted or AGENT_PORT
    if is_free(host, port):
        return port
    other = next_free(host, port)
    facts = {"port": port, "program": holder(port), "other": other}
    if wanted is None:
        screen.note(tr("Port {port} is in use by {program}; using {other}.", **facts), "yellow")
    elif not (
        screen.can_ask and screen.confirm(tr("Port {port} is in use by {program}. Use {other}?", **facts), default=True)
    ):
        raise CommandError(
            tr("Port {port} is in use by {program}.", port=port, program=facts["program"]),
            hint=tr("Use another: {command}", command=f"ppio-agent dev --port {other}"),
        )
    return other


@contextmanager
def _ended_by_signals(received: list[int]) -> Iterator[None]:
    """Let SIGHUP and SIGTERM end the command as Ctrl-C does, and append the signal to `received`."""

    def end(number: int, _: object) -> None:
        received.append(number)
        raise KeyboardInterrupt

    names = ("SIGTERM", "SIGHUP", "SIGBREAK")
    before = {number: signal.signal(number, end) for name in names if (number := getattr(signal, name, None))}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
