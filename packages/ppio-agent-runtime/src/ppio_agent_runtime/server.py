"""`PPIOAgentRuntimeServer`: uvicorn with our drain, exit codes, and an end that comes whatever the agent does."""

from __future__ import annotations

import asyncio
import errno
import inspect
import logging
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import uvicorn

from ppio_agent_models import ConfigurationError

from .event_loop import OwnLoop, holds_up_exit
from .observability.logging import configure_logging, logger

if TYPE_CHECKING:
    from types import FrameType

    from .asgi import ASGIApp, Receive, Scope, Send
    from .config import AgentConfig

_uvicorn_logger = logging.getLogger("uvicorn.error")

EXIT_FAILED: Final = 1
EXIT_ABANDONED: Final = 3
"""A `def` handler did not return before the end; its thread died with the process."""
BACKLOG: Final = 2048
"""How many callers may wait to be connected; the system may allow less."""
_SHUTDOWN_SECONDS: Final = 2
"""How long connections may take to close after the drain, and what is left on the loop after that."""
_ELSEWHERE: Final = "start uvicorn yourself: uvicorn main:app --workers 4"
_OWNED_OPTIONS: Final = {
    **dict.fromkeys(("app", "factory", "interface"), "it serves this app"),
    **dict.fromkeys(("workers", "timeout_worker_healthcheck"), f"it is one process; for several {_ELSEWHERE}"),
    **dict.fromkeys(
        ("reload", "reload_dirs", "reload_delay", "reload_includes", "reload_excludes"),
        "`ppio-agent dev` reloads, and so does `uvicorn main:app --reload`",
    ),
    **dict.fromkeys(("log_config", "log_level", "use_colors"), "the program's own logging is used; see log_format"),
    "access_log": "use the setting access_log",
    "lifespan": "the app's lifespan always runs",
    "env_file": "load it before AgentConfig is made",
    "http2": "it speaks HTTP/1.1; HTTP/2 is for a proxy in front, or for hypercorn",
    "timeout_graceful_shutdown": "use the setting shutdown_grace_seconds",
    "timeout_keep_alive": "use the setting keep_alive_seconds",
    "ws_max_size": "use the setting max_request_size",
    **dict.fromkeys(("proxy_headers", "forwarded_allow_ips"), "use the setting forwarded_allow_ips"),
}
"""Options of uvicorn that are refused, and why."""


