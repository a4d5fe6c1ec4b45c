"""`spec` of a manifest, read without the models: what an entrypoint is, what kind of program, which variables."""

from __future__ import annotations

import re
from collections.abc import Mapping

PROTOCOLS_VARIABLE = "PPIO_AGENT_PROTOCOLS"

_OURS = b"ppio_agent_runtime"
_SERVING = ("run", "serve", "launch", "listen")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*)?")


def is_entrypoint(value: str) -> bool:
    """Say whether `value` is a Python file inside the agent's folder, or `module:app`."""
    if value.endswith(".py"):
        return not value.startswith("/") and ".." not in value.split("/")
    return _MODULE.fullmatch(value) is not None


def serves_by_itself(source: bytes) -> bool:
    """Say whether a file is a script that serves by itself, such as an agent of AgentCore, and no app of ours."""
    return _OURS not in source and does_something(source)


def does_something(source: bytes) -> bool:
    """Say whether a file serves when it is run as a program, as far as that can be seen.

    It has `if __name__ == "__main__"`, or calls `run`, `serve` or the like outside of every function.
    """
    import ast  # An app of ours does without it.

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
    """Return the entrypoint that a manifest names; None where it has none that is right.

    What else the manifest says is for those who deploy the agent, and is not looked at.

    Args:
        text: The file's content.
        source: What to call the file in an error.

    Raises:
        ConfigurationError: It is not readable.
    """
    return entrypoint_of(written_spec(text, source=source))


def written_spec(text: str, *, source: str) -> dict[str, object]:
    """Return `spec` of a manifest as it is written, right or not.

    Raises:
        ConfigurationError: It is not readable.
    """
    from ._yaml import read_yaml  # With it comes PyYAML, which an agent that is started by its file does without.

    manifest, _ = read_yaml(text, source=source)
    spec = manifest.get("spec") if isinstance(manifest, dict) else None
    return spec if isinstance(spec, dict) else {}


def entrypoint_of(spec: Mapping[str, object]) -> str | None:
    """Return the entrypoint in `spec`; None where it has none that is right."""
    entrypoint = spec.get("entrypoint")
    return entrypoint if isinstance(entrypoint, str) and is_entrypoint(entrypoint) else None


def variables_of(protocols: object, env_vars: object) -> dict[str, str]:
    """Return the environment that a manifest gives to its agent.

    Args:
        protocols: `spec.protocols`: a list, or a text with commas.
        env_vars: `spec.envVars`; they win.
    """
    names = ",".join(map(str, protocols)) if isinstance(protocols, list) else protocols
    given = env_vars.items() if isinstance(env_vars, dict) else ()
    variables = {PROTOCOLS_VARIABLE: names} if isinstance(names, str) and names else {}
    return variables | {name: value for name, value in given if isinstance(value, str)}
