"""The start command of agents in sandboxes of the PPIO platform, and envd's reports about their process.

envd's streams are Connect RPC with JSON messages, each after a byte of flags and its length. The protocol is
https://connectrpc.com/docs/protocol, section Streaming Request. Bytes arrive in pieces of any size.
"""

from __future__ import annotations

import base64
import re
import shlex
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import ppio_agent_models as models
from ppio_agent_models import ConfigurationError, SandboxCreationError
from ppio_agent_models._entrypoint import variables_of

from .. import json_codec
from ..credentials import with_session_key
from .models import manifest_of

PROCESS_TAG: Final = "ppio-agent"
"""The tag of the agent's process in envd's list."""
DEFAULT_START_SECONDS: Final = 60.0

_PLACE: Final = {"PPIO_AGENT_HOST": "0.0.0.0", "PPIO_AGENT_PORT": str(models.AGENT_PORT)}
"""Where every agent listens on the platform; scripts with their own server may read PORT instead."""
_DEFAULT_COMMAND = "cd /app && exec python -m ppio_agent_runtime"
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*)?")
_UNITS = {"Mi": 1, "Gi": 1024, "": 1, "m": 0.001}

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""Far more than envd sends; a longer message is invalid."""
MAX_OUTPUT_BYTES: Final = 16 * 1024
"""How much of the end of a process's output is kept."""
_HEAD: Final = struct.Struct(">BI")
_COMPRESSED: Final = 0b01
_END: Final = 0b10
_SIGNALS: Final = {"hangup": 1, "interrupt": 2, "aborted": 6, "killed": 9, "segmentation fault": 11, "terminated": 15}
"""Go's names of signals."""


@dataclass(frozen=True, slots=True)
class AgentStart:
    """How an agent is started: a command for a login shell, its environment, and the time until it must be healthy."""

    command: str = _DEFAULT_COMMAND
    env_vars: dict[str, str] = field(default_factory=dict, repr=False)
    timeout_seconds: float = DEFAULT_START_SECONDS

    def envd_request(self, env_vars: Mapping[str, str], token: str) -> dict[str, Any]:
        """Return the request for envd: a login shell that execs the agent, which only accepts `token`."""
        # Unbuffered, so that output is in the platform's log at once, and in the error if the agent crashes.
        given = {"PYTHONUNBUFFERED": "1", "PORT": _PLACE["PPIO_AGENT_PORT"], **self.env_vars, **env_vars, **_PLACE}
        envs = with_session_key(token, given)
        process = {"cmd": "/bin/bash", "args": ["-l", "-c", self.command], "envs": envs}
        return {"process": process, "tag": PROCESS_TAG, "stdin": False}


def agent_start(template: models.AgentTemplate | None) -> AgentStart:
    """Return how the agents of a template are started, from its metadata, else by the defaults."""
    manifest = manifest_of({} if template is None else template.metadata)
    return AgentStart(
        command=_command(manifest.entrypoint),
        env_vars=variables_of(manifest.protocols, manifest.env_vars),
        timeout_seconds=manifest.start_timeout or DEFAULT_START_SECONDS,
    )


def is_agent(status: int, body: bytes) -> bool:
    """Return whether the response to a ping comes from an agent; for a closed port, the gateway responds with 502."""
    if 200 <= status < 300:
        return True
    if status != 503:
        return False
    try:
        value = json_codec.load(body)
    except ValueError:
        return False
    # The 503 of an unhealthy agent has a status field; that of a gateway doesn't.
    return isinstance(value, dict) and isinstance(value.get("status"), str)


def needs_user(envd_version: str | None) -> bool:
    """Return whether envd requires a user name: versions before 0.4.0, as in the official SDK."""
    match = re.match(r"(\d+)\.(\d+)", envd_version or "")
    return match is not None and (int(match[1]), int(match[2])) < (0, 4)


def check_limits(memory_limit: str | None, cpu_limit: str | None, template: models.AgentTemplate | None) -> None:
    """Raise an error if sandboxes of the template are known to have less memory or processors than requested.

    On the platform both are set when a template is built, and `create` cannot change them.

    Raises:
        ConfigurationError: It is more than any sandbox of the platform can have.
        SandboxCreationError: The template has less.
    """
    memory_mb = _parsed("memory_limit", memory_limit, "([0-9]+)(Mi|Gi)", (8192, "8Gi"), "'512Mi' or '1Gi'")
    cpus = _parsed("cpu_limit", cpu_limit, "([0-9]+)(m?)", (8, "8"), "'1' or '1000m'")
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
            f"sandboxes of template {template.template_id!r} have {' and '.join(short)}; on the platform these are set "
            "by the template: deploy it again with these limits in spec.runtime of its manifest"
        )


