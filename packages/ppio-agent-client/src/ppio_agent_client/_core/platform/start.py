"""How an agent is started in a sandbox of the PPIO platform: which command, with which environment, for how long."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import ppio_agent_models as models
from ppio_agent_models import ConfigurationError, SandboxCreationError

from .. import json_codec
from ..credentials import with_session_key
from .models import manifest_of

PROCESS_TAG: Final = "ppio-agent"
"""The name by which envd lists the agent's process."""
DEFAULT_START_SECONDS: Final = 60.0
_MAX_CPUS: Final = "8"
_MAX_MEMORY: Final = "8Gi"

_DEFAULT_COMMAND = "cd /app && exec python -m ppio_agent_runtime"
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*)?")
_MEMORY = re.compile(r"([0-9]+)(Mi|Gi)")
_CPU = re.compile(r"([0-9]+)(m?)")
_UNITS = {"Mi": 1, "Gi": 1024, "": 1, "m": 0.001}


@dataclass(frozen=True, slots=True)
class AgentStart:
    """How one agent is started: by a command of a login shell, with time until its ping answers."""

    command: str = _DEFAULT_COMMAND
    env_vars: dict[str, str] = field(default_factory=dict, repr=False)
    timeout_seconds: float = DEFAULT_START_SECONDS

    def envd_request(self, env_vars: Mapping[str, str], token: str) -> dict[str, Any]:
        """Return what envd is asked: a login shell that becomes the agent, closed to everybody without `token`."""
        # Unbuffered: what the agent prints is in the platform's log at once, and in the error if it crashes.
        envs = with_session_key(token, {"PYTHONUNBUFFERED": "1", **self.env_vars, **env_vars})
        process = {"cmd": "/bin/bash", "args": ["-l", "-c", self.command], "envs": envs}
        return {"process": process, "tag": PROCESS_TAG, "stdin": False}


def agent_start(template: models.AgentTemplate | None) -> AgentStart:
    """Return how the agents of a template are started: as its metadata says, else as every agent of this SDK is."""
    manifest = manifest_of({} if template is None else template.metadata)
    return AgentStart(
        command=_command(manifest.entrypoint),
        env_vars=manifest.env_vars,
        timeout_seconds=manifest.start_timeout or DEFAULT_START_SECONDS,
    )


def is_agent(status: int, body: bytes) -> bool:
    """Tell whether an answer to a ping is an agent's. A gateway says 502 for a port on which nobody listens."""
    if 200 <= status < 300:
        return True
    if status != 503:
        return False
    try:
        value = json_codec.load(body)
    except ValueError:
        return False
    # An unhealthy agent names its status, in one form or the other; gateways don't.
    return isinstance(value, dict) and isinstance(value.get("status"), str)


def needs_user(envd_version: str | None) -> bool:
    """Tell whether an envd must be told which user a process is for: those before 0.4.0, as in the official SDK."""
    match = re.match(r"(\d+)\.(\d+)", envd_version or "")
    return match is not None and (int(match[1]), int(match[2])) < (0, 4)


def check_limits(memory_limit: str | None, cpu_limit: str | None, template: models.AgentTemplate | None) -> None:
    """Do nothing if sandboxes of the template have what is asked for, as far as the platform says what they have.

    On the platform memory and processors belong to the template: they are given when it is built, and `create` cannot
    change them.

    Raises:
        ConfigurationError: No sandbox of the platform can have that.
        SandboxCreationError: The template's have less.
    """
    memory_mb = _parsed("memory_limit", memory_limit, _MEMORY, _MAX_MEMORY, "'512Mi' or '1Gi'")
    cpus = _parsed("cpu_limit", cpu_limit, _CPU, _MAX_CPUS, "'1' or '1000m'")
    if template is None:
        return
    short = [
        f"{has} {unit}, less than {limit}"
        for has, least, unit, limit in (
            (template.memory_mb, memory_mb, "MiB of memory", memory_limit),
            (template.cpu_count, cpus, "processors", cpu_limit),
        )
        if least is not None and has is not None and has < least
    ]
    if short:
        raise SandboxCreationError(
            f"sandboxes of template {template.template_id!r} have {' and '.join(short)}; on the platform these belong "
            "to the template: deploy it again with these limits in spec.runtime of its manifest"
        )


def _parsed(name: str, limit: str | None, pattern: re.Pattern[str], most: str, valid: str) -> float | None:
    if limit is None:
        return None
    value, highest = _value(pattern, limit), _value(pattern, most)
    if not 0 < value <= highest:
        raise ConfigurationError(f"{name} is such as {valid} and at most {most} on the platform, not {limit!r}")
    return value


def _value(pattern: re.Pattern[str], text: str) -> float:
    match = pattern.fullmatch(text)
    return 0.0 if match is None else int(match[1]) * _UNITS[match[2]]


def _command(entrypoint: str | None) -> str:
    if entrypoint is None:
        return _DEFAULT_COMMAND
    if not entrypoint.endswith(".py") and _MODULE.fullmatch(entrypoint):
        return f"{_DEFAULT_COMMAND} {shlex.quote(entrypoint)}"
    # A file whose name begins with a hyphen would be an option of Python.
    file = f"./{entrypoint}" if entrypoint.startswith("-") else entrypoint
    return f"cd /app && exec python {shlex.quote(file)}"
