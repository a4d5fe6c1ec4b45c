"""What `doctor` looks at, one function for each thing. Each takes a bounded time and tells what it found."""

from __future__ import annotations

import os
import platform
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ppio_agent_models import MANIFEST_FILE, AuthenticationError, ConfigurationError, PPIOAgentRuntimeError

from ._failures import CommandError
from ._manifest_file import read_manifest
from ._python import RUNTIME_LINE, has_runtime, project_python

_OURS: Final = ("ppio-agent-client", "ppio-agent-models", "ppio-agent-runtime")
_EXTRAS: Final = {
    "sandbox": (
        "ppio-agent-client[sandbox]",
        "ppio_sandbox",
        "files, commands and terminals of a sandbox, template builds",
    ),
    "otel": ("ppio-agent-runtime[otel]", "opentelemetry.sdk", "traces"),
    "redis": ("ppio-agent-runtime[redis]", "limits", "rate limits of several replicas together"),
    "websocket": ("ppio-agent-runtime[websocket]", "websockets", "WebSockets"),
}
_REACH_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 10.0
_SHOWN_PACKAGES: Final = 5
_SLOW_START_SECONDS: Final = 2.0


class State(StrEnum):
    """What a check came to."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        topic: What it belongs to.
        name: What was looked at.
        state: What that came to; only an error fails the command.
        value: What was found, for people.
        hint: What to do about it.
    """

    topic: str
    name: str
    state: State
    value: str
    hint: str | None = None

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


def check_versions() -> Iterator[Check]:
    """Yield what is installed."""
    where = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Check("installed", "python", State.OK, where)
    yield Check("installed", "interpreter", State.OK, sys.executable)
    versions = {name: _version(name) for name in _OURS}
    differ = len({found for found in versions.values() if found}) > 1
    for name, found in versions.items():
        if found is None:
            yield Check("installed", name, State.NOTE, "not installed", f"Needed for `dev`: {RUNTIME_LINE}")
        else:
            state = State.ERROR if differ else State.OK
            yield Check("installed", name, state, found, "Install the same version of all three." if differ else None)
    for name, (extra, module, use) in _EXTRAS.items():
        there = _is_there(module)
        state, value = (State.OK, "installed") if there else (State.NOTE, f"not installed: {use}")
        yield Check("installed", f"extra {name}", state, value, None if there else f"pip install '{extra}'")


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
    if not _is_there("ppio_sandbox"):
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
        return str(settings.base_url)
    if domain is None and _is_there("ppio_sandbox"):
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
    config = ClientConfig(timeout=_REACH_SECONDS, connect_timeout=_REACH_SECONDS, max_retries=0)
    try:
        with SyncAgentRuntimeClient(config=config) as client:
            count = len(client.list_templates())
    except AuthenticationError as error:
        hint = f"{error} Keys: https://ppio.com/settings/key-management"
        return Check("platform", "api", State.ERROR, f"{address} refuses the key", hint)
    except PPIOAgentRuntimeError as error:
        return Check("platform", "api", State.ERROR, f"{address} does not answer well", str(error))
    return Check("platform", "api", State.OK, f"{address} takes the key; {_count(count, 'template')}")


def check_home() -> Iterator[Check]:
    """Yield what is on this machine."""
    home = Path(os.environ.get("PPIO_AGENT_HOME") or "~/.ppio-agent").expanduser()
    if sys.platform == "win32":
        yield Check("local", "home", State.NOTE, "sandboxes on this machine need Linux or macOS")
        return
    if not home.is_dir():
        yield Check("local", "home", State.OK, f"{home} (not made yet)")
        return
    from ppio_agent_client import SyncLocalSandboxProvider

    try:
        provider = SyncLocalSandboxProvider()
        sandboxes, templates = provider.list_sandboxes(), provider.list_templates()
    except ConfigurationError as error:
        yield Check("local", "home", State.ERROR, str(error))
        return
    yield Check("local", "home", State.OK, f"{home}, {_size(home)}")
    yield Check("local", "templates", State.OK, _count(len(templates), "template"))
    yield Check("local", "sandboxes", State.OK, _sandboxes(sandboxes))
    if gone := [template for template in templates if not Path(str(template.metadata.get("folder", "/"))).exists()]:
        names = ", ".join(template.template_id for template in gone)
        hint = f"ppio-agent delete --local --template-id {gone[0].template_id}"
        yield Check("local", "stale", State.NOTE, f"made from folders that are gone: {names}", hint)


def _sandboxes(sandboxes: Any) -> str:
    states: dict[str, int] = {}
    for sandbox in sandboxes:
        states[str(sandbox.state)] = states.get(str(sandbox.state), 0) + 1
    return ", ".join(f"{number} {state}" for state, number in states.items()) or "none live"


def check_agent(folder: Path) -> Iterator[Check]:
    """Yield what the start of the agent in a folder costs; nothing where there is none."""
    from ._startup import start_profile

    if not (folder / MANIFEST_FILE).is_file():
        return
    try:
        manifest = read_manifest(folder / MANIFEST_FILE)
    except (PPIOAgentRuntimeError, CommandError) as error:
        yield Check("agent", "manifest", State.ERROR, str(error), "ppio-agent validate")
        return
    python = project_python(folder)
    yield Check("agent", "name", State.OK, f"{manifest.metadata.name} {manifest.metadata.version}")
    yield Check("agent", "python", State.OK, python)
    if not has_runtime(python):
        yield Check("agent", "start", State.ERROR, "its Python has no ppio-agent-runtime", RUNTIME_LINE)
        return
    profile = start_profile(folder, python, manifest.spec.entrypoint, manifest.spec.env_vars)
    if profile is None:
        yield Check("agent", "start", State.ERROR, "it cannot be imported", "ppio-agent validate")
        return
    slow = profile.seconds > _SLOW_START_SECONDS
    hint = "Import what is heavy inside functions: each sandbox waits for it." if slow else None
    yield Check("agent", "start", State.NOTE if slow else State.OK, f"its import takes {_milli(profile.seconds)}", hint)
    for package, seconds in list(profile.packages.items())[:_SHOWN_PACKAGES]:
        yield Check("agent", f"  {package}", State.OK, _milli(seconds))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _size(folder: Path) -> str:
    size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return f"{size / 1e6:.1f} MB"


def _milli(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
