"""The access log: one record for each invocation that succeeded."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from ._log_ids import ids_of, makes_plain_records

if TYPE_CHECKING:
    from ._metrics import Mode
    from ._run import Run

access_logger = logging.getLogger("ppio_agent_runtime.access")

_MESSAGE: Final = "Invocation %s succeeded: %s, %.3f s, %d bytes, %d chunks"
_SAMPLE_SECONDS: Final = 1.0
"""For how long one record is the sample of the next ones."""


def log_access(run: Run, mode: Mode) -> None:
    """Write the line of a run that is over."""
    if not access_logger.isEnabledFor(logging.INFO):
        return
    context = run.context
    duration = context.elapsed()
    args = (context.invocation_id, mode, duration, run.sent_bytes, run.sent_chunks)
    facts = {
        **ids_of(context),
        "mode": mode,
        "duration_seconds": round(duration, 6),
        "sent_bytes": run.sent_bytes,
        "chunks": run.sent_chunks,
    }
    if type(access_logger) is logging.Logger and makes_plain_records():
        access_logger.handle(_records.make(args, facts))
    else:  # the program makes records in a way of its own
        access_logger.info(_MESSAGE, *args, extra=facts)


class _RecordMaker:
    """Makes what `access_logger.info` would hand to its handlers, for a sixth of its 9 us."""

    def __init__(self) -> None:
        self._sample = logging.makeLogRecord({"created": 0.0, "thread": None})

    def make(self, args: tuple[Any, ...], facts: dict[str, Any]) -> logging.LogRecord:
        """Return a record, like an earlier one in what hardly changes: the names of the process and the thread."""
        now = time.time()
        sample = self._sample
        if not 0 <= now - sample.created < _SAMPLE_SECONDS or sample.thread != threading.get_ident():
            where = log_access.__code__
            sample = self._sample = logging.LogRecord(
                access_logger.name,
                logging.INFO,
                where.co_filename,
                where.co_firstlineno,
                _MESSAGE,
                (),
                None,
                "log_access",
            )
        record = logging.LogRecord.__new__(logging.LogRecord)
        record.__dict__ = fields = sample.__dict__ | facts
        fields["args"] = args
        fields["created"] = now
        fields["msecs"] = int(now % 1 * 1000) + 0.0
        fields["relativeCreated"] += (now - sample.created) * 1000
        if fields.get("taskName") is not None:
            task = asyncio.current_task()
            fields["taskName"] = None if task is None else task.get_name()
        return record


_records = _RecordMaker()
