"""The operations on local sandboxes, blocking. Any number of processes and threads can use one home at once.

A log is read a page at a time, with a cursor for the next page: `<sandbox>:<bytes read>`.
"""

from __future__ import annotations

import codecs
import logging
import os
import sys
import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ppio_agent_models import ConfigurationError, SandboxCreationError, SandboxGoneError

from .._sandbox import LogPage, Sandbox
from . import lifecycle
from .create import chosen_python, create_sandbox
from .directory import read_record, tail
from .lifecycle import is_living
from .paths import Paths, is_sandbox_id
from .templates import TemplateStore, canonical_id

if TYPE_CHECKING:
    from .._sandbox import SandboxSpec
    from .directory import Record, SandboxDirectory

logger: logging.Logger = logging.getLogger("ppio_agent_client")

MAX_LIFE_SECONDS = 365 * 24 * 3600.0
"""The longest time to live of a sandbox, in seconds."""
_FORGET_SECONDS = 60.0
"""How often one store looks for things to forget."""
PAGE_BYTES = 256 * 1024
_NO_RUNTIME = "No module named ppio_agent_runtime"


class LocalStore:
    """Sandboxes that are supervised processes on this machine; see `LocalSandboxProvider` for the methods.

    Attributes:
        templates: The templates.

    Raises:
        ConfigurationError: The home cannot be used, or this is Windows.
    """

    def __init__(self, home: Path | None = None, *, python: str | None = None) -> None:
        if sys.platform == "win32":
            raise ConfigurationError(
                "local sandboxes need a POSIX system (signals, file locks): use WSL, or sandboxes on the platform"
            )
        self._paths = Paths(home)
        self._python = python
        self.templates: TemplateStore = TemplateStore(self._paths)
        self._forget_at = 0.0
        self._named: set[str] = set()

    @property
    def folder(self) -> Path:
        """The home's folder."""
        return Path(self._paths.root)

    def create(self, spec: SandboxSpec) -> Sandbox:
        """Return the sandbox of the session, or create one and start its agent without waiting for it."""
        _check_seconds(spec.timeout_seconds)
        self._clean_up()
        template_id = canonical_id(spec.template_id)
        with self._paths.session_lock(spec.session_id):
            living = self._living(spec.session_id)
            if living is not None:
                if living["template_id"] != template_id:
                    raise SandboxCreationError(
                        f"session {spec.session_id!r} has a running sandbox of template {living['template_id']!r}, not "
                        f"of {template_id!r}; close it first or use another session id"
                    )
                return to_sandbox(living, created=False)
            if spec.memory_limit is not None or spec.cpu_limit is not None:
                _warn_about_limits()
            with self.templates.opened(spec.template_id) as source:
                python = chosen_python(self._python or source.python)
                record = create_sandbox(self._paths, spec, template_id=template_id, source=source, python=python)
        return to_sandbox(record)

    def find(self, session_id: str) -> Sandbox | None:
        """Return the sandbox of a session, running or paused; None if there is none."""
        record = self._living(session_id)
        return None if record is None else to_sandbox(record)

    def get(self, sandbox_id: str) -> Sandbox | None:
        """Return the current state of a sandbox; one that ended is kept for ten minutes, with exit code and output."""
        if not is_sandbox_id(sandbox_id):
            return None
        directory = self._paths.sandbox(sandbox_id)
        record = directory.read()
        if record is not None and not directory.is_supervised(record):
            lifecycle.clean_up(directory)
            record = None
        if record is None:
            record = read_record(self._paths.ended_record(sandbox_id))
        if record is None or record["state"] == "creating":
            return None
        if is_living(record):
            record["output"] = tail(directory.log)  # for the error if the agent never responds
        return to_sandbox(record)

    def list_sandboxes(self) -> list[Sandbox]:
        """Return every sandbox of this home, whichever process created it, oldest first."""
        self._clean_up()
        records = (self._read(name) for name in self._paths.sandbox_ids())
        living = (record for record in records if record is not None and is_living(record))
        return [to_sandbox(record) for record in sorted(living, key=lambda record: record["created_at"])]

    def extend(self, sandbox_id: str, timeout_seconds: float) -> Sandbox:
        """Set the time to live of the sandbox, from now; of a paused one, from when it is resumed."""
        _check_seconds(timeout_seconds)
        return self._change(sandbox_id, lifecycle.extend(timeout_seconds))

    def pause(self, sandbox_id: str) -> Sandbox:
        """Stop the sandbox's processes, and keep the rest of its time to live for later."""
        return self._change(sandbox_id, lifecycle.pause)

    def resume(self, sandbox_id: str) -> Sandbox:
        """Continue the processes of a paused sandbox, and its time to live."""
        return self._change(sandbox_id, lifecycle.resume)

    def kill(self, sandbox_id: str) -> bool:
        """Kill every process of the sandbox, and wait for their end; False if it had already ended."""
        return is_sandbox_id(sandbox_id) and lifecycle.terminate(self._paths.sandbox(sandbox_id))

    def logs(self, session_id: str, cursor: str | None = None) -> LogPage | None:
        """Return the log of the session's agent since `cursor`; None if the session is unknown."""
        record = self._living(session_id)
        if record is not None:
            return living_log_page(self._paths.sandbox(record["sandbox_id"]), record, cursor)
        ended = map(read_record, self._paths.ended_records_of(session_id))
        last = max(ended, key=lambda each: each["created_at"] if each else 0, default=None)
        return None if last is None else ended_log_page(last, cursor)

    def _living(self, session_id: str) -> Record | None:
        for sandbox_id in self._paths.sandbox_ids_of(session_id):
            record = self._read(sandbox_id)
            if record is not None and is_living(record) and self._paths.sandbox(sandbox_id).is_supervised(record):
                return record
        return None

    def _read(self, sandbox_id: str) -> Record | None:
        directory = self._paths.sandbox(sandbox_id)
        record = directory.read()
        if record is None and directory.has_record() and sandbox_id not in self._named:
            self._named.add(sandbox_id)
            logger.warning(
                "ignoring the local sandbox in %s: its record.json is damaged, or was written by another version",
                directory.path,
            )
        return record

    def _change(self, sandbox_id: str, change: lifecycle.Change) -> Sandbox:
        record = lifecycle.apply(self._paths.sandbox(sandbox_id), change) if is_sandbox_id(sandbox_id) else None
        if record is not None:
            return to_sandbox(record)
        ended = self.get(sandbox_id)
        raise SandboxGoneError(
            f"no running local sandbox {sandbox_id!r}: it was closed, it expired, or its agent ended",
            output="" if ended is None else ended.output,
        )

    def _clean_up(self) -> None:
        lifecycle.clean_up_dead(self._paths)
        if time.monotonic() >= self._forget_at:
            self._forget_at = time.monotonic() + _FORGET_SECONDS
            lifecycle.forget_ended(self._paths)
            self.templates.sweep()


