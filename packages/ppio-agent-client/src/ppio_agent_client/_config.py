"""The settings of a client, with their units, defaults and sources.

Imported when the first client is created, because importing pydantic takes longer than everything else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SkipValidation,
    ValidationError,
    WithJsonSchema,
    field_serializer,
)

from ppio_agent_models import DEFAULT_TIMEOUT_SECONDS, ConfigurationError

from ._headers import checked_headers
from ._settings import NOT_GIVEN, Credential, NotGiven, RequestSigner

_FROM_ENVIRONMENT: Final = {
    "api_key": "PPIO_API_KEY",
    "api_secret": "PPIO_API_SECRET",
    "base_url": "PPIO_API_URL",
    "domain": "PPIO_DOMAIN",
    "sandbox_url": "PPIO_SANDBOX_URL",
    "provider": "PPIO_AGENT_PROVIDER",
    "session_secret": "PPIO_AGENT_SESSION_SECRET",
}
_USERINFO: Final = re.compile(r"(?<=://)[^/?#]*@")

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_TEXT: Final = {"anyOf": [{"type": "string"}, {"type": "null"}], "writeOnly": True}
Secret = Annotated[str | None, Field(repr=False, exclude=True), WithJsonSchema(_TEXT)]


class ClientConfig(BaseModel):
    """The settings of a client. An argument of the client wins over these, and these win over the environment.

    Attributes:
        api_key: Key of the platform, or a callable that fetches one that expires; `PPIO_API_KEY`.
        api_secret: Secret that belongs to the key: requests are then signed; `PPIO_API_SECRET`.
        signer: Signs requests to the platform, instead of `api_key` and `api_secret`.
        session_secret: Session tokens are derived from this, so it must be the same in every process that shares
            sessions; unless given, the secret, else the key; `PPIO_AGENT_SESSION_SECRET`.
        base_url: URL of the platform's API; `PPIO_API_URL`, else `https://api.<domain>`.
        domain: Domain of the platform and its sandboxes; `PPIO_DOMAIN`, else `sandbox.ppio.cn`.
        sandbox_url: One URL for all sandboxes, of a gateway or an emulator that selects one by the headers
            `PPIO-Sandbox-Id` and `PPIO-Sandbox-Port`; `PPIO_SANDBOX_URL`. Without it each has its own.
        provider: Name of the provider of sandboxes, such as `"local"`; `PPIO_AGENT_PROVIDER`.
        timeout: Longest time of one whole call, retries included, in seconds; None for no limit. It doesn't apply to
            streams, unless their request has a timeout, nor to the time to live of a sandbox.
        connect_timeout: Longest time to connect, in seconds.
        first_byte_timeout: Longest time from the request to the start of the response, in seconds; None for no limit.
        idle_timeout: Longest silence within a response that has begun, in seconds; heartbeats end a silence.
        platform_timeout: Longest time of one request to the platform's API, retries included, in seconds.
        keep_alive: Whether the time to live of a sandbox is extended while its session's `async with` block is open.
        max_retries: How often a call that can't run twice is retried, and a stream resumed, without progress between.
        retry_budget: How many retries the client may make without responses in between: each retry takes one, ten
            responses give one back; None for no limit.
        retry_delay: Upper bound of the first pause between two attempts, in seconds; it doubles with each attempt.
        max_connections: Largest number of connections; a further call waits for one, for `connect_timeout` at most.
        max_idle_connections: How many of them are kept for the next call, 4 seconds each.
        headers: Headers of every request to an agent, besides those of the SDK; they are not sent to the platform.
        max_answer_bytes: Largest response, or event of a stream, in bytes after decompression.
        proxy: URL of the proxy for all hosts but this machine; unless given, that of the environment (`HTTPS_PROXY`,
            `NO_PROXY`).
        enable_cache: Whether the list of templates is cached.
        cache_ttl: How long it is cached, in seconds.

    A pydantic model: it cannot be changed, loads from JSON, and has a JSON schema. A dump leaves out `api_key`,
    `api_secret`, `session_secret`, `signer` and `headers`, and the password in `proxy`.

    Raises:
        ConfigurationError: A value is out of bounds, or there is no such setting; the message names the field.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True
    )

    api_key: Annotated[Credential | None, Field(repr=False, exclude=True), WithJsonSchema(_TEXT)] = None
    api_secret: Secret = None
    signer: Annotated[
        SkipValidation[RequestSigner | None], Field(repr=False, exclude=True), WithJsonSchema({"type": "null"})
    ] = None
    session_secret: Secret = None
    base_url: str | None = None
    domain: str | None = None
    sandbox_url: str | None = None
    provider: str | None = None
    timeout: Seconds | None = DEFAULT_TIMEOUT_SECONDS
    connect_timeout: Seconds | None = 10.0
    first_byte_timeout: Seconds | None = None
    idle_timeout: Seconds | None = 60.0
    platform_timeout: Seconds = 60.0
    keep_alive: bool = False
    max_retries: Annotated[int, Field(ge=0)] = 3
    retry_delay: Amount = 1.0
    retry_budget: Amount | None = 100.0
    max_connections: Annotated[int, Field(gt=0)] = 1000
    max_idle_connections: Annotated[int, Field(ge=0)] = 256
    headers: Annotated[dict[str, str], AfterValidator(checked_headers), Field(repr=False, exclude=True)] = {}
    max_answer_bytes: Annotated[int, Field(gt=0)] = 64 * 1024 * 1024
    proxy: Annotated[str | None, Field(repr=False)] = None
    enable_cache: bool = True
    cache_ttl: Amount = 300.0

    if not TYPE_CHECKING:  # type checkers derive the arguments from the fields

        def __init__(self, **settings: Any) -> None:
            try:
                super().__init__(**settings)
            except ValidationError as error:
                told = dict.fromkeys(map(_problem, error.errors(include_url=False)))  # each once
                raise ConfigurationError("; ".join(told)) from None

    @field_serializer("proxy")
    def _without_password(self, proxy: str | None) -> str | None:
        return proxy and _USERINFO.sub("", proxy)

    @staticmethod
    def variables() -> dict[str, str]:
        """Return the environment variable of each field that has one."""
        return dict(_FROM_ENVIRONMENT)

    def replaced(self, **changes: Any) -> ClientConfig:
        """Return a copy with some fields changed and validated."""
        return type(self)(**{name: getattr(self, name) for name in self.model_fields_set} | changes)


