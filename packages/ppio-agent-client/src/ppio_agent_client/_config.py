"""How a client behaves: every setting once, with unit and default, where its value comes from, and credentials."""

from __future__ import annotations

import math
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Final, Protocol

from ppio_agent_models import DEFAULT_TIMEOUT_SECONDS, ConfigurationError

PROVIDER_GROUP: Final = "ppio_agent_client.providers"
"""Entry-point group of providers for `AgentRuntimeClient`: name to a callable that takes the `ClientConfig`."""
SYNC_PROVIDER_GROUP: Final = "ppio_agent_client.sync_providers"
"""The same for `SyncAgentRuntimeClient`."""


class NotGiven(Enum):
    """What stands for an option that the caller leaves as it is, where None has a meaning of its own."""

    NOT_GIVEN = "as it is"


NOT_GIVEN: Final = NotGiven.NOT_GIVEN

_FROM_ENVIRONMENT: Final = {
    "api_key": "PPIO_API_KEY",
    "api_secret": "PPIO_API_SECRET",
    "base_url": "PPIO_API_URL",
    "domain": "PPIO_DOMAIN",
    "sandbox_url": "PPIO_SANDBOX_URL",
    "provider": "PPIO_AGENT_PROVIDER",
    "session_secret": "PPIO_AGENT_SESSION_SECRET",
}


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A key that ends.

    Attributes:
        token: What is shown.
        expires_at: When it ends: a datetime with its zone, or unix seconds; None where nobody knows.
    """

    token: str = field(repr=False)
    expires_at: datetime | float | None = None


Fetched = AccessToken | tuple[str, datetime | float | None] | str
"""What a callable credential gives: a token with its end, as one object or as a pair, or without one."""
Credential = str | Callable[[], Fetched | Awaitable[Fetched]]
"""A key, or a callable that fetches one; a coroutine function is for the async client only."""


class RequestSigner(Protocol):
    """Signs requests in place of an API key. Pure: the time and the nonce are given."""

    def sign(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, *, created: int, nonce: str
    ) -> dict[str, str]:
        """Return the headers that one attempt needs on top of its own.

        Args:
            method: In upper case.
            url: The whole address.
            headers: What the request carries already, names in any case.
            body: The whole body.
            created: Now, in unix seconds.
            nonce: 22 characters that no other request has.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """The settings of a client. An argument of the client wins over these, and these win over the environment.

    Attributes:
        api_key: Key of the platform, or a callable that fetches one that ends; `PPIO_API_KEY`.
        api_secret: Secret that belongs to the key: requests are then signed; `PPIO_API_SECRET`.
        signer: Signs requests to the platform in place of `api_key` and `api_secret`.
        session_secret: What tokens of sessions are derived from, the same in every process that shares them; the
            secret, else the key, unless given; `PPIO_AGENT_SESSION_SECRET`.
        base_url: Address of the platform's API; `PPIO_API_URL`, else `https://api.<domain>`.
        domain: Domain of the platform and its sandboxes; `PPIO_DOMAIN`, else `sandbox.ppio.cn`.
        sandbox_url: One address for all sandboxes, of a gateway or an emulator that tells them apart by the headers
            `PPIO-Sandbox-Id` and `PPIO-Sandbox-Port`; `PPIO_SANDBOX_URL`. Without it each has its own.
        provider: Name of the place where sandboxes come from, such as `"local"`; `PPIO_AGENT_PROVIDER`.
        timeout: Longest time of one whole call, retries included, in seconds; None for no limit. A stream has no such
            limit unless its request names one. The life of a sandbox is something else.
        connect_timeout: Longest time to a connection, in seconds.
        first_byte_timeout: Longest time from the request to the begin of the answer, in seconds; None for no limit.
        idle_timeout: Longest silence inside an answer that has begun, in seconds; a heartbeat is no silence.
        platform_timeout: Longest time of one request to the platform's API, retries included, in seconds.
        keep_alive: Whether the life of a sandbox is extended as long as its session's `async with` block is open.
        max_retries: How often a call that cannot run twice is retried, and a stream read on, without progress between.
        retry_budget: How many retries the client makes at most without answers between: each takes one, ten answers
            give one back; None for no bound.
        retry_delay: Upper bound of the first pause between two attempts, in seconds; it doubles with each attempt.
        max_connections: How many connections there are at most; a further call waits for one, no longer than
            `connect_timeout`.
        max_idle_connections: How many of them are kept for the next call, 4 seconds each.
        proxy: Address of the proxy for everything but this machine; that of the environment (`HTTPS_PROXY`, `NO_PROXY`)
            unless given.
        enable_cache: Whether the list of templates is remembered.
        cache_ttl: How long it is remembered, in seconds.

    Raises:
        ConfigurationError: A value is out of its bounds; the message names the field.
    """

    api_key: Credential | None = field(default=None, repr=False)
    api_secret: str | None = field(default=None, repr=False)
    signer: RequestSigner | None = field(default=None, repr=False)
    session_secret: str | None = field(default=None, repr=False)
    base_url: str | None = None
    domain: str | None = None
    sandbox_url: str | None = None
    provider: str | None = None
    timeout: float | None = DEFAULT_TIMEOUT_SECONDS
    connect_timeout: float | None = 10.0
    first_byte_timeout: float | None = None
    idle_timeout: float | None = 60.0
    platform_timeout: float = 60.0
    keep_alive: bool = False
    max_retries: int = 3
    retry_delay: float = 1.0
    retry_budget: float | None = 100.0
    max_connections: int = 1000
    max_idle_connections: int = 256
    proxy: str | None = field(default=None, repr=False)
    enable_cache: bool = True
    cache_ttl: float = 300.0

    def __post_init__(self) -> None:
        for name in ("timeout", "connect_timeout", "first_byte_timeout", "idle_timeout"):
            _check_number(name, getattr(self, name), above=0, optional=True)
        _check_number("platform_timeout", self.platform_timeout, above=0, optional=False)
        _check_number("retry_budget", self.retry_budget, above=None, optional=True)
        for name in ("retry_delay", "cache_ttl", "max_retries", "max_idle_connections"):
            _check_number(name, getattr(self, name), above=None, optional=False)
        _check_number("max_connections", self.max_connections, above=0, optional=False)
        for name in ("max_retries", "max_connections", "max_idle_connections"):
            if not isinstance(getattr(self, name), int):
                raise ConfigurationError(f"{name} must be a whole number, not {getattr(self, name)!r}")

    @staticmethod
    def variables() -> dict[str, str]:
        """Return the environment variable of each field that has one."""
        return dict(_FROM_ENVIRONMENT)


