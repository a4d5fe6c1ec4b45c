"""Encodes and decodes large JSON in pieces, in threads beside the event loop.

pydantic_core holds the GIL from the first byte to the last, so a thread alone wouldn't let the loop run: 10 MB of
records take 0.2 s. Between two pieces the loop can run. pydantic_core handles each piece, and alone decides what is
valid JSON; this module only decides where pieces end.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Any, Final

from pydantic_core import from_json

from ppio_agent_models import BadRequestError, SerializationError

from .serialization import decode, encode

LARGE_BYTES: Final = 256 * 1024
"""Smaller bodies are never slow enough for a thread."""
_SLOW_NANOSECONDS: Final = 5_000_000
"""Estimated time from which on a thread is used, although that takes twice as long: 1 ns for a byte, and 60 ns to write
a value or 200 ns to read one. That is 5 MB of text, or 0.3 MB of numbers."""
_PIECE_BYTES: Final = 32 * 1024
_SMALL_BYTES: Final = 1024
_SAMPLE: Final = 32
_DEPTH: Final = 6
"""How deep to look for large parts."""
_MAX_DEPTH: Final = 200
"""The same as in `serialization.decode`."""
_turn = threading.Lock()
"""Held for each piece: otherwise several threads would take the GIL in turn before the loop gets it."""


def is_large(value: Any, least: int = _SLOW_NANOSECONDS, depth: int = _DEPTH) -> bool:
    """Estimate whether a value takes at least `least` nanoseconds to write, from its parts, in 0.1 us for each.

    Of long lists and dicts it samples the first parts; values other than lists, dicts and strings count as small.
    """
    kind = type(value)
    if kind is not dict and kind is not list:
        return kind is str and len(value) >= least
    if len(value) > _SAMPLE:
        return _nanoseconds(value, depth) >= least
    characters = 0
    for part in value.values() if kind is dict else value:
        kind = type(part)
        if kind is str:
            characters += len(part)
        elif (kind is dict or kind is list) and depth and is_large(part, least, depth - 1):
            return True
    return characters >= least


def _nanoseconds(value: Any, depth: int) -> int:
    kind = type(value)
    if kind is str:
        return len(value) + 60
    if not depth or not value or (kind is not dict and kind is not list):
        return 60
    sample = list(islice(value.values() if kind is dict else value, _SAMPLE))
    return len(value) * sum([_nanoseconds(part, depth - 1) for part in sample]) // len(sample) + 60


def is_slow(body: bytes) -> bool:
    """Estimate whether decoding a body would block the event loop for too long."""
    return len(body) >= LARGE_BYTES and len(body) + 200 * body.count(b",") >= _SLOW_NANOSECONDS


def encode_large(value: Any) -> bytes:
    """Return the same as `serialization.encode`, in pieces.

    Raises:
        SerializationError: Something inside cannot become JSON; the message has its path and type.
    """
    try:
        return b"".join(_encoded(value, _DEPTH))
    except (SerializationError, RuntimeError):  # RuntimeError: it was changed meanwhile
        return encode(value)  # in one piece: it may succeed, or its error has the full path


def _encoded(value: Any, depth: int) -> Iterator[bytes]:
    kind = type(value)
    if not depth or (kind is not dict and kind is not list):
        yield _piece(value)
        return
    separator, most = (b"{" if kind is dict else b"["), 16
    small: list[Any] = []  # parts for one piece
    for part in value.items() if kind is dict else value:
        inner = part[1] if kind is dict else part
        large = is_large(inner, _PIECE_BYTES, 2)
        if not large:
            small.append(part)
        if small and (large or len(small) >= most):
            piece = _piece(dict(small) if kind is dict else small)
            yield separator
            yield piece[1:-1]
            separator, small = b",", []
            most = max(1, min(4 * most, most * _PIECE_BYTES // len(piece)))
        if large:
            yield separator
            if kind is dict:
                yield encode({part[0]: None})[1:-5]  # the key as JSON, and the colon
            yield from _encoded(inner, depth - 1)
            separator = b","
    if small or separator != b",":
        yield separator
        yield _piece(dict(small) if kind is dict else small)[1:-1]
    yield b"}" if kind is dict else b"]"


def _piece(value: Any) -> bytes:
    with _turn:
        data = encode(value)
    time.sleep(0)  # the loop's turn
    return data


_STRING: Final = rb'"(?:[^"\\]++|\\.)*+"'
_SPACE: Final = rb"[ \t\n\r]*+"


def _part(depth: int) -> bytes:
    """Return a pattern for one item or member up to this depth. It may match invalid JSON, which the parser refuses."""
    inner = outer = rb'[^\]\[{}"]++|' + _STRING
    for _ in range(depth):
        outer = rb'[^\]\[{}"]++|' + _STRING + rb"|[\[{](?:" + inner + rb")*+[\]}]"
        inner = outer
    return rb"(?:" + outer.replace(b'{}"', b'{}",', 1) + rb")++(?=[\]},])"


_PARTS_DEPTH: Final = 4


@cache
def _parts() -> re.Pattern[bytes]:
    """Return a pattern for several whole items or members of a container; compiled on first use, in 15 ms."""
    part = _part(_PARTS_DEPTH)
    return re.compile(part + rb"(?:," + part + rb")*+", re.DOTALL)


_KEY: Final = re.compile(_SPACE + rb"(" + _STRING + rb")" + _SPACE + rb":", re.DOTALL)
_SPACES: Final = re.compile(_SPACE)
_SCALAR: Final = re.compile(rb"[^\]\[{},\s]++")


def decode_large(body: bytes) -> Any:
    """Return the same as `serialization.decode`, in pieces.

    Raises:
        BadRequestError: The body is not valid JSON.
    """
    if not body or body.isspace():
        return decode(body)
    value, at = _decoded(body, 0, 1)
    if (at := _skip(body, at)) != len(body):
        raise _not_json("something follows the value", at)
    return value


def _decoded(body: bytes, at: int, depth: int) -> tuple[Any, int]:
    """Return the value that begins at byte `at`, and where it ends."""
    at = _skip(body, at)
    opening = body[at : at + 1]
    if opening == b'"':
        end = _end_of_string(body, at)
        return _parsed(body[at:end], at), end
    if opening not in (b"{", b"["):
        found = _SCALAR.match(body, at)
        if found is None:
            raise _not_json("a value is missing", at)
        return _parsed(found[0], at), found.end()
    value: Any = {} if opening == b"{" else []
    closing = b"}" if opening == b"{" else b"]"
    at = _skip(body, at + 1)
    if body[at : at + 1] == closing:
        return value, at + 1
    if depth > _MAX_DEPTH:
        raise _not_json("it is nested too deeply", at)
    while True:
        at = _skip(body, _add_parts(value, body, at, depth))
        if body[at : at + 1] == closing:
            return value, at + 1
        if body[at : at + 1] != b",":
            raise _not_json("',' is missing", at)
        at += 1


def _add_parts(value: Any, body: bytes, at: int, depth: int) -> int:
    """Add the parts at byte `at` to a list or dict: several at once, or one that is large or deep."""
    is_deep = depth > _MAX_DEPTH - _PARTS_DEPTH
    if (found := None if is_deep else _parts().match(body, at, at + _PIECE_BYTES)) is not None:
        brackets = b"{%b}" if type(value) is dict else b"[%b]"
        parts = _parsed(brackets % found[0], at)
        if not parts:
            raise _not_json("a value is missing", at)
        value.update(parts) if type(value) is dict else value.extend(parts)
        return found.end()
    if type(value) is list:
        part, at = _decoded(body, at, depth + 1)
        value.append(part)
        return at
    key = _KEY.match(body, at)
    if key is None:
        raise _not_json("a key is missing", at)
    value[_parsed(key[1], at)], at = _decoded(body, key.end(), depth + 1)
    return at


def _end_of_string(body: bytes, at: int) -> int:
    """Return where the string ends that begins at byte `at`; a regular expression would take 10 ns for each byte."""
    end = at
    while (end := body.find(b'"', end + 1)) >= 0:
        escapes = end
        while body[escapes - 1] == 0x5C:  # a backslash
            escapes -= 1
        if (end - escapes) % 2 == 0:
            return end + 1
    raise _not_json("a string does not end", at)


def _skip(body: bytes, at: int) -> int:
    found = _SPACES.match(body, at)
    assert found is not None
    return found.end()


def _parsed(data: bytes, at: int) -> Any:
    try:
        with _turn:
            value = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise _not_json(str(error).partition(" at line ")[0], at) from None
    if len(data) > _SMALL_BYTES:
        time.sleep(0)  # the loop's turn
    return value


def _not_json(reason: str, at: int) -> BadRequestError:
    return BadRequestError(f"The body is not valid JSON: {reason}, at byte {at} or soon after it.")
