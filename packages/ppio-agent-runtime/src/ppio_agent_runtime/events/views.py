"""Reads a log of typed events as text: text deltas become chunks, other events are left out.

The events are as `framer` encodes them. A log may begin with plain strings, if the handler yielded events only later;
these are text chunks already.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import to_json

from ..http.sse import one_line

_EVENT: Final = b'{"type":"'
_TEXT: Final = re.compile(
    rb'(\{"type":"TEXT_MESSAGE_CONTENT","messageId":"[^"\\]*(?:\\.[^"\\]*)*","delta":)("[^"\\]*(?:\\.[^"\\]*)*")'
)
_VALUE: Final = b'{"type":"CUSTOM","name":"ppio.chunk","value":'
_END: Final = b"\n\n"


def text_chunk(event: bytes) -> bytes | None:
    """Return the text chunk for an encoded event, as JSON; None if it has none."""
    if not event.startswith(_EVENT):
        return event
    if (found := _TEXT.match(event)) is not None:
        return found[2]
    return event[len(_VALUE) : -1] if event.startswith(_VALUE) else None


def text_chunks(events: list[bytes]) -> list[bytes]:
    """Return the text chunks of encoded events."""
    return [chunk for event in events if (chunk := text_chunk(event)) is not None]


def texts_of(events: list[bytes]) -> list[bytes | None]:
    """Return `text_chunk` of each event, in a third of the time for deltas of one message, as nearly all events are."""
    texts: list[bytes | None] = []
    head, size = b"\0", 1
    for event in events:
        if event.startswith(head) and event.count(b'"', size) == 2:  # nothing escaped, and no further field
            texts.append(event[size:-1])
            continue
        found = _TEXT.match(event)
        if found is None:
            texts.append(text_chunk(event))
            continue
        head, size = found[1], len(found[1])
        texts.append(found[2])
    return texts


def text_block(block: bytes) -> bytes:
    """Return a block of protocol 1 with text chunks instead of typed events; chunks keep the events' numbers."""
    shown = []
    for event in block.split(_END)[:-1]:
        head, mark, data = event.partition(b"\ndata: ")
        if not head.startswith(b"id: "):
            shown.append(event + _END)
        elif (chunk := text_chunk(data)) is not None:
            shown.append(b"%b%b%b\n\n" % (head, mark, chunk))
    return b"".join(shown)


def result_of(events: list[bytes], *, is_value: bool) -> bytes | None:
    """Return the result of a run that is over, as JSON; None if that is the text of a stream.

    Args:
        events: All that are kept; the last is RUN_FINISHED if the run succeeded.
        is_value: The handler returned a value, which may be text.
    """
    finished = json.loads(events[-1])
    if isinstance(finished, dict) and finished.get("type") == "RUN_FINISHED":
        if interrupts := interrupts_of(finished):
            return to_json({"interrupts": interrupts})
        if "result" in finished:
            return to_json(finished["result"])
    texts = text_chunks(events) if is_value else []
    return texts[-1] if texts else b"null" if is_value else None


def with_run_error(lines: bytes) -> bytes:
    """Replace the error envelope that ends some `data:` lines with a RUN_ERROR that also has the request ID."""
    before, mark, last = lines.rstrip().rpartition(b"data: ")
    envelope = json.loads(last)
    event = {"type": "RUN_ERROR", "message": envelope["error"], "code": envelope["error_type"]}
    return b"%b%b%b\n\n" % (before, mark, one_line(to_json({**event, "metadata": envelope["metadata"]})))


def interrupts_of(finished: Mapping[str, Any]) -> list[Any]:
    """Return the interrupts in a RUN_FINISHED."""
    outcome = finished.get("outcome")
    if not isinstance(outcome, Mapping) or outcome.get("type") != "interrupt":
        return []
    interrupts = outcome.get("interrupts")
    return interrupts if isinstance(interrupts, list) else []
