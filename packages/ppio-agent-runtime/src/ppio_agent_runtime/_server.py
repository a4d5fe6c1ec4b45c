"""uvicorn, set up for agents: the port, the signals, the drain, the exit code."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from importlib.util import find_spec
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import uvicorn

from ppio_agent_models import ConfigurationError

from ._logging import configure_logging
from ._loop import OwnLoop, holds_up_exit

if TYPE_CHECKING:
    from ._app import PPIOAgentRuntimeApp

logger = logging.getLogger("ppio_agent_runtime")

EXIT_FAILED: Final = 1
EXIT_ABANDONED: Final = 3
"""A `def` handler did not return before the end; its thread died with the process."""

_FAREWELL_SECONDS: Final = 2
"""How long connections may take to close after the drain."""


class PPIOAgentRuntimeServer:
    """Serves one app on one port.

    SIGTERM and Ctrl-C start a drain: `/ping` turns 503, new work gets 503 with `Retry-After`, the port stays open, and
    running work may go on for `shutdown_grace_seconds`. A second signal ends it at once.

    Args:
        app: What to serve; it needs an entrypoint.
        port: Instead of the configured one; 0 lets the system choose.
        host: Instead of the configured one.
    """

    def __init__(self, app: PPIOAgentRuntimeApp, *, port: int | None = None, host: str | None = None) -> None:
        changes: dict[str, Any] = {}
        if port is not None:
            changes["port"] = port
        if host is not None:
            changes["host"] = host
        self._app = app
        self._config = app.config.replace(**changes) if changes else app.config
        self._socket: socket.socket | None = None
        self._stopped = False
        self._uvicorn: _DrainingServer | None = None

    @property
    def port(self) -> int:
        """The port that is listened on; before `bind` the configured one."""
        return self._config.port if self._socket is None else int(self._socket.getsockname()[1])

    def bind(self) -> None:
        """Take the port, so that callers can connect before the app has started.

        Raises:
            OSError: The port is taken or the address is not of this machine; the message says which.
        """
        host, port = self._config.host, self._config.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=2048)
            # Connections inherit it; asyncio's own loop, unlike uvloop, would let small answers wait for 40 ms.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            reason = (error.strerror or str(error)).partition(" (while attempting")[0]  # the address is named already
            raise OSError(
                error.errno,
                f"cannot listen on {host}:{port}: {reason}. "
                "Choose another port with PPIO_AGENT_PORT or app.run(port=...).",
            ) from error

    def run(self) -> int:
        """Serve until a signal, drain, and return the exit code: 0, 1 (not started) or 3 (a thread was abandoned).

        Raises:
            ConfigurationError: The app has no entrypoint, or WebSockets without the extra for them.
        """
        if self._app.entrypoint_name is None:
            raise ConfigurationError("This app has no entrypoint; put @app.entrypoint above the agent's function.")
        self._configure_logging()
        try:
            if self._socket is None:
                self.bind()
        except OSError as error:
            sys.stderr.write(f"ppio-agent-runtime: {error.strerror}\n")
            return EXIT_FAILED
        assert self._socket is not None
        self._uvicorn = _DrainingServer(self._uvicorn_config(), self._app)
        if self._stopped:
            self._uvicorn.begin_drain()
        logger.info("%s listens on http://%s:%d", self._app.entrypoint_name, self._config.host, self.port)
        try:
            self._uvicorn.run(sockets=[self._socket])
        except SystemExit:  # uvicorn's way to say that the lifespan failed; it has logged why
            return EXIT_FAILED
        finally:
            self._socket.close()  # callers that wait in its queue learn that nobody will come
            self._app.close()
        return EXIT_ABANDONED if self._app.abandoned_threads or self._uvicorn.left_something else 0

    def stop(self) -> None:
        """Drain and end a server that runs, or is about to run, in another thread."""
        self._stopped = True
        if self._uvicorn is not None:
            self._uvicorn.begin_drain()

    def _configure_logging(self) -> None:
        log_format, source = self._config.explain()["log_format"]
        configure_logging(None if source == "default" else log_format, debug=self._config.debug)

    def _uvicorn_config(self) -> uvicorn.Config:
        return uvicorn.Config(
            self._app,
            http=_http_protocol(),
            ws=_websocket_protocol(self._app),
            ws_max_size=self._config.max_request_size,
            lifespan="on",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            log_config=None,
            timeout_graceful_shutdown=_FAREWELL_SECONDS,
        )


class _DrainingServer(uvicorn.Server):
    """uvicorn, with a drain between the signal and the shutdown, and an end that comes whatever the agent does.

    Attributes:
        left_something: Tasks or threads did not end and were left behind.
    """

    def __init__(self, config: uvicorn.Config, app: PPIOAgentRuntimeApp) -> None:
        super().__init__(config)
        self.left_something = False
        self._app = app
        self._loop: asyncio.AbstractEventLoop | None = None
        self._life: asyncio.Task[None] | None = None
        self._drain: asyncio.Task[None] | None = None
        self._drain_wanted = False
        self._last_resort: threading.Timer | None = None

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        own = OwnLoop()
        loop = self._loop = own.loop
        self._life = loop.create_task(self.serve(sockets))
        if self._drain_wanted:
            loop.call_soon(self._start_drain)
        try:
            with suppress(asyncio.CancelledError):  # the second signal
                loop.run_until_complete(self._life)
        finally:
            if hasattr(self, "lifespan"):
                # A second signal leaves the lifespan where it waits, and `end` cancels it: that is no failure to log.
                self.lifespan.shutdown_failed = True
            self.left_something = not own.end(_FAREWELL_SECONDS, self._hang_up)
            if self._last_resort is not None:
                self._last_resort.cancel()

    async def _hang_up(self) -> None:
        """Close what a slow reader or a second signal left open, so that nothing is pending on the loop at its end."""
        for server in self.servers if self.started else ():
            server.close()
        for connection in list(self.server_state.connections):
            transport: Any = connection.transport
            transport.abort()
        await asyncio.sleep(0)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Not handed on to uvicorn: it would raise the signal again at the end, and the exit code would not be 0.
        if self._drain_wanted or not self.started:
            self._end_at_once()
            return
        self.begin_drain()  # first: the next signal may come while the line is being written
        if sig == signal.SIGINT:
            sys.stderr.write("\nDraining; press Ctrl-C again to stop at once.\n")

    def begin_drain(self) -> None:
        """Start the drain; safe in any thread and in a signal handler."""
        self._drain_wanted = True
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: it is over already
                self._loop.call_soon_threadsafe(self._start_drain)

    def _start_drain(self) -> None:
        if self._drain is None:
            self._drain = asyncio.get_running_loop().create_task(self._drain_then_exit())

    async def _drain_then_exit(self) -> None:
        try:
            await self._app.drain()
            self.force_exit = not await self._app.can_shut_down()
        finally:
            self.should_exit = True

    def _end_at_once(self) -> None:
        """Cancel the server wherever it waits, in a hanging lifespan too; leave without it if its loop is blocked."""
        self.should_exit = self.force_exit = True
        if self._last_resort is None:
            assert self._loop is not None
            assert self._life is not None
            self._last_resort = threading.Timer(_FAREWELL_SECONDS * 2, os._exit, [EXIT_ABANDONED])
            self._last_resort.daemon = True
            self._last_resort.start()
            self._loop.call_soon_threadsafe(self._life.cancel)


def leave_in_time(code: int) -> None:
    """End the process now if blocking code behind `asyncio.to_thread` would hold up its exit, else return."""
    if holds_up_exit():
        logger.error("A thread of asyncio.to_thread() did not end; the process leaves without it.")
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code or EXIT_ABANDONED)


def _websocket_protocol(app: PPIOAgentRuntimeApp) -> Any:
    """Return the WebSocket protocol to speak: none where nobody answers it, for a faster start."""
    if app.websockets != "none" and find_spec("websockets") is not None:
        from ._websocket_protocol import AgentWebSocketProtocol

        return AgentWebSocketProtocol
    if app.websockets != "handler":
        return "none"
    raise ConfigurationError("WebSockets need the extra: pip install 'ppio-agent-runtime[websocket]'")


def _http_protocol() -> Any:
    """Return uvicorn's fast HTTP protocol with our envelope for what is not HTTP at all; its pure one on Windows."""
    try:
        from ._protocol import AgentHttpProtocol
    except ImportError:
        return "h11"
    return AgentHttpProtocol
