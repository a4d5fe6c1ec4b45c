"""uvicorn, set up for agents: the port, the signals, the drain, the exit code."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import uvicorn

from ppio_agent_models import ConfigurationError

from ._logging import configure_logging

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
        self._uvicorn: _DrainingServer | None = None
        self._stopped = False

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
        except OSError as error:
            reason = error.strerror or str(error)
            raise OSError(
                error.errno,
                f"cannot listen on {host}:{port}: {reason}. "
                "Choose another port with PPIO_AGENT_PORT or app.run(port=...).",
            ) from error

    def run(self) -> int:
        """Serve until a signal, drain, and return the exit code: 0, 1 (not started) or 3 (a thread was abandoned).

        Raises:
            ConfigurationError: The app has no entrypoint.
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
        self._uvicorn = _DrainingServer(self._uvicorn_config(), self._app)
        if self._stopped:
            self._uvicorn.begin_drain()
        logger.info("%s listens on http://%s:%d", self._app.entrypoint_name, self._config.host, self.port)
        try:
            self._uvicorn.run(sockets=[self._bound()])
        except SystemExit:  # uvicorn's way to say that the lifespan failed; it has logged why
            self._bound().close()
            return EXIT_FAILED
        return EXIT_ABANDONED if self._app.abandoned_threads else 0

    def stop(self) -> None:
        """Drain and end a server that runs in another thread."""
        self._stopped = True
        if self._uvicorn is not None:
            self._uvicorn.begin_drain()

    def _configure_logging(self) -> None:
        log_format, source = self._config.explain()["log_format"]
        configure_logging(None if source == "default" else log_format, debug=self._config.debug)

    def _bound(self) -> socket.socket:
        assert self._socket is not None
        return self._socket

    def _uvicorn_config(self) -> uvicorn.Config:
        return uvicorn.Config(
            self._app,
            http=_http_protocol(),
            ws="none",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            log_config=None,
            timeout_graceful_shutdown=_FAREWELL_SECONDS,
        )


class _DrainingServer(uvicorn.Server):
    """uvicorn, with a drain between the signal and the shutdown."""

    def __init__(self, config: uvicorn.Config, app: PPIOAgentRuntimeApp) -> None:
        super().__init__(config)
        self._app = app
        self._loop: asyncio.AbstractEventLoop | None = None
        self._drain: asyncio.Task[None] | None = None
        self._drain_is_wanted = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self._drain_is_wanted:
            self._start_drain()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Not handed on to uvicorn: it would raise the signal again at the end, and the exit code would not be 0.
        if self._drain is not None or not self.started:
            self.should_exit = self.force_exit = True
            return
        if sig == signal.SIGINT:
            sys.stderr.write("\nDraining; press Ctrl-C again to stop at once.\n")
        self.begin_drain()

    def begin_drain(self) -> None:
        """Start the drain, as soon as the server has started; safe in any thread and in a signal handler."""
        self._drain_is_wanted = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._start_drain)

    def _start_drain(self) -> None:
        if self._drain is None:
            self._drain = asyncio.get_running_loop().create_task(self._drain_then_exit())

    async def _drain_then_exit(self) -> None:
        try:
            await self._app.drain()
        finally:
            self.should_exit = True


def _http_protocol() -> Any:
    """Return uvicorn's fast HTTP protocol with our envelope for what is not HTTP at all; its pure one on Windows."""
    try:
        from ._protocol import AgentHttpProtocol
    except ImportError:
        return "h11"
    return AgentHttpProtocol