class ServedApp(Protocol):
    """What the server needs of an app; see `PPIOAgentRuntimeApp`."""

    config: AgentConfig

    @property
    def entrypoint_name(self) -> str | None:
        """None where there is nothing to serve."""

    @property
    def stack(self) -> ASGIApp:
        """The ASGI app inside."""

    @property
    def websockets(self) -> Literal["none", "handler", "perhaps"]:
        """Who answers WebSockets."""

    @property
    def abandoned_threads(self) -> int:
        """How many threads are still at work after a drain."""

    async def drain(self) -> None:
        """Refuse new work, let running work finish, then stop it."""

    async def can_shut_down(self) -> bool:
        """Say whether the handlers' event loop still listens."""

    def close(self) -> None:
        """End the app's own threads."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""


class PPIOAgentRuntimeServer(uvicorn.Server):
    """Serves one app on one port.

    SIGTERM and Ctrl-C start a drain: `/ping` turns 503, new work gets 503 with `Retry-After`, the port stays open, and
    running work may go on for `shutdown_grace_seconds`. A second signal ends it at once.

    Args:
        app: What to serve; it needs an entrypoint.
        port: Instead of the configured one; 0 lets the system choose.
        host: Instead of the configured one.
        uvicorn_options: What else `uvicorn.Config` takes: `ssl_certfile` and `ssl_keyfile`, `uds`, `fd`, `backlog`,
            `root_path`, `loop`, `http`, ... With another `http` the limits on the head of a request are those of that
            protocol.

    Raises:
        ConfigurationError: A bad host or port, or an option that uvicorn does not have or that is a setting.
    """

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
        proxies = settings.forwarded_allow_ips
        options: dict[str, Any] = {"backlog": BACKLOG, "server_header": False, **_checked(uvicorn_options)}
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                interface="asgi3",
                lifespan="on",
                ws_max_size=settings.max_request_size,
                access_log=False,
                log_config=None,
                proxy_headers=bool(proxies),
                forwarded_allow_ips="*" if "*" in proxies else proxies,
                timeout_keep_alive=settings.keep_alive_seconds,  # type: ignore[arg-type]  # a fraction is as good
                timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
                **options,
            )
        )
        self._has_own_protocols = "http" not in options, "ws" not in options
        self.servers: list[asyncio.base_events.Server] = []
        self._app = app
        self._socket: socket.socket | None = None
        self._port: int = settings.port
        self._process_id = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._serving: asyncio.Task[None] | None = None
        self._drain: asyncio.Task[None] | None = None
        self._drain_wanted = False
        self._drained = asyncio.Event()
        self._startup_failed = False
        self._last_resort: threading.Timer | None = None

    @property
    def port(self) -> int:
        """The port that is listened on; before `bind` the configured one."""
        return self._port

    def bind(self) -> None:
        """Take the port, so that callers can connect before the app has started.

        Raises:
            OSError: The port is taken or the address is not of this machine; the message says which.
        """
        host, port = self.config.host, self.config.port
        if self.config.uds is not None or self.config.fd is not None:
            return  # uvicorn does it, when the app has started
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=self.config.backlog)
            self._port = self._socket.getsockname()[1]
            # Connections inherit it; asyncio's own loop, unlike uvloop, would let small answers wait for 40 ms.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            reason = (error.strerror or str(error)).partition(" (while attempting")[0]  # the address is named already
            raise OSError(
                error.errno,
                f"cannot listen on {host}:{port}: {reason}. "
                "Choose another port with PPIO_AGENT_PORT or app.run(port=...).",
            ) from error

    def run(self, sockets: list[socket.socket] | None = None) -> int:  # type: ignore[override]  # uvicorn's says nothing
        """Serve until a signal, drain, and return the exit code: 0, 1 (not started) or 3 (a thread was abandoned).

        Args:
            sockets: Listening sockets instead of the one that `bind` makes.

        Raises:
            ConfigurationError: The app has no entrypoint, or WebSockets without the extra for them; or an event loop
                runs in this thread already.
        """
        _refuse_running_loop()
        if self._app.entrypoint_name is None:
            raise ConfigurationError("This app has no entrypoint; put @app.entrypoint above the agent's function.")
        log_format, source = self._app.config.explain()["log_format"]
        configure_logging(None if source == "default" else log_format, debug=self._app.config.debug)
        self._choose_protocols()
        self.config.app = self._app.stack
        try:
            self._load_config()
            if sockets is None and self._socket is None:
                self.bind()
        except OSError as error:
            sys.stderr.write(f"ppio-agent-runtime: {error.strerror}\n")
            return EXIT_FAILED
        logger.info("%s listens on %s", self._app.entrypoint_name, self._place())
        listening = sockets or ([] if self._socket is None else [self._socket])
        try:
            ended = self._run_until_drained(listening)
        finally:
            for each in listening:
                each.close()  # callers that wait in its queue learn that nobody will come
            self._app.close()
        if self._startup_failed:
            return EXIT_FAILED
        return 0 if ended and not self._app.abandoned_threads else EXIT_ABANDONED

    def stop(self) -> None:
        """Drain and end a server that runs, or is about to run, in another thread."""
        self._drain_wanted = True
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: it is over already
                self._loop.call_soon_threadsafe(self._start_drain)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the app and listen. Where that fails uvicorn raises SystemExit(3), which to us is something else."""
        try:
            await super().startup(sockets)
        except SystemExit:
            self._startup_failed = self.should_exit = True
        except OSError as error:  # a Unix socket or a file descriptor
            sys.stderr.write(f"ppio-agent-runtime: cannot listen on {self._place()}: {error.strerror or error}.\n")
            self._startup_failed = self.should_exit = True
            await self.lifespan.shutdown()

    async def main_loop(self) -> None:
        """Set the date of answers once a second until the drain is over; uvicorn looks ten times a second."""
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._drained.wait()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, and end at once at the next one, or while there is nothing to drain yet."""
        if os.getpid() != self._process_id:  # a forked child of a handler: to it the signal means what it always means
            signal.signal(sig, signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL)
            os.kill(os.getpid(), sig)
        elif self._drain_wanted or not self.started:
            self._end_at_once()
        else:
            self.stop()  # first: the next signal may come while the line is being written
            if sig == signal.SIGINT:
                sys.stderr.write("\nDraining; press Ctrl-C again to stop at once.\n")

    def _run_until_drained(self, listening: list[socket.socket]) -> bool:
        """Serve; return whether nothing had to be left behind."""
        own = OwnLoop(self.config.get_loop_factory())
        self._loop = own.loop
        self._serving = own.loop.create_task(self.serve(listening or None))
        if self._drain_wanted:
            own.loop.call_soon(self._start_drain)
        _uvicorn_logger.addFilter(_tell_cut_requests)
        ended = False
        try:
            with suppress(asyncio.CancelledError):  # the second signal
                own.loop.run_until_complete(self._serving)
        finally:
            ended = own.end(_SHUTDOWN_SECONDS, self._hang_up)
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
        """Cancel the server wherever it waits, in a hanging lifespan too; leave without it if its loop is blocked."""
        if self._last_resort is None and self._loop is not None and self._serving is not None:
            self._last_resort = threading.Timer(_SHUTDOWN_SECONDS * 2, os._exit, [EXIT_ABANDONED])
            self._last_resort.daemon = True
            self._last_resort.start()
            self._loop.call_soon_threadsafe(self._serving.cancel)

    async def _hang_up(self) -> None:
        """Close what a slow reader or a second signal left open, so that nothing is pending on the loop at its end."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)

    def _choose_protocols(self) -> None:
        """Take our protocols, for WebSockets where somebody answers them, unless the caller has named others.

        Raises:
            ConfigurationError: The app has WebSockets without the extra for them.
        """
        own_http, own_ws = self._has_own_protocols
        if own_http:
            self.config.http = "h11"  # on Windows, where there is no httptools
            with suppress(ImportError):
                from .http_protocol import AgentHttpProtocol

                limit = self._app.config.request_read_timeout_seconds
                self.config.http = partial(AgentHttpProtocol, read_timeout_seconds=limit)  # type: ignore[assignment]
        if own_ws:
            self.config.ws = "none"
            if self._app.websockets != "none" and find_spec("websockets") is not None:
                from .websocket_protocol import AgentWebSocketProtocol

                self.config.ws = AgentWebSocketProtocol
            elif self._app.websockets == "handler":
                raise ConfigurationError("WebSockets need the extra: pip install 'ppio-agent-runtime[websocket]'")

    def _load_config(self) -> None:
        """Let uvicorn look at its options.

        Raises:
            OSError: The certificate or its key cannot be used; the message says which and why.
        """
        for name in ("ssl_certfile", "ssl_keyfile", "ssl_ca_certs"):
            path = getattr(self.config, name)
            if path is not None and not Path(path).is_file():
                raise FileNotFoundError(errno.ENOENT, f"{name} is {str(path)!r}, and there is no such file.")
        if self.config.ssl_keyfile is not None and self.config.ssl_certfile is None:
            raise OSError(errno.EINVAL, "ssl_keyfile needs its certificate: give ssl_certfile too.")
        try:
            self.config.load()
        except OSError as error:
            reason = error.strerror or str(error)
            raise OSError(
                error.errno, f"TLS cannot be set up with ssl_certfile {str(self.config.ssl_certfile)!r}: {reason}."
            ) from error

    def _place(self) -> str:
        """Return where it listens."""
        if self.config.uds is not None:
            return f"unix:{self.config.uds}"
        if self.config.fd is not None:
            return f"file descriptor {self.config.fd}"
        host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
        return f"{'https' if self.config.is_ssl else 'http'}://{host}:{self.port}"


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    """Return options that uvicorn has and we do not own.

    Raises:
        ConfigurationError: One of them is neither.
    """
    for name in options:
        if name in _OWNED_OPTIONS:
            raise ConfigurationError(f"app.run() does not take uvicorn's {name!r}: {_OWNED_OPTIONS[name]}.")
        if name not in inspect.signature(uvicorn.Config).parameters:
            raise ConfigurationError(f"app.run() takes port, host and uvicorn's options, and {name!r} is none of them.")
    return options


def _refuse_running_loop() -> None:
    with suppress(RuntimeError):
        asyncio.get_running_loop()
        raise ConfigurationError(
            "app.run() starts an event loop of its own and cannot be called where one runs, as in a notebook or under "
            "asyncio.run(): start it in a thread, threading.Thread(target=app.run).start(), or serve the app on the "
            "loop that runs with 'await uvicorn.Server(uvicorn.Config(app)).serve()'."
        )


def _tell_cut_requests(record: logging.LogRecord) -> bool:
    """Let uvicorn's log say of a request that is cut at the end what it is, instead of a traceback."""
    if record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError):
        if "lifespan" in record.msg:
            return False
        record.msg, record.exc_info = "A request is cut: the server ends.", None
    return True


def leave_in_time(code: int) -> None:
    """End the process now if blocking code behind `asyncio.to_thread` would hold up its exit, else return."""
    if holds_up_exit():
        logger.error("A thread of asyncio.to_thread() did not end; the process leaves without it.")
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code or EXIT_ABANDONED)
