"""Loads the plugins that the settings name, and collects what plugins register until the app is built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ppio_agent_models import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.metadata import EntryPoint

    from .asgi import ASGIApp
    from .routes.fastapi_app import FastAPI
    from .routes.plugin_routes import BodyTest, ErrorWriter, WebSocketFunction

GROUP: Final = "ppio_agent_runtime.plugins"
"""The entry-point group. An entry point names an object or module with `install(app)`, or a class of such objects."""


class PluginHooks:
    """What the plugins of one app have registered.

    Attributes:
        routes: Path, ASGI endpoint and methods, until FastAPI is imported for the first request.
        claims: Endpoints for `/invocations`, each with a test of the body.
        websocket: Handles `/ws` if the agent has no handler.
        error_writers: Writers of errors, by the prefix of a path.
        open_paths: Paths that need no key.
    """

    def __init__(self) -> None:
        self.routes: list[tuple[str, ASGIApp, list[str]]] = []
        self.claims: list[tuple[BodyTest, ASGIApp]] = []
        self.websocket: WebSocketFunction | None = None
        self.error_writers: dict[str, tuple[ErrorWriter, bytes]] = {}
        self.open_paths: set[str] = set()

    def add_routes_to(self, fastapi: FastAPI) -> None:
        """Add the routes of plugins to the FastAPI app."""
        for path, endpoint, methods in self.routes:
            fastapi.add_route(path, endpoint, methods, include_in_schema=False)  # type: ignore[arg-type]  # an ASGI app does


def plugins_called(names: Iterable[str]) -> list[Any]:
    """Return the plugins with these names, in this order.

    Raises:
        ConfigurationError: A plugin is not installed, or cannot be imported or created.
    """
    from importlib.metadata import entry_points  # slow, and most agents have no plugins

    installed = {entry.name: entry for entry in entry_points(group=GROUP)}
    return [_load(installed, name) for name in names]


def _load(installed: dict[str, EntryPoint], name: str) -> Any:
    if name not in installed:
        known = ", ".join(sorted(installed)) or "none"
        raise ConfigurationError(f"The plugin {name!r} is not installed (setting 'plugins'); installed: {known}.")
    try:
        plugin = installed[name].load()
        return plugin() if isinstance(plugin, type) else plugin
    except Exception as error:
        raise ConfigurationError(
            f"The plugin {name!r} ({installed[name].value}) cannot be loaded: {type(error).__name__}: {error}"
        ) from error
