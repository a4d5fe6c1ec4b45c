"""Whether the platform can be reached, and whether it takes the key. Nothing of the key is told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from ppio_agent_models import AuthenticationError, PPIOAgentRuntimeError

from .._places import without_credentials
from .checks import Check, State, count, is_there

_REACH_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 10.0


def check_access() -> Iterator[Check]:
    """Yield whether the platform can be reached, and whether it takes the key. Nothing of the key is told."""
    from ppio_agent_client import SyncAgentRuntimeClient

    with SyncAgentRuntimeClient() as client:
        settings = client.config
    key = settings.api_key is not None
    yield (
        Check("platform", "key", State.OK, "PPIO_API_KEY is set")
        if key
        else Check("platform", "key", State.NOTE, "PPIO_API_KEY is not set", "Not needed with --local.")
    )
    yield from _domain()
    if settings.provider:
        yield Check("platform", "provider", State.NOTE, f"PPIO_AGENT_PROVIDER={settings.provider}")
    yield _in_time(_knock if key else _reach, settings)


def _domain() -> Iterator[Check]:
    """Yield which half of the platform is meant; templates are built on the modern one only."""
    if not is_there("ppio_sandbox"):
        return
    from ppio_sandbox.core.connection_config import ConnectionConfig

    config = ConnectionConfig()
    if config.is_legacy_domain:
        hint = "Templates are built on newer domains only; PPIO_DOMAIN chooses one."
        yield Check("platform", "domain", State.NOTE, f"{config.domain}, one of the older ones", hint)
    else:
        yield Check("platform", "domain", State.OK, config.domain)


def _address(settings: Any) -> str:
    domain = getattr(settings, "domain", None)
    if settings.base_url:
        return without_credentials(str(settings.base_url))
    if domain is None and is_there("ppio_sandbox"):
        from ppio_sandbox.core.connection_config import ConnectionConfig

        return str(ConnectionConfig().api_url)
    return f"https://api.{domain or 'sandbox.ppio.cn'}"


def _in_time(look: Callable[[Any], Check], settings: Any) -> Check:
    """Look, but not longer than it may take: names are looked up without a limit of their own."""
    found: list[Check] = []
    thread = threading.Thread(target=lambda: found.append(look(settings)), daemon=True)
    thread.start()
    thread.join(_LOOK_SECONDS)
    return next(iter(found), Check("platform", "api", State.ERROR, f"no answer within {_LOOK_SECONDS:.0f} s"))


def _reach(settings: Any) -> Check:
    """Look whether anybody listens; without a key there is nothing to ask."""
    address = _address(settings)
    parts = urlsplit(address)
    try:
        place = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        socket.create_connection(place, _REACH_SECONDS).close()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        hint = "Not reached, and not needed with --local. Are PPIO_API_URL and PPIO_DOMAIN right?"
        return Check("platform", "api", State.WARNING, f"{address}: {reason}", hint)
    return Check("platform", "api", State.OK, f"{address} answers")


def _knock(settings: Any) -> Check:
    """Ask for the list of templates: that needs a key that holds."""
    from ppio_agent_client import ClientConfig, SyncAgentRuntimeClient

    address = _address(settings)
    config = ClientConfig(connect_timeout=_REACH_SECONDS, first_byte_timeout=_REACH_SECONDS, max_retries=0)
    try:
        with SyncAgentRuntimeClient(config=config) as client:
            number = len(client.list_templates())
    except AuthenticationError as error:
        hint = f"{error}. Keys are made at https://ppio.com/settings/key-management"
        return Check("platform", "api", State.ERROR, f"{address} refuses the key", hint)
    except PPIOAgentRuntimeError as error:
        return Check("platform", "api", State.ERROR, f"{address} does not answer well", str(error))
    return Check("platform", "api", State.OK, f"{address} takes the key; {count(number, 'template')}")
