"""`python -m ppio_agent_runtime [main.py | module:app] [--host H] [--port P] [--show-config]`: serve an agent."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppio_agent_models import MANIFEST_FILE, ConfigurationError
from ppio_agent_models._entrypoint import does_something

from ._version import __version__
from .importer import NoAppError, entrypoint_from_manifest, load_app, run_script

if TYPE_CHECKING:
    from .app import PPIOAgentRuntimeApp
    from .config import AgentConfig


def main(arguments: list[str] | None = None) -> int:
    """Serve the agent that the command line or the manifest names; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ppio_agent_runtime", description="Serve an agent over HTTP.")
    parser.add_argument(
        "agent",
        nargs="?",
        help=f"main.py, module or module:app; without it the entrypoint of {MANIFEST_FILE} in the current folder",
    )
    parser.add_argument("--host", help="address to listen on (else PPIO_AGENT_HOST, else 0.0.0.0)")
    parser.add_argument("--port", type=int, help="port to listen on (else PPIO_AGENT_PORT, else 8080)")
    parser.add_argument(
        "--show-config", action="store_true", help="print every setting with its value and origin, and exit"
    )
    parser.add_argument("--json", action="store_true", help="with --show-config: as JSON")
    parser.add_argument("--version", action="version", version=f"ppio-agent-runtime {__version__}")
    options = parser.parse_args(arguments)
    if options.json and not options.show_config:
        parser.error("--json goes with --show-config")
    try:
        if options.show_config:
            _show_config(options)
            return 0
        agent = options.agent or entrypoint_from_manifest(Path.cwd())
        try:
            app = load_app(agent)
        except NoAppError:
            if not (agent.endswith(".py") and does_something(Path(agent).read_bytes())):
                raise
            return run_script(agent, host=options.host, port=options.port)
        app.run(port=options.port, host=options.host)
    except ConfigurationError as error:
        sys.stderr.write(f"ppio-agent-runtime: {error}\n")
        return 1
    return 0


def _show_config(options: argparse.Namespace) -> None:
    """Print the settings of the agent; without an argument or a manifest, those that the environment gives any agent.

    Secrets and passwords in URIs are masked. Each setting has `value` and `origin`, and `variable` if it comes from
    the environment.
    """
    from .config import AgentConfig

    config = AgentConfig()
    if options.agent or (Path.cwd() / MANIFEST_FILE).is_file():
        config = _config_of_agent(options.agent or entrypoint_from_manifest(Path.cwd()))
    given = {name: value for name in ("host", "port") if (value := getattr(options, name)) is not None}
    config = config.replace(**given)
    settings: dict[str, dict[str, Any]] = {}
    for name, (value, origin) in config.explain().items():
        settings[name] = {"value": _shown(value, secret=name in config.secret_names()), "origin": origin}
        if origin == "environment":
            settings[name]["variable"] = config.variable_of(name)
    sys.stdout.write(f"{json.dumps(settings)}\n" if options.json else _table(settings))


class _ReachedRunError(BaseException):
    """The agent's module called `run` while it was imported. Not an `Exception`, so that no module catches it."""

    def __init__(self, config: AgentConfig) -> None:
        self.config = config


def _config_of_agent(target: str) -> AgentConfig:
    """Return the settings of the app that `target` names. Output of its module goes to standard error.

    If the module calls `app.run()`, nothing is served; the arguments of `run` are part of the settings.

    Raises:
        ConfigurationError: There is no such app, or its settings are wrong.
    """
    from .app import PPIOAgentRuntimeApp

    def stop(
        self: PPIOAgentRuntimeApp, port: int | None = None, host: str | None = None, **uvicorn_options: Any
    ) -> None:
        given = {"port": port, "host": host}
        raise _ReachedRunError(
            self.config.replace(**{name: value for name, value in given.items() if value is not None})
        )

    run = PPIOAgentRuntimeApp.run
    PPIOAgentRuntimeApp.run = stop  # type: ignore[method-assign]  # during the import
    try:
        with redirect_stdout(sys.stderr):
            return load_app(target).config
    except _ReachedRunError as reached:
        return reached.config
    finally:
        PPIOAgentRuntimeApp.run = run  # type: ignore[method-assign]


def _shown(value: Any, *, secret: bool = False) -> Any:
    """Return a value as plain data. Of secrets it shows only number and names, not even their length."""
    from .settings import MASK, Settings, without_password

    if isinstance(value, Settings):
        return {name: _shown(part, secret=secret) for name, (part, _) in value.explain().items()}
    if isinstance(value, Mapping):
        return {str(name): _shown(part, secret=secret) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(part, secret=secret) for part in value]
    return MASK if secret and value is not None else without_password(value)


def _table(settings: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the settings in aligned columns."""
    rows = [("setting", "value", "origin")]
    for name, facts in settings.items():
        value = facts["value"]
        text = value if isinstance(value, str) and value.isprintable() else json.dumps(value, ensure_ascii=False)
        rows.append((name, text, " ".join([facts["origin"], *([facts["variable"]] if "variable" in facts else [])])))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "".join(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}\n" for name, value, origin in rows)


if __name__ == "__main__":
    sys.exit(main())
