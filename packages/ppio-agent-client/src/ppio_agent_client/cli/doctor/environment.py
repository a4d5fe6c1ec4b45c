"""Checks of installed packages, local sandboxes, and access to the platform. The API key is never shown."""

from __future__ import annotations

import os
import platform
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ppio_agent_models import AuthenticationError, ConfigurationError, PPIOAgentRuntimeError

from ..messages import later, ntr, tr
from ..project import RUNTIME_LINE
from ..targets import without_credentials
from . import Check, State

_OURS: Final = ("ppio-agent-client", "ppio-agent-models", "ppio-agent-runtime")
_REACH_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 10.0
_EXTRAS: Final = {
    "sandbox": (
        "ppio-agent-client[sandbox]",
        "ppio_sandbox",
        later("files, commands and terminals of a sandbox, template builds"),
    ),
    "docs": ("ppio-agent-runtime[docs]", "fastapi_swagger", later("Swagger UI at /docs, without internet access")),
    "otel": ("ppio-agent-runtime[otel]", "opentelemetry.sdk", later("traces")),
    "redis": ("ppio-agent-runtime[redis]", "limits", later("rate limits that replicas share")),
    "websocket": ("ppio-agent-runtime[websocket]", "websockets", later("WebSockets")),
}


def check_versions() -> Iterator[Check]:
    """Yield the installed packages and extras."""
    where = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Check("installed", "python", State.OK, where)
    yield Check("installed", "interpreter", State.OK, sys.executable)
    versions = {name: _version(name) for name in _OURS}
    differ = len({found for found in versions.values() if found}) > 1
    for name, found in versions.items():
        if found is None:
            yield Check(
                "installed",
                name,
                State.NOTE,
                tr("not installed"),
                tr("Needed for `dev`: {command}", command=RUNTIME_LINE),
            )
        else:
            state = State.ERROR if differ else State.OK
            yield Check(
                "installed",
                name,
                state,
                found,
                tr("Install the same version of all three packages.") if differ else None,
            )
    for name, (extra, module, use) in _EXTRAS.items():
        there = is_there(module)
        state, value = State.OK, tr("installed")
        if not there:
            state, value = State.NOTE, tr("not installed: {use}", use=tr(use))
        yield Check("installed", f"extra {name}", state, value, None if there else f"pip install '{extra}'")


def is_there(module: str) -> bool:
    """Return whether a module is installed, without importing it."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def check_home() -> Iterator[Check]:
    """Yield the local templates and sandboxes."""
    home = Path(os.environ.get("PPIO_AGENT_HOME") or "~/.ppio-agent").expanduser()
    if sys.platform == "win32":
        yield Check("local", "home", State.NOTE, tr("local sandboxes need Linux or macOS"))
        return
    if not home.is_dir():
        yield Check("local", "home", State.OK, tr("{folder} (not created yet)", folder=home))
        return
    from ppio_agent_client import SyncLocalSandboxProvider

    try:
        provider = SyncLocalSandboxProvider()
        sandboxes, templates = provider.list_sandboxes(), provider.list_templates()
    except ConfigurationError as error:
        yield Check("local", "home", State.ERROR, str(error))
        return
    yield Check("local", "home", State.OK, f"{home}, {_size(home)}")
    yield Check("local", "templates", State.OK, _templates(len(templates)))
    yield Check("local", "sandboxes", State.OK, _sandboxes(sandboxes))
    if gone := [template for template in templates if not Path(str(template.metadata.get("folder", "/"))).exists()]:
        names = ", ".join(template.template_id for template in gone)
        hint = f"ppio-agent delete --local --template-id {gone[0].template_id}"
        yield Check(
            "local",
            "stale",
            State.NOTE,
            tr("made from folders that no longer exist: {templates}", templates=names),
            hint,
        )


def _templates(number: int) -> str:
    return ntr("{n} template", "{n} templates", number)


def _sandboxes(sandboxes: Any) -> str:
    states = Counter(str(sandbox.state) for sandbox in sandboxes)
    return ", ".join(f"{number} {state}" for state, number in states.items()) or tr("none running")


def _size(folder: Path) -> str:
    size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return f"{size / 1e6:.1f} MB"


def check_access() -> Iterator[Check]:
    """Yield whether the platform can be reached, and whether it accepts the key, which is never shown."""
    from ppio_agent_client import SyncAgentRuntimeClient

    with SyncAgentRuntimeClient() as client:
        settings = client.config
    key = settings.api_key is not None
    if key:
        yield Check("platform", "key", State.OK, tr("{variable} is set", variable="PPIO_API_KEY"))
    else:
        yield Check(
            "platform",
            "key",
            State.NOTE,
            tr("{variable} is not set", variable="PPIO_API_KEY"),
            tr("Not needed with --local."),
        )
    yield from _domain()
    if settings.provider:
        yield Check("platform", "provider", State.NOTE, f"PPIO_AGENT_PROVIDER={settings.provider}")
    yield _within_limit(_ask_with_key if key else _connect, settings)


def _domain() -> Iterator[Check]:
    """Yield the domain and whether it is an older one, on which templates cannot be built."""
    if not is_there("ppio_sandbox"):
        return
    from ppio_sandbox.core.connection_config import ConnectionConfig

    config = ConnectionConfig()
    if config.is_legacy_domain:
        hint = tr("Templates are built on newer domains only; PPIO_DOMAIN chooses one.")
        yield Check("platform", "domain", State.NOTE, tr("{domain}, an older domain", domain=config.domain), hint)
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


def _within_limit(look: Callable[[Any], Check], settings: Any) -> Check:
    """Run a check with a time limit, because name resolution has none."""
    found: list[Check] = []
    thread = threading.Thread(target=lambda: found.append(look(settings)), daemon=True)
    thread.start()
    thread.join(_LOOK_SECONDS)
    return next(
        iter(found),
        Check("platform", "api", State.ERROR, tr("no answer within {seconds:.0f} s", seconds=_LOOK_SECONDS)),
    )


def _connect(settings: Any) -> Check:
    """Check only that a connection can be opened; without a key no request is possible."""
    address = _address(settings)
    parts = urlsplit(address)
    try:
        place = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        socket.create_connection(place, _REACH_SECONDS).close()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        hint = tr("It cannot be reached; --local does not need it. Are PPIO_API_URL and PPIO_DOMAIN right?")
        return Check("platform", "api", State.WARNING, f"{address}: {reason}", hint)
    return Check("platform", "api", State.OK, tr("{url} answers", url=address))


def _ask_with_key(settings: Any) -> Check:
    """Request the list of templates, which requires a valid key."""
    from ppio_agent_client import ClientConfig, SyncAgentRuntimeClient

    address = _address(settings)
    config = ClientConfig(connect_timeout=_REACH_SECONDS, first_byte_timeout=_REACH_SECONDS, max_retries=0)
    try:
        with SyncAgentRuntimeClient(config=config) as client:
            number = len(client.list_templates())
    except AuthenticationError as error:
        keys = tr("Create a key at {url}", url="https://ppio.com/settings/key-management")
        hint = f"{error}. {keys}"
        return Check("platform", "api", State.ERROR, tr("{url} refuses the API key", url=address), hint)
    except PPIOAgentRuntimeError as error:
        return Check("platform", "api", State.ERROR, tr("{url} returns an error", url=address), str(error))
    return Check(
        "platform",
        "api",
        State.OK,
        tr("{url} accepts the API key; {templates}", url=address, templates=_templates(number)),
    )
