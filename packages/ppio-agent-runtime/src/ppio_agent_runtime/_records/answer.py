"""What durable invocations are answered with, however often somebody asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from .._asgi import Headers

_RESULT: Final = b'{"result":'
_NO_RESULT: Final = _RESULT + b"null"
_NO_HEADERS: Headers = []
"""Shared by all answers, so never added to."""


class Answer(NamedTuple):
    """What the invocation is answered with, however often somebody asks. The result is held besides.

    Attributes:
        status: HTTP status.
        closing: The envelope without result, which also closes the log.
        headers: Further response headers, such as `Retry-After`; of a response of the agent's own all of them.
        body: The body of a response of the agent's own; None where there is none, or where it is not held.
    """

    status: int
    closing: bytes
    headers: Headers = _NO_HEADERS
    body: bytes | None = None


class ValueAnswer:
    """What an invocation is answered with that came to a value, while no log has the value: as it is sent.

    Args:
        whole: The envelope.
        size: Bytes of the value in it.
    """

    __slots__ = ("_size", "whole")

    status = 200
    headers = _NO_HEADERS
    body: bytes | None = None

    def __init__(self, whole: bytes, size: int) -> None:
        self.whole = whole
        self._size = size

    @property
    def value(self) -> bytes:
        """The value as JSON."""
        return self.whole[len(_RESULT) : len(_RESULT) + self._size]

    @property
    def closing(self) -> bytes:
        """See `Answer`."""
        return _NO_RESULT + self.whole[len(_RESULT) + self._size :]


def with_result(result: bytes, closing: bytes) -> bytes:
    """Return an envelope without result with one, as JSON."""
    return b"".join((_RESULT, result, closing[len(_NO_RESULT) :]))
