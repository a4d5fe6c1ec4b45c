"""The settings of an agent. Precedence: argument > `PPIO_AGENT_<FIELD>` in the environment > default."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, ClassVar, Final, Literal, Self
from urllib.parse import urlsplit

from ppio_agent_models import (
    AGENT_PORT,
    DEFAULT_MAX_REQUEST_BYTES,
    DEFAULT_TIMEOUT_SECONDS,
    ConfigurationError,
)

from .settings import Settings, setting

CLIENT_VARIABLES: Final = frozenset(
    f"PPIO_AGENT_{name}" for name in ("CONSOLE_LOG", "HOME", "PROVIDER", "PYTHON", "SESSION_SECRET")
)
"""Variables with our prefix that other parts of the SDK read."""

RateLimitKey = Literal["client", "session", "api_key"]
StorageFailure = Literal["open", "closed"]

MEMORY_SCHEME = "memory"
REDIS_SCHEMES = ("redis", "rediss", "redis+unix", "redis+cluster", "redis+sentinel")

_SHORTHAND = re.compile(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*")


class RateLimit(Settings, kw_only=False):
    """How many requests each caller may send.

    Attributes:
        max_requests: Requests allowed for one key in any period of `window_seconds`.
        window_seconds: Length of the sliding window.
        key: What identifies a caller: `client` the peer's address (the forwarded one for peers in
            `forwarded_allow_ips`), `session` the session ID, `api_key` the credential. Requests without a session ID or
            credential are counted by address.
        storage_uri: `memory://` counts in this process; `redis://host:6379/0` (also `rediss`, `redis+unix`,
            `redis+cluster`, `redis+sentinel`) counts in all processes together, and needs the extra `[redis]`.
        on_storage_failure: While Redis cannot be reached, accept all requests (`open`) or none (`closed`, 503).

    Raises:
        ConfigurationError: A value is out of range or unknown.
    """

    max_requests: int = setting(default=100, at_least=1)
    window_seconds: int = setting(default=60, at_least=1)
    key: RateLimitKey = setting(default="client")
    storage_uri: str = setting(default="memory://")
    on_storage_failure: StorageFailure = setting(default="open")

    written: ClassVar[str] = "a RateLimit (in the environment: 100/60, requests per seconds, or a JSON object)"

    def _prepare(self) -> None:
        if self.scheme != MEMORY_SCHEME and self.scheme not in REDIS_SCHEMES:
            known = ", ".join(f"{scheme}://" for scheme in (MEMORY_SCHEME, *REDIS_SCHEMES))
            raise ConfigurationError(f"RateLimit.storage_uri must begin with one of {known}.")

    @property
    def scheme(self) -> str:
        """The part of `storage_uri` before the colon."""
        return str(self.storage_uri).partition("://")[0]

    @property
    def place(self) -> str:
        """The storage without its credentials and options, for logs."""
        address = urlsplit(self.storage_uri)
        return f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"

    @classmethod
    def parse(cls, value: Any) -> Self | None:
        """Accept the shorthand `100/60` too."""
        found = _SHORTHAND.fullmatch(value) if isinstance(value, str) else None
        return super().parse(value) if found is None else cls(int(found[1]), int(found[2]))


RateLimiter = RateLimit
"""The same class."""


class AgentConfig(Settings, env_prefix="PPIO_AGENT_"):
    """The settings of an agent. An unknown setting or a wrong value raises an error when the object is created.

    Attributes:
        host: Address to listen on. Sandboxes need the default, which is all addresses.
        port: TCP port to listen on; 0 lets the system choose.
        debug: Serve the console page, `/docs` and `/openapi.json`, include the agent's exceptions in responses, and
            log each request.
        timeout: Longest time for a result, in seconds. Callers can ask for less.
        stream_timeout: Longest time for a stream, in seconds. Callers can ask for less.
        max_request_size: Largest request body, in bytes as received.
        request_read_timeout_seconds: Longest time to receive the body of a request.
        write_timeout_seconds: A connection is closed if the caller reads nothing of its response for this long.
        keep_alive_seconds: How long an idle connection is kept open for the next request. Longer than the 60 s of most
            load balancers, so that they do not send a request on a connection that was just closed.
        cors_origins: Origins from which browsers may call the agent, `*` for any; credentials are never allowed. Unless
            set, an agent with `debug` and no key accepts only origins of this machine, on loopback. With an empty
            list, preflight requests go to the agent's own middleware.
        rate_limit: How many requests a caller may send, as `RateLimit(...)` or `"100/60"` (requests/seconds); None for
            no limit. With its `storage_uri` in Redis (extra `[redis]`), replicas share it.
        forwarded_allow_ips: Addresses and networks of proxies whose `X-Forwarded-For` is trusted; `*` for any.
        max_concurrency: How many invocations may run at once in the process; None for no limit.
        max_concurrency_per_session: How many invocations of a session may run at once; None for no limit.
        when_busy: What happens to an invocation beyond these limits: `reject` it, let it wait in a `queue`, or
            `interrupt` the running one of its session (beyond `max_concurrency`, that means `reject`).
        max_queue: How many invocations may wait in the queue.
        background_timeout: Longest time for an invocation with `Prefer: respond-async`, in seconds.
        resume_window_seconds: How long an invocation of protocol 1 keeps running after its connection was cut, so that
            its caller can resume it.
        event_log_max_invocations: How many finished durable invocations are kept.
        event_log_max_bytes: How many bytes of events all durable invocations together may use.
        event_log_max_bytes_per_invocation: How many bytes of events one durable invocation may use.
        event_log_max_age_seconds: How long a finished durable invocation is kept.
        event_store: Where durable invocations are kept: `sqlite:///path` to keep them after a restart and share them
            among the workers of one machine, `redis://host:6379/0?prefix=my-agent` to share them among replicas (extra
            `[redis]`); None for memory only.
        sync_workers: How many threads may run `def` handlers and generators; threads are started when needed.
        isolate_handlers: Run everything except `/ping` on a second event loop, so that an async handler that blocks
            cannot delay `/ping`. Costs about half of the throughput of tiny handlers.
        heartbeat_seconds: How long a stream may be silent before it gets a comment line.
        ping_timeout_seconds: Longest time for a custom ping handler.
        shutdown_grace_seconds: How long running work may continue after SIGTERM.
        enable_metrics: Collect metrics, and serve them at `GET /metrics`.
        log_format: Format of log lines, those of all loggers and of uvicorn: `text` or `json`.
        access_log: Log each successful invocation. Failed ones are always logged.
        telemetry: Collect OpenTelemetry spans, configured by the `OTEL_*` variables. None collects them if one of these
            names a collector, or if the program has set up the OpenTelemetry SDK itself.
        telemetry_flush: Send spans after each invocation, for sandboxes that are frozen when idle.
        api_keys: Callers must send one of these keys, as a bearer token or as `X-API-KEY`. Several allow rotation.
        hmac_keys: Key ID to secret: callers may instead sign requests with one of these (RFC 9421, hmac-sha256).
        signature_max_age_seconds: How long after its creation a signature is accepted, and its nonce remembered.
        metrics_public: Serve `/metrics` without a key.
        plugins: Installed plugins to use, by name (entry points of `ppio_agent_runtime.plugins`).
        protocols: Protocols to serve in addition to our own, by name (`a2a`, `ag-ui`, `mcp`, `openai`, `vercel`), or
            `all` for those whose packages are installed.
        protocol_paths: Paths of protocols that are not to use their default; `{"ag-ui": "/invocations"}` is AgentCore's
            contract.
        agent_name: The agent's name in protocols, such as the name of the model in OpenAI's.
        agent_description: What the agent can do, for protocols that show it.
        agent_card_public: Serve the agent's A2A card without a key.
        mcp_sessions: Keep sessions, in this process, for MCP clients of versions before 2026-07-28. False handles each
            request on its own, whatever session ID it names, as AgentCore's contract requires.
        public_url: The URL under which callers reach the agent, for protocols that show it.
        expose_errors: Include class and message of the agent's exceptions in responses; None follows `debug`.
    """

    host: str = setting(default="0.0.0.0")
    port: int = setting(default=AGENT_PORT, at_least=0, at_most=65535)
    debug: bool = setting(default=False)
    timeout: float = setting(default=DEFAULT_TIMEOUT_SECONDS, above=0)
    stream_timeout: float = setting(default=3600.0, above=0)
    background_timeout: float = setting(default=28800.0, above=0)
    resume_window_seconds: float = setting(default=60.0, at_least=0)
    event_log_max_invocations: int = setting(default=1000, at_least=0)
    event_log_max_bytes: int = setting(default=64 * 1024 * 1024, at_least=64 * 1024)
    event_log_max_bytes_per_invocation: int = setting(default=8 * 1024 * 1024, at_least=4096)
    event_log_max_age_seconds: float = setting(default=600.0, at_least=0)
    event_store: str | None = setting(default=None)
    max_request_size: int = setting(default=DEFAULT_MAX_REQUEST_BYTES, at_least=1)
    request_read_timeout_seconds: float = setting(default=30.0, above=0)
    write_timeout_seconds: float = setting(default=60.0, above=0)
    keep_alive_seconds: float = setting(default=75.0, above=0)
    cors_origins: list[str] = setting(default=["*"])
    rate_limit: RateLimit | None = setting(default=None)
    forwarded_allow_ips: list[str] = setting(default=[])
    max_concurrency: int | None = setting(default=None, at_least=1)
    max_concurrency_per_session: int | None = setting(default=None, at_least=1)
    when_busy: Literal["reject", "queue", "interrupt"] = setting(default="reject")
    max_queue: int = setting(default=100, at_least=0)
    sync_workers: int = setting(default=256, at_least=1, at_most=4096)
    isolate_handlers: bool = setting(default=False)
    heartbeat_seconds: float = setting(default=15.0, above=0)
    ping_timeout_seconds: float = setting(default=2.0, above=0)
    shutdown_grace_seconds: float = setting(default=30.0, at_least=0)
    enable_metrics: bool = setting(default=True)
    log_format: Literal["text", "json"] = setting(default="text")
    access_log: bool = setting(default=False)
    telemetry: bool | None = setting(default=None)
    telemetry_flush: bool = setting(default=False)
    api_keys: list[str] | None = setting(default=None, secret=True)
    hmac_keys: dict[str, str] | None = setting(default=None, secret=True)
    signature_max_age_seconds: float = setting(default=300.0, above=0, at_most=86400)
    metrics_public: bool = setting(default=False)
    plugins: list[str] = setting(default=[])
    protocols: list[str] = setting(default=[])
    protocol_paths: dict[str, str] | None = setting(default=None)
    agent_name: str = setting(default="agent")
    agent_description: str | None = setting(default=None)
    agent_card_public: bool = setting(default=True)
    mcp_sessions: bool = setting(default=True)
    public_url: str | None = setting(default=None)
    expose_errors: bool | None = setting(default=None)

    def _prepare(self) -> None:
        """Refuse proxies that are not addresses or networks: uvicorn would accept them, and they would never match."""
        for entry in self.forwarded_allow_ips:
            from ipaddress import ip_network  # few agents are behind a proxy that they trust

            try:
                if entry != "*":
                    ip_network(entry)
            except ValueError as error:
                raise ConfigurationError(
                    "forwarded_allow_ips takes addresses and networks such as 10.0.0.0/8, or '*', "
                    f"not {entry!r}: {error}."
                ) from None

    @property
    def tells_errors(self) -> bool:
        """Whether responses include class and message of an agent's own exceptions."""
        return self.debug if self.expose_errors is None else self.expose_errors


def config_of_app(config: Any, *, debug: bool, unknown: Iterable[str]) -> AgentConfig:
    """Return the settings of an app from the arguments of its class.

    Args:
        config: Its settings, or None for those of the environment.
        debug: The same as `AgentConfig(debug=True)`.
        unknown: Names of other arguments, which are errors.

    Raises:
        ConfigurationError: There is an unknown argument, or `config` is not an `AgentConfig`.
    """
    for name in unknown:
        hint = f": write PPIOAgentRuntimeApp(AgentConfig({name}=...))" if name in AgentConfig.__annotations__ else ""
        raise ConfigurationError(f"An app takes config, debug and lifespan, not {name!r}{hint}.")
    if config is None:
        return AgentConfig(debug=True) if debug else AgentConfig()
    if not isinstance(config, AgentConfig):
        raise ConfigurationError(f"config must be an AgentConfig, not {config!r}; debug is set with debug=True.")
    return config.replace(debug=True) if debug else config