def _parsed(name: str, limit: str | None, pattern: str, most: tuple[float, str], valid: str) -> float | None:
    if limit is None:
        return None
    match = re.fullmatch(pattern, limit)
    value = 0 if match is None else int(match[1]) * _UNITS[match[2]]
    if not 0 < value <= most[0]:
        raise ConfigurationError(f"{name} must look like {valid}, at most {most[1]} on the platform, not {limit!r}")
    return value


def _command(entrypoint: str | None) -> str:
    if entrypoint is None:
        return _DEFAULT_COMMAND
    if not entrypoint.endswith(".py") and _MODULE.fullmatch(entrypoint):
        return f"{_DEFAULT_COMMAND} {shlex.quote(entrypoint)}"
    # Python would take a file name that begins with a hyphen for an option.
    file = f"./{entrypoint}" if entrypoint.startswith("-") else entrypoint
    return f"cd /app && exec python {shlex.quote(file)}"


class FrameError(ValueError):
    """The bytes are not a valid stream."""


def encode_frame(message: object, *, is_end: bool = False) -> bytes:
    """Return one message as a frame."""
    body = json_codec.dump(message)
    return _HEAD.pack(_END if is_end else 0, len(body)) + body


def take_frames(pending: bytearray) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield every complete message of a stream, and whether it is the end-of-stream message.

    Yielded messages are removed from `pending`; the start of the next message stays there.

    Raises:
        FrameError: It is not a valid stream.
    """
    while len(pending) >= _HEAD.size:
        flags, length = _HEAD.unpack_from(pending)
        if flags & _COMPRESSED or length > MAX_MESSAGE_BYTES:
            raise FrameError(f"envd sent a frame with flags {flags} and {length} bytes, which cannot be read")
        if len(pending) < _HEAD.size + length:
            return
        body = bytes(pending[_HEAD.size : _HEAD.size + length])
        del pending[: _HEAD.size + length]
        yield _json_object(body), bool(flags & _END)


class ProcessReport:
    """Output and exit of a process, from the frames of `process.Process/Start`.

    Attributes:
        exit_code: The exit code, or minus the signal that ended it; None while it runs, or if unknown.
        is_closed: Whether the stream is over.
        error: The error of the stream; empty if there is none.
    """

    def __init__(self) -> None:
        self.has_started = self.has_ended = self.is_closed = False
        self.exit_code: int | None = None
        self.error = ""
        self._pending = bytearray()
        self._printed = bytearray()

    @property
    def is_known(self) -> bool:
        """Whether the stream has reported that the process runs, or why it doesn't."""
        return self.has_started or self.has_ended or self.is_closed

    @property
    def output(self) -> str:
        """The end of its output, of stdout and stderr."""
        return self._printed.decode("utf-8", "replace")

    def feed(self, piece: bytes) -> None:
        """Process a piece of the stream.

        Raises:
            FrameError: It is not a valid stream.
        """
        self._pending += piece
        for message, is_end in take_frames(self._pending):
            if is_end:
                self.is_closed = True
                self.error = error_text(message["error"]) if isinstance(message.get("error"), dict) else ""
            elif isinstance(event := message.get("event"), dict):
                self._update(event)

    def _update(self, event: dict[str, Any]) -> None:
        if isinstance(event.get("start"), dict):
            self.has_started = True
        elif isinstance(data := event.get("data"), dict):
            self._printed += b"".join(_decoded(data.get(stream)) for stream in ("stdout", "stderr", "pty"))
            del self._printed[:-MAX_OUTPUT_BYTES]
        elif isinstance(end := event.get("end"), dict):
            self.has_ended = True
            self.exit_code = _exit_code(end)


def error_text(error: dict[str, Any]) -> str:
    """Return a Connect error as text."""
    words = [error.get("code"), error.get("message")]
    return ": ".join(word for word in words if isinstance(word, str) and word) or "no reason given"


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = json_codec.load(body)
    except ValueError as error:
        raise FrameError("envd sent a frame that is not JSON") from error
    if not isinstance(value, dict):
        raise FrameError("envd sent a frame that is not a JSON object")
    return value


def _decoded(encoded: object) -> bytes:
    if not isinstance(encoded, str):
        return b""
    try:
        return base64.b64decode(encoded)
    except ValueError:
        return encoded.encode("utf-8", "replace")


def _exit_code(end: dict[str, Any]) -> int | None:
    status = end.get("status") or end.get("error")
    for words, number in _SIGNALS.items():
        if isinstance(status, str) and status.startswith(f"signal: {words}"):
            return -number
    # proto3's JSON leaves out a field that is zero.
    code = end.get("exitCode", 0 if end.get("exited") else None)
    return code if isinstance(code, int) and not isinstance(code, bool) and code >= 0 else None
