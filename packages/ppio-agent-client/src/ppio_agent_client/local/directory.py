r"""A sandbox's directory: its record, the log of its agent, and the FIFO that wakes its supervisor.

The record is the state of the sandbox. It is written atomically, and only by the process that holds the directory's
lock; any process may read it at any time.

    creating --> running <--> paused
                    \          /
                     --> terminating --> ended (kept for a while in another folder)

The agent writes its log itself; the supervisor truncates it.
"""

from __future__ import annotations

import os

from .locks import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal, TypedDict

    class Agent(TypedDict):
        """The agent's process: the leader of its process group, in the session of its supervisor."""

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
        longest time that a paused or terminating one gets. `rest_seconds` is the life that a paused sandbox has left.
        `token` opens the agent.
        """

        sandbox_id: str
        session_id: str
        template_id: str
        python: str
        port: int
        token: str
        metadata: dict[str, str]
        start_timeout_seconds: float
        state: Literal["creating", "running", "paused", "terminating", "ended"]
        created_at: float
        due_at: float
        rest_seconds: float
        supervisor: Supervisor | None
        agent: Agent | None
        exit_code: int | None
        output: str
        log_bytes: int


_STATES = ("creating", "running", "paused", "terminating", "ended")
_NUMBER = (int, float)
_MAX_TIME = 1e11
"""The year 5138 in Unix seconds; later times are not supported by `datetime`."""
_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("sandbox_id", "session_id", "template_id", "python", "token", "state", "output"), str),
    **dict.fromkeys(("start_timeout_seconds", "created_at", "due_at", "rest_seconds"), _NUMBER),
    **dict.fromkeys(("port", "log_bytes"), int),
    **dict.fromkeys(("supervisor", "agent"), (dict, type(None))),
    "metadata": dict,
    "exit_code": (int, type(None)),
}
LOCK_FILE = "lock"
MAX_LOG_BYTES = 10 * 1024 * 1024
"""A log longer than this is cut to its last part."""
ENDED_FOLDER = "ended"
TRASH_FOLDER = "trash"
_KEPT_BYTES = 1024 * 1024
_TAIL_LINES = 20
_TAIL_BYTES = 8 * 1024


class SandboxDirectory:
    """The directory of one sandbox, `<home>/sandboxes/<id>`, which may be removed already."""

    __slots__ = ("_ended", "_fifo", "_record", "app", "log", "path", "supervisor_log")

    def __init__(self, path: str) -> None:
        self.path: str = path
        self.app: str = os.path.join(path, "app")
        self.log: str = os.path.join(path, "agent.log")
        self.supervisor_log: str = os.path.join(path, "supervisor.log")
        self._record = os.path.join(path, "record.json")
        self._fifo = os.path.join(path, "wakeup")
        self._ended = os.path.join(os.path.dirname(os.path.dirname(path)), ENDED_FOLDER)

    def lock(self) -> Lock:
        """Return the lock under which the record is changed and the agent's processes are signalled."""
        return Lock(os.path.join(self.path, LOCK_FILE))

    def read(self) -> Record | None:
        """Return the record, or None if there is none that this version can read."""
        return read_record(self._record)

    def has_record(self) -> bool:
        """Return whether there is a record, readable or not."""
        return os.path.exists(self._record)

    def write(self, record: Record) -> None:
        """Replace the record. The caller holds the lock."""
        write_json(self._record, record)

    def make_wakeup_fifo(self) -> None:
        """Create the FIFO that the supervisor reads as long as it runs.

        A byte in it only means that the record has changed, so bytes may merge, and need no response. An open reader
        also proves that the supervisor is running: the kernel closes the FIFO however that ends, and a later process
        with the same ID doesn't read it.
        """
        os.mkfifo(self._fifo, 0o600)

    def open_wakeup_fifo(self) -> int:
        """Return a non-blocking descriptor that becomes readable when the record has changed."""
        # Opened for writing as well: a FIFO whose last writer closed it would be readable forever.
        return os.open(self._fifo, os.O_RDWR | os.O_NONBLOCK)

    def wake_supervisor(self) -> bool:
        """Notify the supervisor that the record has changed; False if it is not running."""
        return self._write_to_fifo(b".")

    def has_supervisor(self) -> bool:
        """Return whether the sandbox's supervisor is running, without waking it."""
        return self._write_to_fifo(b"")

    def is_supervised(self, record: Record) -> bool:
        """Return whether the sandbox's supervisor is running, or its creator is still at work."""
        return record["state"] == "creating" or self.has_supervisor()

    def retire(self, record: Record, exit_code: int | None) -> str:
        """Move a sandbox whose processes have ended to the ended ones, and return the path to `remove`.

        The record of the end is written first, then the directory is renamed, and removed later: a reader finds one or
        the other, and everything that a crash in between leaves is cleaned up later.
        The caller holds the lock.
        """
        ended = os.path.join(self._ended, record["sandbox_id"] + ".json")
        if not os.path.exists(
            ended
        ):  # If it exists, a killed supervisor wrote it with the exit code, which only it knew.
            record["state"] = "ended"
            record["exit_code"] = exit_code
            record["output"] = tail(self.log)
            record["log_bytes"] = os.path.getsize(self.log) if os.path.exists(self.log) else 0
            try:  # noqa: SIM105  # contextlib would be imported before the agent is started
                write_json(ended, record)
            except OSError:
                pass  # A full disk must not prevent the removal.
        return discard(self.path)

    def _write_to_fifo(self, message: bytes) -> bool:
        try:
            descriptor = os.open(self._fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            # ENXIO if no process has it open for reading, ENOENT if the directory was removed.
            return False
        try:
            if message:
                os.write(descriptor, message)
        except BlockingIOError:
            return True  # Full of bytes that were not read yet: they will be.
        except BrokenPipeError:
            return False
        finally:
            os.close(descriptor)
        return True


def read_json(path: str) -> Any:
    """Return the content of a JSON file, or None if it does not exist or isn't JSON."""
    import json  # Here and below, because the agent is started before the supervisor needs it.

    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (FileNotFoundError, IsADirectoryError, ValueError, RecursionError):
        return None  # ValueError: the machine crashed before the file reached the disk.


def read_record(path: str) -> Record | None:
    """Return the record in a file; None if there is none, or if it is damaged or of another version."""
    value: Any = read_json(path)
    if not isinstance(value, dict) or not value.keys() >= _KINDS.keys():
        return None
    if any(not isinstance(value[name], kind) for name, kind in _KINDS.items()):
        return None
    agent, supervisor = value["agent"], value["supervisor"]
    understood = (
        value["state"] in _STATES
        and all(0 <= value[name] < _MAX_TIME for name in ("created_at", "due_at"))
        and (supervisor is None or _is_process(supervisor))
        and (agent is None or (_is_process(agent) and isinstance(agent.get("session"), int)))
    )
    return value if understood else None  # type: ignore[return-value]  # looked at field by field


def _is_process(value: dict[str, Any]) -> bool:
    return isinstance(value.get("pid"), int) and isinstance(value.get("started"), str)


def write_json(path: str, value: object) -> None:
    """Replace a file atomically, readable only by its owner. The caller holds a lock, so there is one writer."""
    import json

    # Without fsync: after a crash of the machine, no process of a record exists anyway.
    draft = path + ".draft"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(value, file)
    os.replace(draft, path)


def open_log(path: str) -> int:
    """Return a descriptor in append mode, so that the file can be truncated meanwhile."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def tail(path: str) -> str:
    """Return the last lines of a log, at most 20 and 8 KiB; an empty string if there is no log."""
    try:
        text = _last_bytes(path, _TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    # A character that was cut in two at the front became a replacement sign of up to three bytes.
    lines = "\n".join(text.splitlines()[-_TAIL_LINES:])
    return lines.encode()[-_TAIL_BYTES:].decode("utf-8", "ignore")


def cut(path: str) -> None:
    """Drop the beginning of a log that grew too long. Output that the agent writes at that moment may be lost.

    The kept part overwrites the beginning before the file is truncated, so that a reader never finds it empty.
    """
    try:
        if os.path.getsize(path) <= MAX_LOG_BYTES:
            return
        kept = _last_bytes(path, _KEPT_BYTES).partition(b"\n")[2]
        with open(path, "r+b") as file:
            file.write(b"[earlier output was dropped]\n" + kept)
            file.truncate()
    except FileNotFoundError:
        return


def discard(path: str) -> str:
    """Rename a directory of the home (a sandbox's, a template version's), and return the path to `remove`."""
    trash = os.path.join(os.path.dirname(os.path.dirname(path)), TRASH_FOLDER, os.path.basename(path))
    os.rename(path, trash)
    return trash


def remove(path: str) -> None:
    """Remove a discarded directory, as far as possible; several processes may do it at once."""
    import shutil  # Here, because its import takes as long as the start of the supervisor.

    shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):
        for folder, names, _ in os.walk(path):  # Top down, so that a folder without permissions is made readable first.
            for name in names:
                if not os.path.islink(inner := os.path.join(folder, name)):
                    os.chmod(inner, 0o700)
        shutil.rmtree(path, ignore_errors=True)


def _last_bytes(path: str, count: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - count))
        return file.read(count)
