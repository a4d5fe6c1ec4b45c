"""Server-sent events (WHATWG HTML, section 9.2): of protocol 1, with ids and kinds, and plain `data:` lines.

No line of an event has a line break inside (its data is JSON), so lines and blank lines are marks that can be trusted.
A block of protocol 1 is either chunks, or one event of another kind, or everything that an invocation said.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

HEARTBEAT: Final = b": keep-alive\n\n"
"""A comment: keeps proxies from closing a silent stream, and every client skips it."""
PLAIN_END: Final = b": done\n\n"
"""The comment that ends a complete stream where nobody expects an event."""

_CHUNK: Final = re.compile(rb"^id: \d+\ndata: (.*)\n", re.MULTILINE)
_NO_CHUNK: Final = re.compile(rb"^event: \w+\nid: \d+\ndata: .*\n\n", re.MULTILINE)
_UNTOLD: Final = re.compile(rb"^event: (?:progress|done)\nid: \d+\ndata: .*\n\n", re.MULTILINE)
_MARK: Final = re.compile(rb"^(?:event: error\n)?id: \d+\n", re.MULTILINE)
_ERROR: Final = re.compile(rb"^event: error\n", re.MULTILINE)
_END: Final = b"\n\n"
_KIND: Final = b"event: "
"""How an event begins that is not a chunk."""
_MANY: Final = 16
"""From so many chunks on a block is put together from lists."""
_LINE_SEPARATORS: Final = (
    ("\u2028".encode(), rb"\u2028"),
    ("\u2029".encode(), rb"\u2029"),
    ("\u0085".encode(), rb"\u0085"),
)
"""Not line breaks here, but for every reader that splits lines as text does (`str.splitlines`)."""


def one_line(data: bytes) -> bytes:
    """Return JSON with all that anybody takes for a line break escaped."""
    for separator, escaped in _LINE_SEPARATORS:
        if not data.isascii() and separator in data:
            data = data.replace(separator, escaped)
    return data


def plain_events(chunks: list[bytes]) -> bytes:
    """Return chunks as events without ids, for callers that read every line as text."""
    return b"data: " + b"\n\ndata: ".join(chunks) + b"\n\n"


def chunk_block(chunks: list[bytes], first_id: int) -> bytes:
    """Return chunks as events, numbered from `first_id`.

    Formatting a number costs 160 ns, a fifth of a whole small chunk; one that another stream had already, 30.
    """
    count = len(chunks)
    if count < _MANY:
        return b"".join([b"id: %d\ndata: %b\n\n" % numbered for numbered in enumerate(chunks, first_id)])
    thousand, rest = divmod(first_id, 1000)
    begins = _begins(thousand)[rest : rest + count]
    while len(begins) < count:
        thousand += 1
        begins += _begins(thousand)[: count - len(begins)]
    lines = [_END] * (2 * count + 1)
    lines[:-1:2] = begins
    lines[1::2] = chunks
    lines[0] = lines[0].removeprefix(_END)
    return b"".join(lines)


@lru_cache(32)
def _begins(thousand: int) -> list[bytes]:
    """Return how the events of a thousand numbers begin, with the end of the one before: 70 KB."""
    return [b"\n\nid: %d\ndata: " % number for number in range(1000 * thousand, 1000 * thousand + 1000)]


def event_block(kind: bytes, number: int, data: bytes) -> bytes:
    """Return one event of a kind that is not a chunk."""
    return b"event: %b\nid: %d\ndata: %b\n\n" % (kind, number, data)


def chunks_in(blocks: list[bytes]) -> list[bytes]:
    """Return the data of all chunks in blocks of protocol 1, still encoded."""
    return [data for block in blocks for data in _CHUNK.findall(_without(_NO_CHUNK, block))]


def without_ids(block: bytes) -> bytes:
    """Return a block for callers that speak no protocol: chunks and an error as `data:` lines, nothing else."""
    return _MARK.sub(b"", _without(_UNTOLD, block))


def _without(events: re.Pattern[bytes], block: bytes) -> bytes:
    """Return a block without events of other kinds; nearly all have none, which is seen in a tenth of the time."""
    return events.sub(b"", block) if _KIND in block else block


def ends_in_error(block: bytes) -> bool:
    """Say whether the last block of a log tells of a failure."""
    return _ERROR.search(block) is not None


def without_first(block: bytes, count: int) -> bytes:
    """Return a block without its first `count` events."""
    at = 0
    for _ in range(count):
        at = block.index(_END, at) + len(_END)
    return block[at:]


def as_one_value(chunks: list[bytes], *, only_text: bool) -> bytes:
    """Return chunks as one JSON value: strings joined, anything else as a list; nothing at all as `[]`."""
    if chunks and only_text:
        return b'"' + b"".join([chunk[1:-1] for chunk in chunks]) + b'"'
    return b"[" + b",".join(chunks) + b"]"
