"""uvicorn's configuration for one app: our settings, options that `app.run()` accepts, and why it refuses others."""

from __future__ import annotations

import errno
import inspect
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import uvicorn

from ppio_agent_models import ConfigurationError

from .observability.logging import logger

if TYPE_CHECKING:
    from .asgi import ASGIApp, Receive, Scope, Send
    from .config import AgentConfig

BACKLOG: Final = 2048
"""How many connections may wait to be accepted; the system may allow fewer."""
SHUTDOWN_SECONDS: Final = 2
"""How long connections may take to close after the drain, and then remaining tasks to end."""
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
    """The part of an app that the server uses; see `PPIOAgentRuntimeApp`."""

    config: AgentConfig

    @property
    def entrypoint_name(self) -> str | None:
        """None if there is no entrypoint."""

    @property
    def stack(self) -> ASGIApp:
        """The ASGI app inside."""

    @property
    def websockets(self) -> Literal["none", "handler", "perhaps"]:
        """What handles WebSockets."""

    @property
    def abandoned_threads(self) -> int:
        """How many threads are still at work after a drain."""

    async def drain(self, grace_seconds: float | None = None) -> None:
        """Refuse new work, let running work finish for so long (`shutdown_grace_seconds`), then stop it."""

    async def can_shut_down(self) -> bool:
        """Return whether the handlers' event loop still responds."""

    def close(self) -> None:
        """Stop the app's own threads."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""


class ServerConfig(uvicorn.Config):
    """The settings of uvicorn for one app.

    Args:
        app: The app to serve.
        settings: The app's settings, with the overrides of `run`.
        options: Other options of `uvicorn.Config`.

    Raises:
        ConfigurationError: An option is unknown to uvicorn, or is one of our settings.
    """

    app: Any
    http: Any
    ws: Any

    def __init__(self, app: ServedApp, settings: AgentConfig, options: dict[str, Any]) -> None:
        _check(options)
        proxies = settings.forwarded_allow_ips
        super().__init__(
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
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            **{"backlog": BACKLOG, "server_header": False, **options},
        )
        self._served = app
        self._settings = settings
        self._has_own_protocols = "http" not in options, "ws" not in options

    def load(self) -> None:
        """Build the app, and check the options.

        Raises:
            ConfigurationError: The app has WebSockets without the extra for them.
            OSError: The certificate or its key cannot be used; the message says which and why.
        """
        self.app = self._served.stack
        self._choose_protocols()
        for name in ("ssl_certfile", "ssl_keyfile", "ssl_ca_certs"):
            path = getattr(self, name)
            if path is not None and not Path(path).is_file():
                raise FileNotFoundError(errno.ENOENT, f"{name} is {str(path)!r}, and there is no such file.")
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            raise OSError(errno.EINVAL, "ssl_keyfile needs its certificate: give ssl_certfile too.")
        try:
            super().load()
        except OSError as error:
            reason = error.strerror or str(error)
            raise OSError(
                error.errno, f"TLS cannot be set up with ssl_certfile {str(self.ssl_certfile)!r}: {reason}."
            ) from error

    def place(self, port: int) -> str:
        """Return the address that it listens on, for messages.

        Args:
            port: The actual port.
        """
        if self.uds is not None:
            return f"unix:{self.uds}"
        if self.fd is not None:
            return f"file descriptor {self.fd}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.is_ssl else 'http'}://{host}:{port}"

    def warn_if_open(self) -> None:
        """Log a warning if protocols are served without a key on an address that others can reach."""
        settings = self._settings
        is_local = self.uds is not None or self.host in ("127.0.0.1", "::1", "localhost")
        if settings.protocols and not (settings.api_keys or settings.hmac_keys or is_local):
            logger.warning(
                "Anybody who can reach this address can use the agent and its model without a key (protocols: %s). "
                "Set PPIO_AGENT_API_KEYS, or listen on 127.0.0.1.",
                ", ".join(settings.protocols),
            )

    def _choose_protocols(self) -> None:
        """Use our protocol classes, for WebSockets only if the app handles them, unless options name others.

        Raises:
            ConfigurationError: The app has WebSockets without the extra for them.
        """
        own_http, own_ws = self._has_own_protocols
        if own_http:
            self.http = "h11"  # on Windows, where there is no httptools
            with suppress(ImportError):
                from .http_protocol import AgentHttpProtocol

                self.http = partial(
                    AgentHttpProtocol,
                    read_timeout_seconds=self._settings.request_read_timeout_seconds,
                    write_timeout_seconds=self._settings.write_timeout_seconds,
                )
        if own_ws:
            self.ws = "none"
            if self._served.websockets != "none" and find_spec("websockets") is not None:
                from .websocket_protocol import AgentWebSocketProtocol

                self.ws = AgentWebSocketProtocol
            elif self._served.websockets == "handler":
                raise ConfigurationError("WebSockets need the extra: pip install 'ppio-agent-runtime[websocket]'")


def _check(options: dict[str, Any]) -> None:
    """Raise an error for options that uvicorn doesn't have, or that are settings of ours.

    Raises:
        ConfigurationError: There is such an option.
    """
    for name in options:
        if name in _OWNED_OPTIONS:
            raise ConfigurationError(f"app.run() does not take uvicorn's {name!r}: {_OWNED_OPTIONS[name]}.")
        if name not in inspect.signature(uvicorn.Config).parameters:
            raise ConfigurationError(f"app.run() takes port, host and options of uvicorn; {name!r} is unknown.")
