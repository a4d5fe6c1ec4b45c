r"""Records: what is known of a sandbox, one small JSON file in its directory.

A record is written whole or not at all, and only by who holds the directory's lock; anybody may read it at any time.

    making --> running <--> paused
                  \          /
                   --> ending --> ended (kept for a while in another folder)
"""

from __future__ import annotations

import json
import os

from .names import RECORD_FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal, TypedDict

    class Agent(TypedDict):
        """The agent's process: the leader of its process group, within the session of its supervisor."""

        pid: int
        started: str
        session: int

    class Supervisor(TypedDict):
        """The supervisor's process."""

        pid: int
        started: str

    class Record(TypedDict):
        """A sandbox.

        Times are Unix seconds. `due_at` is when the supervisor acts next: the end of the life of a running sandbox, the
        end of patience with a paused or ending one. `rest_seconds` is the life that a paused sandbox has left. `token`
        opens the agent.
        """

        sandbox_id: str
        session_id: str
        template_id: str
        python: str
        port: int
        token: str
        metadata: dict[str, str]
        start_timeout_seconds: float
        state: Literal["making", "running", "paused", "ending", "ended"]
        created_at: float
        due_at: float
        rest_seconds: float
        supervisor: Supervisor | None
        agent: Agent | None
        exit_code: int | None
        output: str
        log_bytes: int


def read_record(directory: str) -> Record | None:
    """Return the record of the sandbox in `directory`, None when there is none (any more)."""
    record: Record | None = read_json(os.path.join(directory, RECORD_FILE))
    return record


def write_record(directory: str, record: Record) -> None:
    """Replace the record. The caller holds the directory's lock."""
    write_json(os.path.join(directory, RECORD_FILE), record)


def read_json(path: str) -> Any:
    """Return the content of a JSON file, None when it does not exist or is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (FileNotFoundError, ValueError):
        return None  # ValueError: the machine crashed before the file reached the disk.


def write_json(path: str, value: object) -> None:
    """Replace a file at once, readable by its owner only. One writer at a time: the caller holds a lock."""
    # Without fsync: after a crash of the machine nothing that a record speaks of exists any more.
    draft = path + ".draft"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(value, file)
    os.replace(draft, path)
