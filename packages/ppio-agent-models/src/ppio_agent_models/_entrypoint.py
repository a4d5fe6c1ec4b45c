"""Reads `spec` of a manifest without loading pydantic: the entrypoint, the kind of program, the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping

PROTOCOLS_VARIABLE = "PPIO_AGENT_PROTOCOLS"

_OURS = b"ppio_agent_runtime"
_SERVING = ("run", "serve", "launch", "listen")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*)?")


def is_entrypoint(value: str) -> bool:
    """Return whether `value` is a Python file inside the agent's folder, or `module:app`."""
    if value.endswith(".py"):
        return not value.startswith("/") and ".." not in value.split("/")
    return _MODULE.fullmatch(value) is not None


def serves_by_itself(source: bytes) -> bool:
    """Return whether a file is a script that starts its own server, such as an AgentCore agent, and not our app."""
    return _OURS not in source and does_something(source)


def does_something(source: bytes) -> bool:
    """Return whether a file starts a server when it is run as a program, judging by its source.

    True if it has `if __name__ == "__main__"`, or calls `run`, `serve` or the like at module level.
    """
    import ast  # Here, because agents written with this SDK don't need it.

    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return False
    while body:
        statement = body.pop()
        if isinstance(statement, ast.If) and "'__main__'" in ast.unparse(statement.test):
            return True
        if isinstance(statement, ast.With | ast.If | ast.Try):
            body.extend(statement.body)
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            name = ast.unparse(statement.value.func).rpartition(".")[2]
            if name.startswith(_SERVING):
                return True
    return False


def written_entrypoint(text: str, *, source: str) -> str | None:
    """Return the entrypoint that a manifest names, or None if it is missing or invalid.

    All other fields are ignored: they matter when the agent is deployed, not when it runs.

    Args:
        text: The file's content.
        source: What to call the file in an error.

    Raises:
        ConfigurationError: The text is not valid YAML.
    """
    return entrypoint_of(written_spec(text, source=source))


def written_spec(text: str, *, source: str) -> dict[str, object]:
    """Return `spec` of a manifest as it is written, valid or not.

    Raises:
        ConfigurationError: The text is not valid YAML.
    """
    from ._yaml import read_yaml  # Imports PyYAML, which an agent started by its file name doesn't need.

    manifest, _ = read_yaml(text, source=source)
    spec = manifest.get("spec") if isinstance(manifest, dict) else None
    return spec if isinstance(spec, dict) else {}


def entrypoint_of(spec: Mapping[str, object]) -> str | None:
    """Return the entrypoint in `spec`, or None if it is missing or invalid."""
    entrypoint = spec.get("entrypoint")
    return entrypoint if isinstance(entrypoint, str) and is_entrypoint(entrypoint) else None


def variables_of(protocols: object, env_vars: object) -> dict[str, str]:
    """Return the environment variables that a manifest sets for its agent.

    Args:
        protocols: `spec.protocols`: a list, or a comma-separated string.
        env_vars: `spec.envVars`; they override a value that comes from `protocols`.
    """
    names = ",".join(map(str, protocols)) if isinstance(protocols, list) else protocols
    given = env_vars.items() if isinstance(env_vars, dict) else ()
    variables = {PROTOCOLS_VARIABLE: names} if isinstance(names, str) and names else {}
    return variables | {name: value for name, value in given if isinstance(value, str)}
