"""A connection to an agent, with nothing between our HTTP/1.1 and the socket.

httpx and its layers take 0.4 ms of a small call, this takes 0.04. What they can do and this cannot, proxies and
transports of the caller's own, still goes through them: see `_through_httpx`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ppio_agent_models import PPIOAgentRuntimeError

from .._io import _async as io
from .._io._network import is_expiry, secure_context
from .._rules.content_coding import Decompressor, decompressor_for
from .._rules.failures import Failure, failed
from .._rules.http1 import AnswerReader
from .._rules.http1_heads import MalformedAnswerError, UnsendableError, request_bytes

if TYPE_CHECKING:
    from .._rules.addresses import Address
    from .._rules.limits import Limits
    from .._rules.requests import Call


class DirectConnection:
    """One connection, which carries one call after another.

    Attributes:
        origin: Where it leads.
    """

    def __init__(self, socket: io.Socket, origin: str) -> None:
        self.origin = origin
        self._socket = socket
        self._reader = AnswerReader("")
        self._decompressor: Decompressor | None = None
        self._begin = b""

    async def ask(self, call: Call, address: Address, limits: Limits) -> tuple[int, Mapping[str, str]]:
        """Send a call and return status and headers of its answer.

        Raises:
            NetworkError: No answer began.
            ConfigurationError: Such a call cannot be sent.
        """
        self._reader = reader = AnswerReader(call.method)
        failure = Failure.STUCK
        try:
            request = request_bytes(call.method, address.path, address.authority, call.headers, call.body)
            began = io.now()
            await self._socket.send(request, limits.body_timeout(began))
            failure = Failure.NO_BEGIN
            patience = limits.head_timeout(began)
            while not reader.status:
                self._begin = await self._fed(None if patience is None else max(began + patience - io.now(), 0.001))
            self._decompressor = decompressor_for(reader.headers)
        except UnsendableError as error:
            raise failed(Failure.IMPOSSIBLE, error, call, limits, io.now()) from error
        except (OSError, MalformedAnswerError) as error:
            raise _failed(error, failure, call, limits) from error
        return reader.status, reader.headers

    async def more(self, call: Call, limits: Limits) -> bytes:
        """Return more of the body, at least a byte; nothing behind its end.

        Raises:
            NetworkError: It does not arrive whole and in time.
        """
        try:
            if self._decompressor is None:
                return await self._part(limits)
            while part := await self._part(limits):
                if plain := self._decompressor.feed(part):
                    return plain
            self._decompressor.feed_end()
            return b""
        except (OSError, MalformedAnswerError) as error:
            raise _failed(error, Failure.SILENT, call, limits) from error

    @property
    def is_reusable(self) -> bool:
        """Whether the last answer left it as good as new."""
        return self._reader.ended and self._reader.leaves_reusable

    def is_fit(self) -> bool:
        """Tell whether it can carry another call after it has waited."""
        return self._socket.is_fit()

    async def close(self) -> None:
        """Close it at once."""
        await self._socket.close()

    async def _part(self, limits: Limits) -> bytes:
        part, self._begin = self._begin, b""
        while not part and not self._reader.ended:
            part = await self._fed(limits.body_timeout(io.now()))
        return part

    async def _fed(self, seconds: float | None) -> bytes:
        data = await self._socket.receive(seconds)
        if data:
            return self._reader.feed(data)
        self._reader.feed_end()
        return b""


async def connect(call: Call, address: Address, limits: Limits) -> DirectConnection:
    """Return a new connection for a call.

    Raises:
        NetworkError: There is none to be had; `retryable`, for nothing was sent.
    """
    seconds = limits.connect_timeout(io.now())
    try:
        context = await io.run_blocking(secure_context) if address.scheme == "https" else None
        return DirectConnection(await io.connect(address.host, address.port, context, seconds), address.origin)
    except (OSError, UnicodeError) as error:  # the second: a name that is none
        failure = Failure.IMPOSSIBLE if isinstance(error, UnicodeError) else Failure.NEVER_SENT
        late = isinstance(error, OSError) and is_expiry(error)
        raise failed(Failure.LATE_CONNECTION if late else failure, error, call, limits, io.now()) from error


def _failed(error: Exception, late: Failure, call: Call, limits: Limits) -> PPIOAgentRuntimeError:
    is_late = isinstance(error, OSError) and is_expiry(error)
    reason = str(error) or type(error).__name__
    return failed(late if is_late else Failure.LOST, reason, call, limits, io.now())
