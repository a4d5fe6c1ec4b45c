"""`python -m ppio_agent_runtime --show-config`: what is set, and by whom. Secrets are masked, passwords in URIs too."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any, Final

from .settings import Settings

if TYPE_CHECKING:
    from .config import AgentConfig

_MASK: Final = "***"
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/?#]*@")
_OPTIONS: Final = re.compile(r"\?.*", re.DOTALL)


class _ReachedRunError(BaseException):
    """The agent's module calls `run` while it is imported. Past every `except Exception` on the way."""

    def __init__(self, config: AgentConfig) -> None:
        self.config = config


def config_of_agent(target: str) -> AgentConfig:
    """Return the settings of the app that `target` names. What its module prints goes to standard error.

    A module that ends with `app.run()` is not served: what it would be served with counts.

    Raises:
        ConfigurationError: There is no such app, or its settings are wrong.
    """
    from .app import PPIOAgentRuntimeApp
    from .importer import load_app

    def stop(
        self: PPIOAgentRuntimeApp, port: int | None = None, host: str | None = None, **uvicorn_options: Any
    ) -> None:
        given = {"port": port, "host": host}
        changes = {name: value for name, value in given.items() if value is not None}
        raise _ReachedRunError(self.config.replace(**changes))

    run = PPIOAgentRuntimeApp.run
    PPIOAgentRuntimeApp.run = stop  # type: ignore[method-assign]  # for the time of the import
    try:
        with redirect_stdout(sys.stderr):
            return load_app(target).config
    except _ReachedRunError as reached:
        return reached.config
    finally:
        PPIOAgentRuntimeApp.run = run  # type: ignore[method-assign]


def effective_settings(config: AgentConfig) -> dict[str, dict[str, Any]]:
    """Return `value` and `origin` of every setting as plain data, for an environment variable its name too."""
    secrets = config.secret_names()
    settings: dict[str, dict[str, Any]] = {}
    for name, (value, origin) in config.explain().items():
        shown = _masked(value) if name in secrets else _plain(value)
        settings[name] = {"value": shown, "origin": origin}
        if origin == "environment":
            settings[name]["variable"] = config.variable_of(name)
    return settings


def as_table(settings: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the settings as a table with aligned columns."""
    rows = [("setting", "value", "origin")]
    for name, facts in settings.items():
        value = facts["value"]
        text = value if isinstance(value, str) and value.isprintable() else json.dumps(value, ensure_ascii=False)
        origin = f"{facts['origin']} {facts['variable']}" if "variable" in facts else str(facts["origin"])
        rows.append((name, text, origin))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "".join(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}\n" for name, value, origin in rows)


def _masked(value: Any) -> Any:
    """Keep how many there are and, of a mapping, under which names; nothing of the secrets, their length included."""
    if isinstance(value, Mapping):
        return dict.fromkeys(value, _MASK)
    if isinstance(value, list | tuple):
        return [_MASK] * len(value)
    return None if value is None else _MASK


def _plain(value: Any) -> Any:
    if isinstance(value, Settings):
        return _plain({name: part for name, (part, _) in value.explain().items()})
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, str) and "://" in value:
        return _OPTIONS.sub("?" + _MASK, _CREDENTIALS.sub(_MASK + "@", value))
    return value