def _check_number(name: str, value: object, *, above: float | None, optional: bool) -> None:
    if value is None and optional:
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ConfigurationError(f"{name} must be a number, not {value!r}")
    if value < 0 or (above is not None and value <= above):
        bound = "0 or more" if above is None else f"more than {above}"
        raise ConfigurationError(f"{name} must be {bound}, not {value!r}")


def with_options(config: ClientConfig, timeout: float | NotGiven | None, max_retries: int | NotGiven) -> ClientConfig:
    """Return `config` with the options that are given."""
    given = {"timeout": timeout, "max_retries": max_retries}
    return replace(config, **{name: value for name, value in given.items() if value is not NOT_GIVEN})  # type: ignore[arg-type]  # checked by its __post_init__


def settle(
    config: ClientConfig | None, arguments: Mapping[str, object], environment: Mapping[str, str] | None = None
) -> ClientConfig:
    """Return the settings that hold: argument, else `config`, else environment, else default.

    Args:
        config: What the caller configured, if anything.
        arguments: Arguments of the client by field name; None stands for "not given".
        environment: Variables to read, those of this process unless given. An empty one counts as not set.
    """
    base = config or ClientConfig()
    variables = os.environ if environment is None else environment
    found = {name: value for name, value in arguments.items() if value is not None and value != ""}
    for name, variable in _FROM_ENVIRONMENT.items():
        if name not in found and not getattr(base, name) and variables.get(variable):
            found[name] = variables[variable]
    return replace(base, **found) if found else base  # type: ignore[arg-type]  # names are checked by replace()
