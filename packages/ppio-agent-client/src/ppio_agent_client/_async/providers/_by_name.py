"""Which provider a client uses: an object, a name, or the reason why there is none."""

from __future__ import annotations

import inspect
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from ppio_agent_models import ConfigurationError

from ..._config import PROVIDER_GROUP, ClientConfig
from ..._io import _async as io
from ..._rules.credentials import missing_credential

if TYPE_CHECKING:
    from ._protocol import SandboxProvider

LOCAL = "local"


def provider_for(config: ClientConfig) -> SandboxProvider:
    """Return a new provider as `config` names it.

    Raises:
        AuthenticationError: Neither a provider nor a key of the platform is named.
        ConfigurationError: There is no provider of that name, or it does not fit this client.
    """
    name = config.provider
    if name == LOCAL:
        from .local import LocalSandboxProvider

        return LocalSandboxProvider()
    if name:
        return _plugged_in(name, config)
    if config.api_key:
        raise ConfigurationError(
            "an api_key is given and no provider is named: this version cannot reach the PPIO platform yet; "
            'run agents on this machine with provider="local" (or PPIO_AGENT_PROVIDER=local), '
            "or reach one that runs elsewhere with attach(url)"
        )
    raise missing_credential()


def checked_provider(provider: SandboxProvider) -> SandboxProvider:
    """Return `provider` if its verbs fit this client.

    Raises:
        ConfigurationError: It belongs to the other kind of client.
    """
    create = getattr(provider, "create", None)
    if create is None or inspect.iscoroutinefunction(create) is not io.IS_ASYNC:
        wanted = "coroutine functions" if io.IS_ASYNC else "plain functions"
        raise ConfigurationError(
            f"provider {type(provider).__qualname__} does not fit: for this client its verbs are {wanted}"
        )
    return provider


def _plugged_in(name: str, config: ClientConfig) -> SandboxProvider:
    found = {entry.name: entry for entry in entry_points(group=PROVIDER_GROUP)}
    if name not in found:
        known = ", ".join(repr(each) for each in [LOCAL, *sorted(found)])
        raise ConfigurationError(
            f"there is no provider {name!r}; known are {known} (others come as entry points of {PROVIDER_GROUP!r})"
        )
    return checked_provider(found[name].load()(config))
