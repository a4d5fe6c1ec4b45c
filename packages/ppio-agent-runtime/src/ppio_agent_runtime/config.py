"""What can be set about an agent's service: argument > `PPIO_AGENT_<FIELD>` in the environment > default."""

from __future__ import annotations

import re
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
    {"PPIO_AGENT_HOME", "PPIO_AGENT_PROVIDER", "PPIO_AGENT_PYTHON", "PPIO_AGENT_SESSION_SECRET"}
)
"""Variables with our prefix that other parts of the SDK read."""

RateLimitKey = Literal["client", "session", "api_key"]
StorageFailure = Literal["open", "closed"]

MEMORY_SCHEME = "memory"
REDIS_SCHEMES = ("redis", "rediss", "redis+unix", "redis+cluster", "redis+sentinel")

_SHORTHAND = re.compile(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*")


class RateLimit(Settings, kw_only=False):
    """How many requests each caller may make.

    Attributes:
        max_requests: Requests that one key may make in any span of `window_seconds`.
        window_seconds: Length of the sliding window.
        key: What is counted: `client` the peer's address (the forwarded one for peers in `forwarded_allow_ips`),
            `session` the session id, `api_key` the caller's credential. A request without session or credential
            counts for its address.
        storage_uri: `memory://` counts in this process; `redis://host:6379/0` (also `rediss`, `redis+unix`,
            `redis+cluster`, `redis+sentinel`) counts for all processes together, and needs the extra `[redis]`.
        on_storage_failure: While Redis cannot be reached, let everybody in (`open`) or nobody (`closed`, 503).

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
        """Take the shorthand `100/60` too."""
        found = _SHORTHAND.fullmatch(value) if isinstance(value, str) else None
        return super().parse(value) if found is None else cls(int(found[1]), int(found[2]))


class AgentConfig(Settings, env_prefix="PPIO_AGENT_"):
    """The settings of one agent's service. An unknown or wrong one fails when the object is made.

    Attributes:
        host: Address to listen on; inside a sandbox all of them.
        port: TCP port, 0 to let the system choose.
        debug: Serve `/docs` and `/openapi.json`, tell callers what went wrong inside the agent, and log a line for each
            request.
        timeout: Longest time for a value, in seconds; also the ceiling of what a caller may ask for.
        stream_timeout: The same for a stream.
        max_request_size: Largest request body, in bytes as they arrive.
        request_read_timeout_seconds: Longest time for a request's body to arrive.
        keep_alive_seconds: How long an idle connection is kept for the next request; more than the 60 of usual load
            balancers, which would else send one into a connection that was just closed.
        cors_origins: Origins that browsers may call from, `*` for any; never with credentials. An empty list leaves
            preflights to the agent's own middleware.
        rate_limit: How many requests a caller may make, as `RateLimit(...)` or `"100/60"`; None for any number.
            In Redis with the extra `[redis]`.
        forwarded_allow_ips: Addresses and networks of proxies whose `X-Forwarded-For` names the client; `*` for any.
        max_concurrency: Most invocations that run at once in the process; None for any number.
        max_concurrency_per_session: The same for one session.
        when_busy: What happens to an invocation beyond these: `reject` it, let it wait in a `queue`, or `interrupt` the
            running one of its session (beyond `max_concurrency` the last is `reject`).
        max_queue: Most invocations that wait in the queue.
        background_timeout: Longest time for an invocation that was asked for with `Prefer: respond-async`, in seconds.
        resume_window_seconds: How long an invocation of protocol 1 goes on after its connection was cut, so that its
            caller can come back.
        event_log_max_invocations: How many finished durable invocations are held.
        event_log_max_bytes: How many bytes they and the running ones may hold together.
        event_log_max_bytes_per_invocation: How many bytes of events one of them may hold.
        event_log_max_age_seconds: How long a finished one is held.
        event_store: `sqlite:///path` to keep them beyond the process; None for memory only.
        sync_workers: Most threads for `def` handlers and generators; they are started when needed.
        isolate_handlers: Run everything but `/ping` on a second event loop, so that an async handler that blocks
            cannot delay `/ping`. Costs about half of the throughput of tiny handlers.
        heartbeat_seconds: A stream that is silent for so long gets a comment line.
        ping_timeout_seconds: Longest time for a custom ping handler.
        shutdown_grace_seconds: How long running work may go on after SIGTERM.
        enable_metrics: Count what happens and show it at `GET /metrics`.
        log_format: Log lines as `text` or as `json`, of all loggers and uvicorn's too.
        access_log: Write a line for each invocation that succeeded; failures are logged in any case.
        telemetry: Collect OpenTelemetry spans, set up by the `OTEL_*` variables; None means when one of these names a
            collector or the program has set up the SDK itself.
        telemetry_flush: Send spans after each invocation, for sandboxes that are frozen when they are idle.
        api_keys: Callers must send one of these as bearer token or `X-API-KEY`; several while they are rotated.
        hmac_keys: Key id to secret: callers may sign requests with one of these instead (RFC 9421, hmac-sha256).
        signature_max_age_seconds: How long after its creation a signature is accepted, and its nonce remembered.
        metrics_public: Let everybody read `/metrics`, without a key.
        plugins: Names of installed plugins (entry points of `ppio_agent_runtime.plugins`) to install into the app.
        expose_errors: Tell callers class and message of an agent's exceptions; None means as `debug` says.
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
    expose_errors: bool | None = setting(default=None)

    def _prepare(self) -> None:
        """Refuse proxies that are no addresses or networks: uvicorn would take them for names that no peer has."""
        for entry in self.forwarded_allow_ips:
            from ipaddress import ip_network  # few agents stand behind a proxy that they trust

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
        """Whether callers are told class and message of an agent's own exceptions."""
        return self.debug if self.expose_errors is None else self.expose_errors
