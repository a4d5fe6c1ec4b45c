"""A server for agents: the port, the log, the life of one app on it, the exit code."""

from __future__ import annotations

import logging
import os
import socket
import sys
from typing import TYPE_CHECKING, Any, Final

from ppio_agent_models import ConfigurationError

from ..observability.logging import configure_logging, logger
from .loop import holds_up_exit
from .serving import BACKLOG, EXIT_ABANDONED, Serving

if TYPE_CHECKING:
    from .._app import PPIOAgentRuntimeApp

EXIT_FAILED: Final = 1


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
        self._serving: Serving | None = None

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
            self._socket = socket.create_server((host, port), family=family, backlog=BACKLOG)
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
        serving = self._serving = Serving(self._app, self._socket)
        if self._stopped:
            serving.begin_drain()
        logger.info("%s listens on http://%s:%d", self._app.entrypoint_name, self._config.host, self.port)
        try:
            serving.run()
        finally:
            self._socket.close()  # callers that wait in its queue learn that nobody will come
            self._app.close()
        if serving.failed:
            return EXIT_FAILED
        return EXIT_ABANDONED if self._app.abandoned_threads or serving.left_something else 0

    def stop(self) -> None:
        """Drain and end a server that runs, or is about to run, in another thread."""
        self._stopped = True
        if self._serving is not None:
            self._serving.begin_drain()

    def _configure_logging(self) -> None:
        log_format, source = self._config.explain()["log_format"]
        configure_logging(None if source == "default" else log_format, debug=self._config.debug)


def leave_in_time(code: int) -> None:
    """End the process now if blocking code behind `asyncio.to_thread` would hold up its exit, else return."""
    if holds_up_exit():
        logger.error("A thread of asyncio.to_thread() did not end; the process leaves without it.")
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code or EXIT_ABANDONED)
