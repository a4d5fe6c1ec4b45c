"""Finds the provider of a client, by object or by name."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from ppio_agent_models import ConfigurationError

from ..._io import _async as io
from ..._settings import PROVIDER_GROUP
from ..auth import missing_credential

if TYPE_CHECKING:
    from ..._config import ClientConfig
    from ..._core.retry import RetryBudget
    from ..auth import AuthManager
    from ..transport import Transport
    from .protocol import SandboxProvider

LOCAL = "local"
PLATFORM = "platform"


def provider_for(
    config: ClientConfig,
    auth: AuthManager,
    transport: Callable[[], Awaitable[Transport]] | None = None,
    budget: RetryBudget | None = None,
) -> SandboxProvider:
    """Return a new provider as `config` names it; without a name, the platform's if there is a key.

    If the client's transport and retry budget are not passed, the provider has its own.

    Raises:
        AuthenticationError: Neither a provider nor a key of the platform is named.
        ConfigurationError: There is no provider of that name, or it does not fit this client.
    """
    name = config.provider
    if name == LOCAL:
        from .local import LocalSandboxProvider

        return LocalSandboxProvider()
    if name and name != PLATFORM:
        return _plugged_in(name, config)
    if auth.has_credential:
        from .platform.provider import PlatformSandboxProvider

        return PlatformSandboxProvider(config, auth=auth, transport=transport, budget=budget)
    raise missing_credential()


def checked_provider(provider: SandboxProvider) -> SandboxProvider:
    """Return `provider` if its methods are of the right kind (async or not) for this client.

    Raises:
        ConfigurationError: It belongs to the other kind of client.
    """
    if isinstance(provider, type):
        raise ConfigurationError(f"provider is the class {provider.__qualname__} and no object of it: call it")
    create = getattr(provider, "create", None)
    if create is None or inspect.iscoroutinefunction(create) is not io.IS_ASYNC:
        wanted = "coroutine functions" if io.IS_ASYNC else "plain functions"
        raise ConfigurationError(
            f"provider {type(provider).__qualname__} does not fit: for this client its methods are {wanted}"
        )
    return provider


def _plugged_in(name: str, config: ClientConfig) -> SandboxProvider:
    from importlib.metadata import entry_points  # slow to import, and most clients name no provider

    found = {entry.name: entry for entry in entry_points(group=PROVIDER_GROUP)}
    if name not in found:
        known = ", ".join(repr(each) for each in [LOCAL, PLATFORM, *sorted(found)])
        raise ConfigurationError(
            f"there is no provider {name!r}; known are {known} (others come as entry points of {PROVIDER_GROUP!r})"
        )
    return checked_provider(found[name].load()(config))
