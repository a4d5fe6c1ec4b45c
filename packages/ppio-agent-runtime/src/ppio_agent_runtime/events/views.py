"""A log of typed events, read as text: deltas become chunks, the rest is left out. Typed, it is read as it is.

The events are as `framer` encodes them. A log that became typed after plain strings has these in front, and they are
chunks of the text as they are.
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
    """Return what a reader of text is given of an encoded event: a chunk as JSON, None for nothing."""
    if not event.startswith(_EVENT):
        return event
    if (found := _TEXT.match(event)) is not None:
        return found[2]
    return event[len(_VALUE) : -1] if event.startswith(_VALUE) else None


def text_chunks(events: list[bytes]) -> list[bytes]:
    """Return the chunks of text in encoded events."""
    return [chunk for event in events if (chunk := text_chunk(event)) is not None]


def texts_of(events: list[bytes]) -> list[bytes | None]:
    """Return `text_chunk` of each event; of the deltas of one message, which nearly all are, in a third of its time."""
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
    """Return a block of protocol 1 with text in place of its events, each under the event's number."""
    shown = []
    for event in block.split(_END)[:-1]:
        head, mark, data = event.partition(b"\ndata: ")
        if not head.startswith(b"id: "):
            shown.append(event + _END)
        elif (chunk := text_chunk(data)) is not None:
            shown.append(b"%b%b%b\n\n" % (head, mark, chunk))
    return b"".join(shown)


def result_of(events: list[bytes], *, is_value: bool) -> bytes | None:
    """Return what a run that is over was answered with as one value, where that is not the text of a stream.

    Args:
        events: All that are held; the last is RUN_FINISHED where it went well.
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
    """Return `data:` lines that end in an error envelope with a RUN_ERROR in its place, which names the request too."""
    before, mark, last = lines.rstrip().rpartition(b"data: ")
    envelope = json.loads(last)
    event = {"type": "RUN_ERROR", "message": envelope["error"], "code": envelope["error_type"]}
    return b"%b%b%b\n\n" % (before, mark, one_line(to_json({**event, "metadata": envelope["metadata"]})))


def interrupts_of(finished: Mapping[str, Any]) -> list[Any]:
    """Return what a run waits for, by its RUN_FINISHED."""
    outcome = finished.get("outcome")
    if not isinstance(outcome, Mapping) or outcome.get("type") != "interrupt":
        return []
    interrupts = outcome.get("interrupts")
    return interrupts if isinstance(interrupts, list) else []
