"""`PPIOAgentRuntimeServer`: uvicorn with our drain and exit codes, which always exits, whatever the agent does."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import uvicorn

from ppio_agent_models import ConfigurationError

from .event_loop import OwnLoop
from .file_descriptors import DescriptorWatch
from .forked_children import released_in_children
from .observability.logging import configure_logging, logger
from .process_exit import EXIT_ABANDONED
from .server_config import SHUTDOWN_SECONDS, ServedApp, ServerConfig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


_uvicorn_logger = logging.getLogger("uvicorn.error")

EXIT_FAILED: Final = 1
_CUT_SECONDS: Final = 1.0
"""How long calls that the second signal cuts may take to tell their callers so."""
_UNSENT_BYTES: Final = 128 * 1024
"""How much of a connection's responses the kernel may buffer; otherwise it would be some megabytes."""


class PPIOAgentRuntimeServer(uvicorn.Server):
    """Serves one app on one port.

    SIGTERM and Ctrl-C start a drain: `/ping` returns 503, new work gets 503 with `Retry-After`, the port stays open,
    and running work can continue for `shutdown_grace_seconds`. A second signal stops the server at once.

    Args:
        app: What to serve; it needs an entrypoint.
        port: Overrides the configured port; 0 lets the system choose.
        host: Overrides the configured host.
        uvicorn_options: Other options of `uvicorn.Config`: `ssl_certfile` and `ssl_keyfile`, `uds`, `fd`, `backlog`,
            `root_path`, `loop`, `http`, ... With another `http` the limits on the head of a request are those of that
            protocol.

    Raises:
        ConfigurationError: A bad host or port, or an option that uvicorn doesn't have or that is a setting here.
    """

    should_exit: bool
    force_exit: bool

    def __init__(
        self,
        app: ServedApp,
        /,
        *,
        port: int | None = None,
        host: str | None = None,
        **uvicorn_options: Any,
    ) -> None:
        given = {name: value for name, value in (("port", port), ("host", host)) if value is not None}
        settings = app.config.replace(**given) if given else app.config
        self._own_config = ServerConfig(app, settings, uvicorn_options)
        super().__init__(self._own_config)
        self.servers: list[asyncio.base_events.Server] = []
        self._app = app
        self._socket: socket.socket | None = None
        self._port: int = settings.port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._serving: asyncio.Task[None] | None = None
        self._drain: asyncio.Task[None] | None = None
        self._drain_wanted = False
        self._drained = asyncio.Event()
        self._startup_failed = False
        self._last_resort: threading.Timer | None = None
        self._descriptors = DescriptorWatch()

    @property
    def port(self) -> int:
        """The port that the server listens on; before `bind`, the configured one."""
        return self._port

    def bind(self) -> None:
        """Bind the port, so that callers can connect before the app has started.

        Raises:
            OSError: The port is taken, or the address isn't one of this machine; the message says which.
        """
        host, port = self.config.host, self.config.port
        if self.config.uds is not None or self.config.fd is not None:
            return  # uvicorn binds these when the app has started
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=self.config.backlog)
            self._port = self._socket.getsockname()[1]
            # Connections inherit it; asyncio's own loop, unlike uvloop, would delay small responses by 40 ms.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if (option := getattr(socket, "TCP_NOTSENT_LOWAT", None)) is not None:  # Linux and macOS
                self._socket.setsockopt(socket.IPPROTO_TCP, option, _UNSENT_BYTES)
        except OSError as error:
            reason = (error.strerror or str(error)).partition(" (while attempting")[0]  # without the address
            raise OSError(
                error.errno,
                f"cannot listen on {host}:{port}: {reason}. "
                "Choose another port with PPIO_AGENT_PORT or app.run(port=...).",
            ) from error

    def run(self, sockets: list[socket.socket] | None = None) -> int:  # type: ignore[override]  # uvicorn returns None
        """Serve until a signal, drain, and return the exit code: 0, 1 (not started) or 3 (a thread was abandoned).

        Args:
            sockets: Listening sockets to use instead of the one that `bind` makes.

        Raises:
            ConfigurationError: The app has no entrypoint, or WebSockets without the extra for them; or an event loop
                is already running in this thread.
        """
        _refuse_running_loop()
        if self._app.entrypoint_name is None:
            raise ConfigurationError("This app has no entrypoint: write @app.entrypoint above the agent's function.")
        log_format, source = self._app.config.explain()["log_format"]
        configure_logging(None if source == "default" else log_format, debug=self._app.config.debug)
        try:
            self.config.load()
            if sockets is None and self._socket is None:
                self.bind()
        except OSError as error:
            sys.stderr.write(f"ppio-agent-runtime: {error.strerror}\n")
            return EXIT_FAILED
        logger.info("%s listens on %s", self._app.entrypoint_name, self._own_config.place(self.port))
        self._own_config.warn_if_open()
        listening = sockets or ([] if self._socket is None else [self._socket])
        try:
            with released_in_children(self.handle_exit, self._sockets):
                ended = self._run_until_drained(listening)
        finally:
            for each in listening:
                each.close()  # so that callers in its queue get an error
            self._app.close()
        if self._startup_failed:
            return EXIT_FAILED
        return 0 if ended and not self._app.abandoned_threads else EXIT_ABANDONED

    def stop(self) -> None:
        """Drain and stop a server that runs, or is about to run, in another thread."""
        self._drain_wanted = True
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed already
                self._loop.call_soon_threadsafe(self._start_drain)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the app and listen. If that fails, uvicorn raises SystemExit(3), which has another meaning here."""
        try:
            await super().startup(sockets)
        except SystemExit:
            self._startup_failed = self.should_exit = True
        except OSError as error:  # a Unix socket or a file descriptor
            place, reason = self._own_config.place(self.port), error.strerror or error
            sys.stderr.write(f"ppio-agent-runtime: cannot listen on {place}: {reason}.\n")
            self._startup_failed = self.should_exit = True
            await self.lifespan.shutdown()

    async def main_loop(self) -> None:
        """Run periodic work once a second until the drain is over; uvicorn's own loop does it ten times a second."""
        while not await self.on_tick(0):
            self._descriptors.check()
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._drained.wait()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, and stop at once at the next one, or while there is nothing to drain yet."""
        if self._drain_wanted or not self.started:
            self._end_at_once()
        else:
            self.stop()  # before writing, because the next signal may come meanwhile
            if sig == signal.SIGINT:
                sys.stderr.write("\nDraining; press Ctrl-C again to stop at once.\n")

    def _sockets(self) -> Iterator[int]:
        """Yield the file descriptors of all sockets, listening and connected."""
        if self._socket is not None:
            yield self._socket.fileno()
        for server in self.servers:
            yield from [each.fileno() for each in server.sockets]
        for connection in list(self.server_state.connections):
            if (connected := connection.transport.get_extra_info("socket")) is not None:
                yield connected.fileno()

    def _run_until_drained(self, listening: list[socket.socket]) -> bool:
        """Serve, and return whether all tasks and threads have ended."""
        own = OwnLoop(self.config.get_loop_factory())
        self._loop = own.loop
        own.loop.set_exception_handler(self._descriptors.handle)
        self._serving = own.loop.create_task(self.serve(listening or None))
        if self._drain_wanted:
            own.loop.call_soon(self._start_drain)
        _uvicorn_logger.addFilter(_tell_cut_requests)
        ended = False
        try:
            try:
                own.loop.run_until_complete(self._serving)
            except asyncio.CancelledError:  # the second signal
                with suppress(TimeoutError):
                    own.loop.run_until_complete(asyncio.wait_for(self._app.drain(0), _CUT_SECONDS))
        finally:
            ended = own.end(SHUTDOWN_SECONDS, self._hang_up)
            _uvicorn_logger.removeFilter(_tell_cut_requests)
            if self._last_resort is not None:
                self._last_resort.cancel()
        return ended

    def _start_drain(self) -> None:
        if self._drain is None:
            self._drain = asyncio.get_running_loop().create_task(self._drain_then_exit())

    async def _drain_then_exit(self) -> None:
        try:
            await self._app.drain()
            self.force_exit = not await self._app.can_shut_down()
        finally:
            self.should_exit = True
            self._drained.set()

    def _end_at_once(self) -> None:
        """Cancel the server, also in a hanging lifespan; exit the process if its loop is blocked."""
        if self._last_resort is None and self._loop is not None and self._serving is not None:
            self._last_resort = threading.Timer(SHUTDOWN_SECONDS * 2, os._exit, [EXIT_ABANDONED])
            self._last_resort.daemon = True
            self._last_resort.start()
            self._loop.call_soon_threadsafe(self._serving.cancel)

    async def _hang_up(self) -> None:
        """Close connections that a slow reader or a second signal left open, before the loop is closed."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)


def _refuse_running_loop() -> None:
    with suppress(RuntimeError):
        asyncio.get_running_loop()
        raise ConfigurationError(
            "app.run() starts an event loop of its own and cannot be called while one is running, as in a notebook or "
            "under asyncio.run(): call it in a thread, threading.Thread(target=app.run).start(), or serve the app on "
            "the running loop with 'await uvicorn.Server(uvicorn.Config(app)).serve()'."
        )


def _tell_cut_requests(record: logging.LogRecord) -> bool:
    """Shorten uvicorn's log record of a request that is cut at shutdown, instead of a traceback."""
    if record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError):
        if "lifespan" in record.msg:
            return False
        record.msg, record.exc_info = "A request was cut, because the server shut down.", None
    return True
