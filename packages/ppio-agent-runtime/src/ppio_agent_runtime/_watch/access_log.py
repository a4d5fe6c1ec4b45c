"""The access log: one record for each invocation that succeeded."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from .._engine.log_ids import ID_FIELDS, makes_plain_records

if TYPE_CHECKING:
    from ..invocations.invocation import Invocation
    from .metrics import Mode

access_logger = logging.getLogger("ppio_agent_runtime.access")

_MESSAGE: Final = "Invocation %s succeeded: %s, %.3f s, %d bytes, %d chunks"
_FACTS: Final = (*ID_FIELDS, "mode", "duration_seconds", "sent_bytes", "chunks")
_SAMPLE_SECONDS: Final = 1.0
"""For how long one record is the sample of the next ones."""


def log_access(run: Invocation, mode: Mode) -> None:
    """Write the line of a run that is over."""
    if not access_logger.isEnabledFor(logging.INFO):
        return
    context = run.context
    duration = context.elapsed()
    args = (context.invocation_id, mode, duration, run.sent_bytes, run.sent_chunks)
    is_plain = type(access_logger) is logging.Logger and makes_plain_records()
    fields = _samples.fresh_fields() if is_plain else {}
    fields["request_id"] = context.request_id
    fields["session_id"] = context.session_id
    fields["invocation_id"] = context.invocation_id
    fields["mode"] = mode
    fields["duration_seconds"] = round(duration, 6)
    fields["sent_bytes"] = run.sent_bytes
    fields["chunks"] = run.sent_chunks
    if is_plain:
        fields["args"] = args
        record = logging.LogRecord.__new__(logging.LogRecord)
        record.__dict__ = fields
        access_logger.handle(record)
    else:  # the program makes records in a way of its own
        access_logger.info(_MESSAGE, *args, extra=fields)


class _Samples:
    """Knows what a record has that `access_logger.info` would hand to its handlers, for a fifth of its 9 us."""

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {"created": 0.0, "thread": None}

    def fresh_fields(self) -> dict[str, Any]:
        """Return the fields of a record that is made now; those for what is said in it are not filled."""
        now = time.time()
        sample = self._fields
        if not 0 <= now - sample["created"] < _SAMPLE_SECONDS or sample["thread"] != threading.get_ident():
            sample = self._fields = _sample_fields()
        fields = sample.copy()
        fields["created"] = now
        fields["msecs"] = int(now % 1 * 1000) + 0.0
        fields["relativeCreated"] += (now - sample["created"]) * 1000
        if getattr(logging, "logAsyncioTasks", False):  # since Python 3.12
            fields["taskName"] = _task_name()
        return fields


def _task_name() -> str | None:
    task = None if asyncio._get_running_loop() is None else asyncio.current_task()
    return None if task is None else task.get_name()


def _sample_fields() -> dict[str, Any]:
    where = log_access.__code__
    record = logging.LogRecord(
        access_logger.name, logging.INFO, where.co_filename, where.co_firstlineno, _MESSAGE, (), None, where.co_name
    )
    return {**vars(record), **dict.fromkeys(_FACTS)}


_samples = _Samples()
