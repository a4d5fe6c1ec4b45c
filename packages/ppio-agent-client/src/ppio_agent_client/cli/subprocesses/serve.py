"""Serves an agent for `ppio-agent dev`, with the agent's own Python, which has only the runtime of our packages.

Called as `python -c <this text> <lifeline> <arguments of ppio_agent_runtime, or a program with its own>`. The lifeline
is the file descriptor of a pipe that is closed when the command ends, or -1. What the agent prints goes to standard
error. Standard output has lines of JSON: `{"event": "serving", "protocols": {name: path}}`, and one for each request.

With `PPIO_DEV_VERBOSE` set, other libraries' log lines and frames are shown as well as the agent's own.
"""

import json
import logging
import os
import re
import runpy
import signal
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

FOLDER = Path.cwd().resolve()
NOT_THEIRS = {"site-packages", "dist-packages", ".venv", "venv"}
IS_VERBOSE = bool(os.environ.pop("PPIO_DEV_VERBOSE", ""))
UNTOLD_PATHS = ("/ping", "/metrics", "/openapi.json", "/favicon.ico", "/console", "/console/")
"""Paths that programs and the console page poll."""
DATA_LINES = re.compile(rb"^data:", re.MULTILINE)
OTHER_EVENTS = re.compile(rb"^event: ?(done|error|progress)\r?$", re.MULTILINE)
"""Events of a stream that are not chunks of the agent."""
SESSION_HEADER = b"x-ppio-session-id"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def is_theirs(file: str) -> bool:
    """Return whether a file belongs to the agent itself, not to a library inside its folder."""
    if file.startswith("<"):
        return False
    path = Path(file).resolve()
    return path.is_relative_to(FOLDER) and not NOT_THEIRS & set(path.relative_to(FOLDER).parts)


class FoldedStack(traceback.StackSummary):
    """The frames of a traceback; those of libraries are only counted."""

    def format(self, **options: Any) -> list[str]:
        """Return the lines."""
        lines: list[str] = []
        frames = list(self)
        while frames:
            theirs = is_theirs(frames[0].filename)
            end = next((n for n, frame in enumerate(frames) if is_theirs(frame.filename) != theirs), len(frames))
            run, frames = frames[:end], frames[end:]
            if theirs:
                lines += traceback.StackSummary.from_list(run).format(**options)
            else:
                lines.append(f"  … {end} {'frame' if end == 1 else 'frames'} of libraries\n")
        return lines


def folded(report: traceback.TracebackException | None) -> None:
    """Fold the frames of the runtime and of libraries, unless there are no others."""
    if report is None or IS_VERBOSE:
        return
    if any(is_theirs(frame.filename) for frame in report.stack):
        report.stack = FoldedStack(report.stack)
    elif isinstance(getattr(report, "filename", None), str):  # A syntax error has its own place.
        report.stack = FoldedStack()
    for inner in (report.__cause__, report.__context__, *(report.exceptions or ())):
        folded(inner)


def traceback_of(error: BaseException) -> str:
    """Return the traceback of an error in the agent's own frames."""
    report = traceback.TracebackException.from_exception(error)
    folded(report)
    return "".join(report.format())


class OwnLines(logging.Filter):
    """Handler filter: passes the agent's own log records and others' warnings; folds tracebacks."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is shown."""
        if record.exc_info and record.exc_info[1] is not None and not record.exc_text:
            record.exc_text = traceback_of(record.exc_info[1]).rstrip()  # Formatters use it unchanged.
        return record.levelno >= logging.WARNING or is_theirs(record.pathname)


OWN_LINES = OwnLines()


def filter_logs() -> None:
    """Add the filter to every handler of the root logger without one; the agent may have added handlers."""
    for handler in () if IS_VERBOSE else logging.getLogger().handlers:
        if OWN_LINES not in handler.filters:
            handler.addFilter(OWN_LINES)


def set_up_logging() -> None:
    """Set up short log lines, unless the agent has set up logging itself."""
    root = logging.getLogger()
    if not root.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S"))
        root.addHandler(handler)
        root.setLevel(logging.INFO)
    filter_logs()


class Events:
    """Sends events to the command on the original standard output, which nothing else writes to."""

    def __init__(self) -> None:
        self._file = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def tell(self, **document: Any) -> None:
        """Write one line; does nothing if the command has ended."""
        try:
            self._file.write(f"{json.dumps(document)}\n")
            self._file.flush()
        except OSError:
            self._file = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123  # until the end


