"""Reads the log of an agent, a page at a time, for somebody who comes back with a cursor: `<sandbox>:<bytes read>`."""

from __future__ import annotations

import codecs
import os
from typing import TYPE_CHECKING

from .._sandbox import LogPage
from .names import LOG_FILE

if TYPE_CHECKING:
    from .records import Record

PAGE_BYTES = 256 * 1024


def page_of_living(directory: str, record: Record, cursor: str | None) -> LogPage:
    """Return what an agent has written since the cursor; at most one page."""
    start = _position(record, cursor)
    try:
        with open(os.path.join(directory, LOG_FILE), "rb") as file:
            length = os.fstat(file.fileno()).st_size
            if start > length:  # It was cut meanwhile: go on at its end, as `tail -f` does.
                start = length
            file.seek(start)
            data = file.read(PAGE_BYTES)
    except FileNotFoundError:
        data = b""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data)
    unfinished = len(decoder.getstate()[0])  # A character of which a part is still to come.
    return LogPage(text=text, cursor=f"{record['sandbox_id']}:{start + len(data) - unfinished}")


def page_of_ended(record: Record, cursor: str | None) -> LogPage:
    """Return the end of what is kept of an agent that has ended, as far as the cursor has not seen it."""
    written = record.get("log_bytes", 0)
    output = record["output"].encode() + b"\n" if record["output"] else b""
    unseen = max(0, written - _position(record, cursor))
    text = output[-unseen:].decode("utf-8", "ignore") if unseen else ""
    return LogPage(text=text, cursor=f"{record['sandbox_id']}:{written}", is_over=True, exit_code=record["exit_code"])


def _position(record: Record, cursor: str | None) -> int:
    sandbox_id, _, position = (cursor or "").rpartition(":")
    return int(position) if sandbox_id == record["sandbox_id"] and position.isdecimal() else 0
