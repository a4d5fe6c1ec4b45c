"""The main loop of `dev`: handles saves, keys and requests, and shows them."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from ppio_agent_models import PPIOAgentRuntimeError

from .dev_agent import STREAM_SECONDS, DevAgent
from .errors import CommandError
from .keys import Keys
from .messages import later, tr
from .output import screen
from .project import is_script, read_manifest, script_runner
from .protocol_lines import curl, line_to_try
from .request_lines import request_line, style_of

_WATCHED: Final = (".env", ".py", ".toml", ".yaml", ".yml")
"""Extensions of source files. Files that the agent may write itself, such as data, must not restart it."""
_DEFAULTS: Final = {
    "PPIO_AGENT_CONSOLE_LOG": "1",
    "PPIO_AGENT_DEBUG": "true",
    "PPIO_AGENT_SHUTDOWN_GRACE_SECONDS": str(STREAM_SECONDS),
    "PYTHONUNBUFFERED": "1",
}
_LOOK_SECONDS: Final = 0.2
_KEYS_LINE: Final = later("Keys: r restart, o open the page, c chat, q quit.")


class DevLoop:
    """Runs one agent and restarts it when its files are saved.

    Args:
        manifest: Path of the agent's manifest.
        python: The interpreter to run it with.
        host: Address to listen on.
        port: Port to listen on.
        opens: Whether to open its page when it is ready for the first time; never in CI.
    """

    def __init__(self, manifest: Path, python: str, host: str, port: int, *, opens: bool) -> None:
        self._manifest = manifest
        self._folder = manifest.parent.resolve()
        self._opens = opens and not os.environ.get("CI")
        self._told = False
        self._name = ""
        self._protocols: dict[str, str] = {}
        self._news: queue.Queue[list[str] | str] = queue.Queue()
        """Changed files, or a key."""
        self._ended = threading.Event()
        self._chats = False
        self._keys = Keys(self._news.put)
        self._has_keys = Keys.can_listen() and not screen.as_json
        self._agent = DevAgent(
            python,
            self._folder,
            host,
            port,
            on_ready=self._tell_ready,
            on_event=self._tell_event,
            on_end=self._tell_end,
        )
        self._url = f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def run(self) -> None:
        """Start the agent, and restart it after each save, until the key `q` or a signal."""
        threading.Thread(target=self._watch, daemon=True).start()
        if self._has_keys:
            self._keys.start()
        self._start()
        while (news := self._next()) != "q":
            if isinstance(news, list):
                self._take_up(news)
            elif news == "r":
                self._start_again(tr("Restarting."), files=[])
            elif news == "o":
                self._open_page()
            elif news == "c":
                self._chat()

    def stop(self) -> None:
        """Stop the agent, and restore the terminal."""
        self._ended.set()
        self._keys.stop()
        self._agent.stop()

    def _next(self) -> list[str] | str:
        while True:
            with suppress(queue.Empty):
                return self._news.get(timeout=1)  # On Windows, Ctrl-C doesn't wake it.

    def _chat(self) -> None:
        """Give the terminal to a chat until it ends; saves still restart the agent."""
        self._keys.stop()
        self._chats = True
        before = signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the chat.
        chat = subprocess.Popen([sys.executable, "-m", __package__, "chat", "--url", self._url])
        try:
            while chat.poll() is None:
                with suppress(queue.Empty):
                    news = self._news.get(timeout=_LOOK_SECONDS)
                    if isinstance(news, list):
                        self._take_up(news)
        finally:
            chat.terminate()
            chat.wait()
            signal.signal(signal.SIGINT, before)
            self._chats = False
        screen.note(tr(_KEYS_LINE), "dim")
        self._keys.start()

    def _take_up(self, files: list[str]) -> None:
        names = f"{', '.join(files[:3])}{' ...' if len(files) > 3 else ''}"
        self._start_again(tr("{files} changed.", files=names), files=files)

    def _watch(self) -> None:
        from watchfiles import watch

        for changes in watch(
            self._folder, watch_filter=_filter(), debounce=300, step=50, stop_event=self._ended, raise_interrupt=False
        ):
            self._news.put(sorted({os.path.relpath(path, self._folder) for _, path in changes}))

    def _start_again(self, why: str, *, files: list[str]) -> None:
        _event("changed", f"\n{why}", files=files)
        self._agent.stop()
        self._start()

    def _start(self) -> None:
        try:
            manifest = read_manifest(self._manifest)
        except (PPIOAgentRuntimeError, CommandError) as error:
            screen.error(str(error))
            _event("failed", tr("Waiting for the next save."), exit_code=None)
            return
        spec, self._name = manifest.spec, manifest.metadata.name
        screen.detail(tr("Starting {entrypoint}.", entrypoint=spec.entrypoint))
        script = script_runner() if is_script(self._folder, spec.entrypoint) else None
        variables = {**_DEFAULTS, **spec.variables, **os.environ}
        if screen.verbose:
            variables["PPIO_DEV_VERBOSE"] = "1"
        self._protocols = {}
        self._agent.start(spec.entrypoint, variables, script=script, reads_input=not self._has_keys)

    def _tell_ready(self) -> None:
        if self._told:
            _event("ready", tr("Running again at {url}", url=self._url), url=self._url)
            return
        self._told = True
        page = f"{self._url}/" if self._agent.media_type_of("/") == "text/html" else None
        if page is not None and self._opens:
            _open(page)
        if screen.as_json:
            screen.line({"event": "ready", "url": self._url, "page": page, "protocols": self._protocols})
            return
        box = [
            tr("{name} is running at {url}", name=self._name, url=self._url),
            *([tr("Its page: {url}", url=page)] if page else []),
            tr("Saving a file restarts it, Ctrl-C stops it."),
            *([tr(_KEYS_LINE)] if self._has_keys else []),
        ]
        screen.box("\n".join(box), "green")
        invocations = curl(f"{self._url}/invocations", {"prompt": "Hello"}, "Accept:text/event-stream")
        screen.note(f"ppio-agent invoke --url {self._url} --input Hello --stream\n{invocations}")
        for name, path in self._protocols.items():
            screen.note(f"{name}: {line_to_try(name, self._url, path)}")

    def _tell_event(self, told: dict[str, Any]) -> None:
        if told.get("event") == "serving":
            self._protocols = told["protocols"]
        elif screen.as_json:
            screen.line(told)
        elif not self._chats:  # A chat shows its own requests.
            columns = shutil.get_terminal_size().columns
            screen.note(request_line(told, datetime.now().astimezone(), columns), style_of(told))

    def _tell_end(self, code: int, was_ready: bool) -> None:
        if was_ready:
            ended = tr("The agent ended with exit code {code}. Waiting for the next save.", code=code)
            _event("ended", ended, exit_code=code)
        else:
            _event("failed", tr("The agent did not start. Waiting for the next save."), exit_code=code)

    def _open_page(self) -> None:
        if self._agent.media_type_of("/") != "text/html":
            screen.note(tr("There is no page: the agent is not running, or its runtime has none."), "yellow")
        else:
            _open(f"{self._url}/")


def _open(page: str) -> None:
    if not webbrowser.open(page):
        screen.note(tr("No browser was found to open {url}", url=page), "yellow")


def _event(name: str, shown: str, **facts: object) -> None:
    """Show an event on standard error or, with `--json`, print it as a line on standard output."""
    if screen.as_json:
        screen.line({"event": name, **facts})
    else:
        screen.note(shown, {"ready": "green", "failed": "yellow", "ended": "yellow"}.get(name))


def _filter() -> Callable[[Any, str], bool]:
    from watchfiles import DefaultFilter

    default = DefaultFilter()
    return lambda change, path: path.endswith(_WATCHED) and default(change, path)