class Exchange:
    """Observes one request and its response.

    Args:
        scope: The ASGI scope.
    """

    def __init__(self, scope: Message) -> None:
        self._begun = time.monotonic()
        self._first: float | None = None
        self._chunks = 0
        self._is_whole = False
        self._outcome = "whole"
        self._status: int | None = None
        self._form = scope["type"]
        self._session: str | None = None
        self._method = scope.get("method", "WS")
        self._path = scope["path"]

    def receiving(self, receive: Receive) -> Receive:
        """Return a `receive` that records when the caller disconnects."""

        async def noted() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect" and not self._is_whole:
                self._outcome = "caller left"
            return message

        return noted

    def sending(self, send: Send) -> Send:
        """Return a `send` that records the response."""

        async def noted(message: Message) -> None:
            kind = message["type"]
            if kind in ("http.response.start", "websocket.http.response.start", "websocket.accept"):
                self._note_start(message.get("status", 101), message.get("headers", ()))
            elif kind == "http.response.body":
                self._note_body(bytes(message.get("body", b"")))
                self._is_whole = not message.get("more_body", False)
            elif kind == "websocket.send":
                self._note_chunks(1)
            elif kind == "websocket.close":
                self._status = self._status or 403  # Servers respond to a close before the handshake with it.
            await send(message)

        return noted

    def _note_start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        found = {name.lower(): value for name, value in headers}
        self._status = status
        kind = found.get(b"content-type", b"").partition(b";")[0].decode("latin-1")
        if kind:
            self._form = "stream" if kind == "text/event-stream" else kind.rpartition("/")[2]
        if session := found.get(SESSION_HEADER):
            self._session = unquote(session.decode("latin-1"))

    def _note_body(self, body: bytes) -> None:
        if self._form != "stream":
            return
        others = OTHER_EVENTS.findall(body)
        self._note_chunks(len(DATA_LINES.findall(body)) - len(others))
        if b"error" in others:
            self._outcome = "failed"

    def _note_chunks(self, number: int) -> None:
        if number > 0 and self._first is None:
            self._first = time.monotonic() - self._begun
        self._chunks += max(number, 0)

    @property
    def document(self) -> dict[str, Any]:
        """Return the event for the command."""
        return {
            "method": self._method,
            "path": self._path,
            "form": self._form,
            "session_id": self._session,
            "status": self._status,
            "first_seconds": self._first,
            "duration_seconds": time.monotonic() - self._begun,
            "chunks": self._chunks if self._form in ("stream", "websocket") else None,
            "outcome": self._outcome,
        }


class ToldRequests:
    """ASGI middleware that reports each completed request."""

    def __init__(self, app: Any, events: Events) -> None:
        self._app = app
        self._events = events

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Forward and observe."""
        filter_logs()
        path = str(scope.get("path"))
        is_page = path == "/" or path in UNTOLD_PATHS or path.startswith("/console/")
        if scope["type"] == "lifespan" or is_page:
            await self._app(scope, receive, send)
            return
        exchange = Exchange(scope)
        try:
            await self._app(scope, exchange.receiving(receive), exchange.sending(send))
        finally:
            self._events.tell(event="request", **exchange.document)


def tell_requests_of_apps(events: Events) -> None:
    """Make every app of ours report its requests when it serves."""
    from ppio_agent_runtime import PPIOAgentRuntimeApp

    run = PPIOAgentRuntimeApp.run

    def run_told(app: PPIOAgentRuntimeApp, *arguments: Any, **options: Any) -> None:
        set_up_logging()
        app.add_middleware(ToldRequests, events=events)
        events.tell(event="serving", protocols=protocols_of(app))
        run(app, *arguments, **options)

    PPIOAgentRuntimeApp.run = run_told  # type: ignore[assignment, method-assign]


def protocols_of(app: Any) -> dict[str, str]:
    """Return the other protocols that an app serves, with their paths."""
    wanted = getattr(app.config, "protocols", None)  # An older runtime has none.
    if not wanted:
        return {}
    from ppio_agent_runtime.protocols import PROTOCOLS

    paths = {**{name: protocol.path for name, protocol in PROTOCOLS.items()}, **(app.config.protocol_paths or {})}
    return {name: path for name, path in paths.items() if name in wanted or "all" in wanted}


def end_with(lifeline: int) -> None:
    """Exit when the command ends, even if it is killed: its end of the pipe is closed then."""
    os.read(lifeline, 1)
    if sys.platform != "win32":
        os.killpg(os.getpgid(0), signal.SIGKILL)


def main() -> None:
    """Serve the agent; show an error with the agent's own frames."""
    events = Events()
    lifeline = int(sys.argv.pop(1))
    if lifeline >= 0:
        threading.Thread(target=end_with, args=[lifeline], daemon=True).start()
    try:
        if sys.argv[1].endswith("script.py") and Path(sys.argv[1]).is_absolute():
            sys.argv.pop(0)
            runpy.run_path(sys.argv[0], run_name="__main__")
        else:
            tell_requests_of_apps(events)
            runpy.run_module("ppio_agent_runtime", run_name="__main__", alter_sys=True)
    except Exception as error:  # noqa: BLE001  # whatever the agent's code raises
        sys.stderr.write(traceback_of(error))
        if isinstance(error, ModuleNotFoundError):
            sys.stderr.write("Is it in requirements.txt? Then: pip install -r requirements.txt\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
