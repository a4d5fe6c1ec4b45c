"""The context of one invocation: its IDs, caller and limits, bound until its last byte is sent."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from .asgi import Headers

_NO_HEADERS: Headers = []
"""Shared by all contexts, so it must not be changed."""
_NO_IDS: Mapping[str, str] = {}

current_context: ContextVar[RequestContext | None] = ContextVar("ppio_agent_context", default=None)


class RequestContext:
    """The context of the current invocation. Each invocation has its own.

    Attributes:
        invocation_id: Made by the runtime, 32 hex digits.
        request_id: The caller's `X-PPIO-Request-Id`, else made by the runtime.
        session_id: The session that the caller named, or None.
        user_id: The caller's `X-PPIO-User-Id`, or None. Not authenticated.
        metadata: The body's `metadata` when it is an object, else empty.
        client: Address and port of the peer, or None.
        key_id: Which key the caller sent: the keyid of a signature, or `key-` and a short hash of an API key; None
            if the agent requires no key.
        started: When the invocation began, on the monotonic clock, in seconds.
        timeout: How long it may take from then on, in seconds.
        parent: The context of the invocation that made this one, if an agent calls itself.
        reporter: Gets the values of `progress`, as JSON, in any thread; None if they are not sent to anyone.
        protocol: The protocol of the request; None for our own.
        span_ids: `trace_id` and `span_id` of the invocation's span in hex, for its log lines; empty without tracing.
        response_headers: Further headers of the response, such as those of the rate limit.
    """

    __slots__ = (
        "_cancelled", "_deadline", "_headers", "_raw_headers", "client", "invocation_id", "key_id", "metadata",
        "parent", "protocol", "reporter", "request_id", "response_headers", "session_id", "span_ids", "started",
        "timeout", "user_id",
    )  # fmt: skip

    def __init__(
        self,
        *,
        request_id: str | None = None,
        session_id: str | None = None,
        user_id: str | None = None,
        metadata: dict[str, Any] | None = None,
        raw_headers: Headers | None = None,
        timeout: float = float("inf"),
        client: tuple[str, int] | None = None,
        key_id: str | None = None,
    ) -> None:
        fresh = os.urandom(32).hex()  # for both IDs, because each call is a syscall
        self.invocation_id: str = fresh[:32]
        self.request_id: str = request_id or fresh[32:]
        self.session_id: str | None = session_id
        self.user_id: str | None = user_id
        self.metadata: dict[str, Any] = metadata or {}
        self.client: tuple[str, int] | None = client
        self.key_id: str | None = key_id
        self.parent: RequestContext | None = None
        self.protocol: str | None = None
        self.response_headers: Headers = _NO_HEADERS
        self.span_ids: Mapping[str, str] = _NO_IDS
        self.started: float = time.monotonic()
        self._raw_headers = raw_headers or []
        self._headers: dict[str, str] | None = None
        self.timeout: float = timeout
        self._deadline = self.started + timeout
        self._cancelled = False
        self.reporter: Callable[[bytes], None] | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        """The request's headers, names in lower case; of repeated ones the last."""
        if self._headers is None:
            self._headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self._raw_headers}
        return self._headers

    def header_values(self, name: bytes) -> list[str]:
        """Return all values of a request header, in the order in which they came.

        Args:
            name: In lower case.
        """
        return [value.decode("latin-1") for given, value in self._raw_headers if given == name]

    @property
    def deadline(self) -> float:
        """When the time limit ends, in unix seconds."""
        return time.time() + self._deadline - time.monotonic()

    def remaining(self) -> float:
        """Return the time left, in seconds; 0 after the deadline."""
        return max(0.0, self._deadline - time.monotonic())

    @property
    def cancelled(self) -> bool:
        """True once the result is no longer needed. Plain `def` code can't be stopped, so it should check this."""
        return self._cancelled

    def elapsed(self) -> float:
        """Return the time since the invocation began, in seconds."""
        return time.monotonic() - self.started

    def _extend_to(self, timeout: float) -> None:
        """Set the time limit to `timeout` seconds from the start."""
        self.timeout = timeout
        self._deadline = self.started + timeout

    def _postpone(self, seconds: float, before: float) -> None:
        """Move start and deadline of an invocation that began before `before`, when the process slept for `seconds`."""
        if self.started < before:
            self.started += seconds
            self._deadline += seconds

    def progress(self, value: Any) -> None:
        """Report progress to callers of a durable invocation, as a `progress` event, which is not a chunk.

        Callers only get it if they asked for a durable invocation or for protocol 1. Safe in worker threads.

        Args:
            value: Anything that can be a chunk.

        Raises:
            SerializationError: The value can't become JSON.
        """
        if self.reporter is not None:
            from .serialization import encode  # already loaded when an app serves

            self.reporter(encode(value))

    def _begin(self, timeout: float) -> None:
        """Start the clock now, with a limit of `timeout` seconds."""
        self.started = time.monotonic()
        self._extend_to(timeout)

    def child(self) -> RequestContext:
        """Return a context for another invocation: the same request, session and caller, and the time that is left."""
        child = RequestContext(
            request_id=self.request_id,
            session_id=self.session_id,
            user_id=self.user_id,
            metadata=self.metadata,
            raw_headers=self._raw_headers,
            timeout=self.remaining(),
            client=self.client,
            key_id=self.key_id,
        )
        child.parent = self
        return child

    def cancel(self) -> None:
        """Set `cancelled`. The runtime calls this; it doesn't stop anything by itself."""
        self._cancelled = True

    def __repr__(self) -> str:
        return (
            f"RequestContext(invocation_id={self.invocation_id!r}, request_id={self.request_id!r}, "
            f"session_id={self.session_id!r})"
        )