def _problem(error: Any) -> str:
    """Return what is wrong with a setting; with its value only if that can't be a secret."""
    name, given = str(error["loc"][0]) if error["loc"] else "a setting", error["input"]
    if error["type"] == "extra_forbidden":
        from difflib import get_close_matches

        near = get_close_matches(name, ClientConfig.model_fields, n=1)
        return f"ClientConfig has no setting {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    if name == "api_key":
        return f"api_key is a str, or a function that fetches one, not {type(given).__qualname__}"
    shown = f"{given!r}" if isinstance(given, int | float) else f"this {type(given).__qualname__}"
    return f"{name} is wrong: {error['msg'].lower()}, not {shown}"


def with_options(config: ClientConfig, timeout: float | NotGiven | None, max_retries: int | NotGiven) -> ClientConfig:
    """Return `config` with the given options."""
    given = {"timeout": timeout, "max_retries": max_retries}
    return config.replaced(**{name: value for name, value in given.items() if value is not NOT_GIVEN})


def settle(
    config: ClientConfig | None, arguments: Mapping[str, object], environment: Mapping[str, str] | None = None
) -> ClientConfig:
    """Return the effective settings: argument, else `config`, else environment, else default.

    Args:
        config: What the caller configured, if anything.
        arguments: Arguments of the client by field name; None stands for "not given".
        environment: Variables to read, those of this process unless given. An empty one counts as not set.
    """
    if config is not None and not isinstance(config, ClientConfig):
        raise ConfigurationError(f"config is a ClientConfig, not {type(config).__qualname__}: ClientConfig(timeout=60)")
    base = config or ClientConfig()
    variables = os.environ if environment is None else environment
    found = {name: value for name, value in arguments.items() if value is not None and value != ""}
    for name, variable in _FROM_ENVIRONMENT.items():
        if name not in found and not getattr(base, name) and variables.get(variable):
            found[name] = variables[variable]
    return base.replaced(**found) if found else base
