"""Protocols besides our own, built on the public plugin interface: `AgentConfig(protocols=["ag-ui", "openai"])`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, NamedTuple

from ppio_agent_models import ConfigurationError

from ..observability.logging import logger
from .writing import LOOPBACK

if TYPE_CHECKING:
    from ..config import AgentConfig
    from ..plugin_interface import PluginInterface

ALL: Final = "all"


class Protocol(NamedTuple):
    """A protocol.

    Attributes:
        module: Its module, with a function `install(app, path)`.
        path: The path of its first route, unless `protocol_paths` has another.
        package: The package that it needs, from the extra of its own name; None if it needs none.
    """

    module: str
    path: str
    package: str | None = None


PROTOCOLS: Final = {
    "a2a": Protocol("a2a", "/a2a", "a2a"),
    "ag-ui": Protocol("ag_ui", "/ag-ui"),
    "mcp": Protocol("mcp", "/mcp", "mcp"),
    "openai": Protocol("openai", "/v1"),
    "vercel": Protocol("vercel", "/api/chat"),
}


def install_protocols(app: PluginInterface, config: AgentConfig) -> None:
    """Add the protocols that the settings name.

    Raises:
        ConfigurationError: One is unknown, has a path but is not enabled, or its package is missing.
    """
    names = list(PROTOCOLS) if ALL in config.protocols else config.protocols
    paths = config.protocol_paths or {}
    for name in [*names, *paths]:
        if name not in PROTOCOLS:
            raise ConfigurationError(f"Unknown protocol {name!r}; use one of {', '.join(PROTOCOLS)}, or 'all'.")
    for name in paths:
        if name not in names:
            raise ConfigurationError(f"protocol_paths names {name!r}, which is not in the setting 'protocols'.")
        if not paths[name].startswith("/"):
            raise ConfigurationError(f"protocol_paths[{name!r}] must begin with '/': {paths[name]!r}.")
    for name in names:
        protocol = PROTOCOLS[name]
        if protocol.package is not None and not _has(protocol.package):
            if ALL in config.protocols:
                continue
            raise ConfigurationError(
                f"The protocol {name!r} needs {protocol.package}: pip install 'ppio-agent-runtime[{name}]'"
            )
        module = import_module(f".{protocol.module}", __package__)
        module.install(app, paths.get(name, protocol.path))
    if not (config.api_keys or config.hmac_keys) and config.host not in LOOPBACK:
        logger.warning(
            "The protocols %s are open to everybody who reaches %s without a key, and so is the agent's model. Set "
            "api_keys.",
            ", ".join(names),
            config.host,
        )


def _has(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None
