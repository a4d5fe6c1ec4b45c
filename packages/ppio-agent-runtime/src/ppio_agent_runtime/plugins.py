"""Plugins by name: entry points of other distributions, imported only when the configuration names them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ppio_agent_models import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.metadata import EntryPoint

GROUP: Final = "ppio_agent_runtime.plugins"
"""The entry-point group. An entry point names an object with `install(app)`, a class of such, or a module with it."""


def plugins_called(names: Iterable[str]) -> list[Any]:
    """Return the plugins of these names, in this order.

    Raises:
        ConfigurationError: None is installed under a name, or it cannot be imported or made.
    """
    from importlib.metadata import entry_points  # slow, and most agents have no plugins

    installed = {entry.name: entry for entry in entry_points(group=GROUP)}
    return [_load(installed, name) for name in names]


def _load(installed: dict[str, EntryPoint], name: str) -> Any:
    if name not in installed:
        known = ", ".join(sorted(installed)) or "none"
        raise ConfigurationError(f"No plugin {name!r} is installed; there are: {known}. See the setting 'plugins'.")
    try:
        plugin = installed[name].load()
        return plugin() if isinstance(plugin, type) else plugin
    except Exception as error:
        raise ConfigurationError(
            f"The plugin {name!r} ({installed[name].value}) cannot be loaded: {type(error).__name__}: {error}"
        ) from error
