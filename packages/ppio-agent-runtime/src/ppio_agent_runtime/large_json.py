"""Large values to JSON and back in pieces, for threads beside the event loop.

pydantic_core holds the GIL from the first byte to the last, so a thread alone wouldn't let the loop run: 10 MB of
records take 0.2 s. Between two pieces the loop can run. Each piece is made by pydantic_core, which alone decides what
is JSON; this module only decides where a piece can end.
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
"""Below so many bytes nobody asks how long a body takes."""
_SLOW_NANOSECONDS: Final = 5_000_000
"""What takes the event loop longer is worth a thread, at twice the time: 1 ns for a byte, and 60 for a value, or 200
to read one. That is 5 MB of text, 0.3 MB of numbers."""
_PIECE_BYTES: Final = 32 * 1024
_SMALL_BYTES: Final = 1024
_SAMPLE: Final = 32
_DEPTH: Final = 6
"""How deep somebody looks for what is large."""
_MAX_DEPTH: Final = 200
"""As `serialization.decode` has it."""
_turn = threading.Lock()
"""For one piece at a time: several threads would each take the GIL before the loop does."""


def is_large(value: Any, least: int = _SLOW_NANOSECONDS, depth: int = _DEPTH) -> bool:
    """Say whether a value takes at least so many nanoseconds to write, by a look at its parts, 0.1 us each.

    Of long lists and dicts it looks at the first parts alone; of what is no list, dict or string at nothing.
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
    """Say whether a body takes longer to read than the event loop should be held."""
    return len(body) >= LARGE_BYTES and len(body) + 200 * body.count(b",") >= _SLOW_NANOSECONDS


def encode_large(value: Any) -> bytes:
    """Return the same as `serialization.encode`, in pieces.

    Raises:
        SerializationError: Something inside cannot become JSON; the message has its path and type.
    """
    try:
        return b"".join(_encoded(value, _DEPTH))
    except (SerializationError, RuntimeError):  # it is changed meanwhile
        return encode(value)  # says where, and writes what only the whole can be written with


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
    """Return a pattern of one item or member that is nested no deeper. It need not be JSON: it is parsed then."""
    inner = outer = rb'[^\]\[{}"]++|' + _STRING
    for _ in range(depth):
        outer = rb'[^\]\[{}"]++|' + _STRING + rb"|[\[{](?:" + inner + rb")*+[\]}]"
        inner = outer
    return rb"(?:" + outer.replace(b'{}"', b'{}",', 1) + rb")++(?=[\]},])"


_PARTS_DEPTH: Final = 4


@cache
def _parts() -> re.Pattern[bytes]:
    """Return a pattern of items or members as they stand in a container, whole; made when it is needed, in 15 ms."""
    part = _part(_PARTS_DEPTH)
    return re.compile(part + rb"(?:," + part + rb")*+", re.DOTALL)


_KEY: Final = re.compile(_SPACE + rb"(" + _STRING + rb")" + _SPACE + rb":", re.DOTALL)
_SPACES: Final = re.compile(_SPACE)
_SCALAR: Final = re.compile(rb"[^\]\[{},\s]++")


def decode_large(body: bytes) -> Any:
    """Return the same as `serialization.decode`, in pieces.

    Raises:
        BadRequestError: As there.
    """
    if not body or body.isspace():
        return decode(body)
    value, at = _decoded(body, 0, 1)
    if (at := _skip(body, at)) != len(body):
        raise _not_json("something follows the value", at)
    return value


def _decoded(body: bytes, at: int, depth: int) -> tuple[Any, int]:
    """Return the value that begins at a byte, and where it ends."""
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
    """Add to a list or dict what stands at a byte: some parts at once, or one that is large or deep."""
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
    """Return where the string ends that begins at a byte; a pattern would take 10 ns for each byte of it."""
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
