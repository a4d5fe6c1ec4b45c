"""`python -m ppio_agent_runtime [main.py | module:app] [--host H] [--port P] [--show-config]`: serve an agent."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ppio_agent_models import MANIFEST_FILE, ConfigurationError

from ._version import __version__
from .importer import entrypoint_from_manifest, load_app


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
        "--show-config", action="store_true", help="print every setting, its value and where that comes from, and end"
    )
    parser.add_argument("--json", action="store_true", help="with --show-config: as JSON")
    parser.add_argument("--version", action="version", version=f"ppio-agent-runtime {__version__}")
    options = parser.parse_args(arguments)
    if options.json and not options.show_config:
        parser.error("--json goes with --show-config")
    try:
        if options.show_config:
            return _show_config(options)
        app = load_app(options.agent or entrypoint_from_manifest(Path.cwd()))
        app.run(port=options.port, host=options.host)
    except ConfigurationError as error:
        sys.stderr.write(f"ppio-agent-runtime: {error}\n")
        return 1
    return 0


def _show_config(options: argparse.Namespace) -> int:
    """Print the settings of the agent, or of any agent in this environment where none is named and there is none."""
    from .config import AgentConfig
    from .show_config import as_table, config_of_agent, effective_settings

    config = AgentConfig()
    if options.agent or (Path.cwd() / MANIFEST_FILE).is_file():
        config = config_of_agent(options.agent or entrypoint_from_manifest(Path.cwd()))
    given = {name: value for name in ("host", "port") if (value := getattr(options, name)) is not None}
    settings = effective_settings(config.replace(**given))
    sys.stdout.write(f"{json.dumps(settings)}\n" if options.json else as_table(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
