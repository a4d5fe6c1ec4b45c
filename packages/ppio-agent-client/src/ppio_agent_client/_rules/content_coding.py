"""Bodies that a server compressed, which it may do unasked (RFC 9110, section 8.4)."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from .http1_heads import MalformedAnswerError

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


class Decompressor:
    """Takes a compressed body, gives a plain one."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._is_empty = True

    def feed(self, part: bytes) -> bytes:
        """Return what `part` adds.

        Raises:
            MalformedAnswerError: It is not compressed, or broken.
        """
        self._is_empty = False
        try:
            return self._inflate.decompress(part)
        except zlib.error as error:
            raise MalformedAnswerError(f"the answer is not compressed as it says: {error}") from error

    def feed_end(self) -> None:
        """Note that nothing more will come.

        Raises:
            MalformedAnswerError: Something is missing.
        """
        if not (self._is_empty or self._inflate.eof):
            raise MalformedAnswerError("the end of the compressed answer is missing")


def decompressor_for(headers: Mapping[str, str]) -> Decompressor | None:
    """Return what makes the body plain; None where it is plain.

    Raises:
        MalformedAnswerError: It is encoded in a way that nobody asked for and that is not known here.
    """
    coding = headers.get("content-encoding")
    if coding is None or coding.lower() in {"", "identity"}:
        return None
    if coding.lower() in {"gzip", "x-gzip", "deflate"}:
        return Decompressor()
    raise MalformedAnswerError(f"the answer is encoded as {coding!r}, which was not asked for")
