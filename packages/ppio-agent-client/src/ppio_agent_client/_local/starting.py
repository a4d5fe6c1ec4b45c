"""Starts supervisors, and learns from them which processes they and their agents are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from socket import socket
from typing import TYPE_CHECKING

from ppio_agent_models import SandboxCreationError

from .logs import tail
from .names import SUPERVISOR_LOG_FILE
from .ports import IS_RESERVABLE
from .supervisor import STARTED

if TYPE_CHECKING:
    from .records import Agent, Supervisor

_START_SECONDS = 60.0
"""How long a supervisor may take to say that it started the agent: milliseconds, unless the machine is on its knees."""


def start_supervisor(
    directory: str, command: Sequence[str], environment: Mapping[str, str], *, reservation: socket
) -> tuple[Supervisor, Agent]:
    """Start the supervisor of the sandbox in `directory`, which starts `command` with exactly this environment.

    The supervisor belongs to nobody: it has a session of its own and outlives the caller, of whom it holds nothing open
    but the reservation of the agent's port, as its standard input.

    Raises:
        SandboxCreationError: It could not start the command, or itself.
        OSError: It could not be executed.
        ValueError: The environment cannot be passed to a process.
    """
    room = os.path.dirname(os.path.abspath(__file__))
    log_path = os.path.join(directory, SUPERVISOR_LOG_FILE)
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = subprocess.Popen(
            [sys.executable or command[0], "-I", "-S", room, directory, *command],
            stdin=reservation.fileno() if IS_RESERVABLE else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd="/",
            env=environment,
            start_new_session=True,
        )
    finally:
        os.close(log)
    said = _listen_to(process).decode("utf-8", "replace").split("\n")
    if said[0] != STARTED:
        problem = said[0] or tail(log_path) or f"the supervisor ended with exit code {process.returncode}"
        raise SandboxCreationError(f"the agent could not be started: {problem}")
    _, pid, started, agent, agent_started, session = said
    return {"pid": int(pid), "started": started}, {"pid": int(agent), "started": agent_started, "session": int(session)}


def _listen_to(process: subprocess.Popen[bytes]) -> bytes:
    """Return what the supervisor says until it lets go of the pipe, and reap the process that it leaves behind."""
    try:
        said, _ = process.communicate(timeout=_START_SECONDS)
    except BaseException as error:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise SandboxCreationError(f"the agent was not started within {_START_SECONDS:g} s") from error
        raise
    return said
