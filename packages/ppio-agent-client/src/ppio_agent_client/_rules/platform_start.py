"""How an agent is started in a sandbox of the PPIO platform: which command, with which environment, for how long."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import ppio_agent_models as models
from ppio_agent_models import ConfigurationError, SandboxCreationError

from . import json_codec, platform_templates
from .agent_keys import closed_to_all_but
from .platform_frames import ProcessEnded, ProcessEvent, ProcessOutput, ProcessStarted, StreamClosed

APP_FOLDER: Final = "/app"
"""Where templates keep the agent."""
PROCESS_TAG: Final = "ppio-agent"
"""The name by which envd lists the agent's process."""
DEFAULT_START_SECONDS: Final = 60.0
MAX_START_SECONDS: Final = 3600.0
MAX_OUTPUT_BYTES: Final = 16 * 1024

_DEFAULT_COMMAND = f"cd {APP_FOLDER} && exec python -m ppio_agent_runtime"
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*)?")
_SIGNALS = {"hangup": 1, "interrupt": 2, "aborted": 6, "killed": 9, "segmentation fault": 11, "terminated": 15}
_MEMORY = re.compile(r"([0-9]+)(Mi|Gi)")
_CPU = re.compile(r"([0-9]+)(m?)")
MAX_CPUS: Final = 8
MAX_MEMORY_MB: Final = 8192


@dataclass(frozen=True, slots=True)
class Start:
    """How one agent is started.

    Attributes:
        command: For a login shell.
        env_vars: Those that the template's manifest names.
        timeout_seconds: How long it may take until its ping answers.
    """

    command: str = _DEFAULT_COMMAND
    env_vars: dict[str, str] = field(default_factory=dict, repr=False)
    timeout_seconds: float = DEFAULT_START_SECONDS


def start_of(template: models.AgentTemplate | None) -> Start:
    """Return how the agents of a template are started: as its metadata says, else as every agent of this SDK is."""
    manifest = {} if template is None else platform_templates.manifest_of(template.metadata)
    spec = _object(manifest, "spec")
    return Start(
        command=_command(spec.get("entrypoint")),
        env_vars={name: value for name, value in _object(spec, "envVars").items() if isinstance(value, str)},
        timeout_seconds=_seconds(_object(spec, "runtime").get("timeout")),
    )


def request_of(start: Start, env_vars: Mapping[str, str], token: str) -> dict[str, Any]:
    """Return what envd is asked: a login shell that becomes the agent, closed to everybody without `token`."""
    # What the agent prints is in the platform's log at once, and in a last word if it crashes.
    envs = closed_to_all_but(token, {"PYTHONUNBUFFERED": "1", **start.env_vars, **env_vars})
    process = {"cmd": "/bin/bash", "args": ["-l", "-c", start.command], "envs": envs}
    return {"process": process, "tag": PROCESS_TAG, "stdin": False}


def is_somebody(status: int, body: bytes) -> bool:
    """Tell whether an answer to a ping is an agent's. A gateway says 502 for a port on which nobody listens."""
    if 200 <= status < 300:
        return True
    if status != 503:
        return False
    try:
        said = json_codec.load(body)
    except ValueError:
        return False
    # An agent of ours that feels bad says how, in one form or the other; so does no gateway.
    return isinstance(said, dict) and isinstance(said.get("status"), str)


def wants_user(envd_version: str) -> bool:
    """Tell whether an envd must be told which user a process is for: those before 0.4.0, as the official SDK has it."""
    match = re.match(r"(\d+)\.(\d+)", envd_version)
    return match is not None and (int(match[1]), int(match[2])) < (0, 4)


class LastWords:
    """What a starting process printed and how it ended, as far as its stream has told."""

    def __init__(self) -> None:
        self._printed = bytearray()
        self.started: ProcessStarted | None = None
        self.ended: ProcessEnded | None = None
        self.closed: StreamClosed | None = None

    def note(self, event: ProcessEvent | None) -> None:
        """Take in one event."""
        if isinstance(event, ProcessOutput):
            self._printed += event.text
            del self._printed[:-MAX_OUTPUT_BYTES]
        elif isinstance(event, ProcessStarted):
            self.started = event
        elif isinstance(event, ProcessEnded):
            self.ended = event
        elif isinstance(event, StreamClosed):
            self.closed = event

    @property
    def have_begun(self) -> bool:
        """Whether the stream has said that the process runs, or why it does not."""
        return self.started is not None or self.ended is not None or self.closed is not None

    @property
    def exit_code(self) -> int | None:
        """Its exit code, or minus the signal that ended it; None while it runs, or where nobody says."""
        if self.ended is None:
            return None
        for words, number in _SIGNALS.items():
            if self.ended.status.startswith(f"signal: {words}"):  # as Go calls them
                return -number
        code = self.ended.exit_code
        return None if code is not None and code < 0 else code

    @property
    def output(self) -> str:
        """The last of what it printed."""
        return self._printed.decode("utf-8", "replace")


def check_limits(memory_limit: str | None, cpu_limit: str | None, template: models.AgentTemplate | None) -> None:
    """Do nothing if sandboxes of the template have what is asked for, as far as the platform says what they have.

    On the platform memory and processors belong to the template: they are given when it is built, and `create` cannot
    change them.

    Raises:
        ConfigurationError: No sandbox of the platform can have that.
        SandboxCreationError: The template's have less.
    """
    memory_mb = None if memory_limit is None else _memory_mb(memory_limit)
    cpus = None if cpu_limit is None else _cpus(cpu_limit)
    if template is None:
        return
    short = [
        f"{has} {unit}, less than {wanted}"
        for has, least, unit, wanted in (
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


def _memory_mb(limit: str) -> int:
    match = _MEMORY.fullmatch(limit)
    memory_mb = 0 if match is None else int(match[1]) * (1024 if match[2] == "Gi" else 1)
    if not 0 < memory_mb <= MAX_MEMORY_MB:
        raise ConfigurationError(
            f"memory_limit is such as '512Mi' or '1Gi' and at most {MAX_MEMORY_MB // 1024}Gi on the platform, "
            f"not {limit!r}"
        )
    return memory_mb


def _cpus(limit: str) -> float:
    match = _CPU.fullmatch(limit)
    cpus = 0.0 if match is None else int(match[1]) / (1000 if match[2] else 1)
    if not 0 < cpus <= MAX_CPUS:
        raise ConfigurationError(
            f"cpu_limit is such as '1' or '1000m' and at most {MAX_CPUS} on the platform, not {limit!r}"
        )
    return cpus


def _command(entrypoint: object) -> str:
    if not isinstance(entrypoint, str) or not entrypoint:
        return _DEFAULT_COMMAND
    if not entrypoint.endswith(".py") and _MODULE.fullmatch(entrypoint):
        return f"{_DEFAULT_COMMAND} {shlex.quote(entrypoint)}"
    # A file whose name begins with a hyphen would be an option of Python.
    file = f"./{entrypoint}" if entrypoint.startswith("-") else entrypoint
    return f"cd {APP_FOLDER} && exec python {shlex.quote(file)}"


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= MAX_START_SECONDS:
        return DEFAULT_START_SECONDS
    return float(value)


def _object(fields: dict[str, Any], name: str) -> dict[str, Any]:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}
