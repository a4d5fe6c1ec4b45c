"""`ppio-agent dev`: the agent of a folder, running here, and again after each save."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ppio_agent_models import AGENT_PORT, PPIOAgentRuntimeError

from ..dev_agent import DevAgent, holder, is_free, next_free
from ..errors import EXIT_INTERRUPTED, CommandError
from ..options import Folder
from ..output import screen
from ..project import (
    check_runtime,
    is_script,
    manifest_path,
    names_script,
    project_python,
    read_manifest,
    script_runner,
)

app = typer.Typer(add_completion=False)

_WATCHED: Final = (".env", ".py", ".toml", ".yaml", ".yml")
"""What an agent is written in. Files that it may write itself, such as data, must not start it again."""
_DEFAULTS: Final = {"PPIO_AGENT_DEBUG": "true", "PPIO_AGENT_SHUTDOWN_GRACE_SECONDS": "1", "PYTHONUNBUFFERED": "1"}


@app.command()
def dev(
    folder: Folder = Path(),
    port: Annotated[
        int | None,
        typer.Option(
            "--port", "-p", metavar="PORT", min=1, max=65535, help="Where it listens.", show_default=str(AGENT_PORT)
        ),
    ] = None,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Run the agent here, and again after each save.

    It runs with the Python in the folder's .venv, else the active one, and gets your environment. An error in it is
    shown, and the next save tries again. Ctrl-C ends it.
    """
    manifest = manifest_path(folder)
    python = project_python(manifest.parent)
    if not names_script(manifest):
        check_runtime(python)
    reloader = _Reloader(manifest, python, host, _free_port(host, port))
    received: list[int] = []
    try:
        with _ended_by_signals(received):
            reloader.run()
    except KeyboardInterrupt:
        raise typer.Exit(128 + received[0] if received else EXIT_INTERRUPTED) from None
    finally:
        reloader.agent.stop()
        screen.note("Stopped.")


class _Reloader:
    """One agent between the saves of its files."""

    def __init__(self, manifest: Path, python: str, host: str, port: int) -> None:
        self._manifest = manifest
        self._folder = manifest.parent.resolve()
        self._told = False
        self._name = "The agent"
        self.agent = DevAgent(python, self._folder, host, port, on_ready=self._tell_ready, on_end=self._tell_end)
        self._url = f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def run(self) -> None:
        """Start the agent, and again after each save, until a signal ends this."""
        from watchfiles import watch

        self._start()
        for changes in watch(self._folder, watch_filter=_filter(), debounce=300, step=50):
            files = sorted({os.path.relpath(path, self._folder) for _, path in changes})
            _event("changed", f"\n{', '.join(files[:3])}{' ...' if len(files) > 3 else ''} changed.", files=files)
            self.agent.stop()
            self._start()

    def _start(self) -> None:
        try:
            manifest = read_manifest(self._manifest)
        except (PPIOAgentRuntimeError, CommandError) as error:
            screen.error(str(error))
            _event("failed", "Waiting for the next save.", exit_code=None)
            return
        spec, self._name = manifest.spec, manifest.metadata.name
        screen.detail(f"Starting {spec.entrypoint}.")
        script = script_runner() if is_script(self._folder, spec.entrypoint) else None
        self.agent.start(spec.entrypoint, {**_DEFAULTS, **spec.env_vars, **os.environ}, script=script)

    def _tell_ready(self) -> None:
        if self._told:
            _event("ready", f"Running again at {self._url}", url=self._url)
            return
        self._told = True
        page = self.agent.media_type_of("/") == "text/html"
        lines = [
            f"{self._name} runs at {self._url}. A save starts it again, Ctrl-C ends it.",
            *([f"  In a browser:  {self._url}/"] if page else []),
            "  In another terminal:",
            f"    ppio-agent invoke --url {self._url} --input Hello --stream",
            f"    {_curl(self._url)}",
        ]
        _event("ready", "\n".join(lines), url=self._url, page=f"{self._url}/" if page else None)

    def _tell_end(self, code: int, was_ready: bool) -> None:
        what = f"The agent ended with exit code {code}." if was_ready else "The agent did not start."
        _event("ended" if was_ready else "failed", f"{what} Waiting for the next save.", exit_code=code)


def _event(name: str, shown: str, **facts: object) -> None:
    """Tell people on standard error, and programs, with `--json`, by a line on standard output."""
    if screen.as_json:
        screen.line({"event": name, **facts})
    else:
        screen.note(shown, {"ready": "green", "failed": "yellow", "ended": "yellow"}.get(name))


def _filter() -> Callable[[Any, str], bool]:
    from watchfiles import DefaultFilter

    default = DefaultFilter()
    return lambda change, path: path.endswith(_WATCHED) and default(change, path)


def _curl(url: str) -> str:
    body = '"{\\"prompt\\": \\"Hello\\"}"' if sys.platform == "win32" else """'{"prompt": "Hello"}'"""
    return f"curl -N -H Content-Type:application/json -H Accept:text/event-stream -d {body} {url}/invocations"


def _free_port(host: str, wanted: int | None) -> int:
    port = wanted or AGENT_PORT
    if is_free(host, port):
        return port
    other = next_free(host, port)
    taken = f"Port {port} is taken by {holder(port)}"
    if wanted is not None and not (screen.can_ask and screen.confirm(f"{taken}. Use {other}?", default=True)):
        raise CommandError(f"{taken}.", hint=f"Use another: ppio-agent dev --port {other}")
    if wanted is None:
        screen.note(f"{taken}; using {other}.", "yellow")
    return other


@contextmanager
def _ended_by_signals(received: list[int]) -> Iterator[None]:
    """Let the end of the terminal and a polite kill end this as Ctrl-C does; note the signal that came."""

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