def _check_seconds(seconds: float) -> None:
    if not 0 < seconds <= MAX_LIFE_SECONDS:  # NaN fails too.
        raise ConfigurationError(
            f"the time to live of a sandbox must be more than 0 and at most {MAX_LIFE_SECONDS:.0f} s, not {seconds!r}"
        )


@cache
def _warn_about_limits() -> None:
    """Log a warning, once per process."""
    logger.warning("local sandboxes are for development and do not enforce memory_limit and cpu_limit")


def to_sandbox(record: Record, *, created: bool = True) -> Sandbox:
    """Return the sandbox in a record; an expired one counts as ended, although it may still drain."""
    living = is_living(record)
    paused = record["state"] == "paused"
    return Sandbox(
        sandbox_id=record["sandbox_id"],
        session_id=record["session_id"],
        template_id=record["template_id"],
        url=f"http://127.0.0.1:{record['port']}",
        state=("paused" if paused else "running") if living else "ended",
        created_at=datetime.fromtimestamp(record["created_at"], UTC),
        expires_at=None if paused and living else datetime.fromtimestamp(record["due_at"], UTC),
        start_timeout_seconds=record["start_timeout_seconds"],
        headers={"Authorization": f"Bearer {record.get('token', '')}"},
        metadata=record["metadata"],
        exit_code=record["exit_code"],
        output=_with_hint(record),
        created=created,
    )


def _with_hint(record: Record) -> str:
    output = record["output"]
    if _NO_RUNTIME not in output:
        return output
    python = record["python"]
    return (
        f"{output}\nppio-agent-runtime is not installed for {python!r}: run `{python} -m pip install "
        "ppio-agent-runtime`, or set PPIO_AGENT_PYTHON to an interpreter that has it."
    )


def living_log_page(directory: SandboxDirectory, record: Record, cursor: str | None) -> LogPage:
    """Return what the agent of a running sandbox has written since the cursor, at most one page."""
    start = _position(record, cursor)
    try:
        with open(directory.log, "rb") as file:
            length = os.fstat(file.fileno()).st_size
            if start > length:  # It was truncated meanwhile: continue at its end, as `tail -f` does.
                start = length
            file.seek(start)
            data = file.read(PAGE_BYTES)
    except FileNotFoundError:
        data = b""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data)
    unfinished = len(decoder.getstate()[0])  # The bytes of an incomplete character.
    return LogPage(text=text, cursor=f"{record['sandbox_id']}:{start + len(data) - unfinished}")


def ended_log_page(record: Record, cursor: str | None) -> LogPage:
    """Return the kept output of an ended agent after the cursor."""
    written = record.get("log_bytes", 0)
    output = record["output"].encode() + b"\n" if record["output"] else b""
    unseen = max(0, written - _position(record, cursor))
    text = output[-unseen:].decode("utf-8", "ignore") if unseen else ""
    return LogPage(text=text, cursor=f"{record['sandbox_id']}:{written}", is_over=True, exit_code=record["exit_code"])


def _position(record: Record, cursor: str | None) -> int:
    sandbox_id, _, position = (cursor or "").rpartition(":")
    return int(position) if sandbox_id == record["sandbox_id"] and position.isdecimal() else 0
