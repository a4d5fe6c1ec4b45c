"""The progress messages of a call: the agent's text and tool calls since the previous ones, at most every 20 ms.

A message costs as much as 50 deltas, and servers should not flood their clients with progress (MCP,
basic/utilities/progress). The agent doesn't wait for them, as the result has its whole text anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby
from typing import TYPE_CHECKING, Final, Self

from ppio_agent_models import PPIOAgentRuntimeError

from .writing import decoded_text, joined

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

    from ..events.encoded import EncodedEvent

_SECONDS: Final = 0.02


class Progress:
    """Sends the progress of one call, if the caller requested it. Leaving the block sends the rest.

    Args:
        ctx: The context of the call.
    """

    def __init__(self, ctx: ServerRequestContext) -> None:
        self._ctx = ctx
        self._is_wanted = ctx.meta is not None and "progress_token" in ctx.meta
        self._events: list[EncodedEvent] = []
        self._count = 0
        self._over = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, failure: type[BaseException] | None, *_: object) -> None:
        self._over.set()
        if self._sending is None:
            return
        if failure is None or issubclass(failure, PPIOAgentRuntimeError):
            await self._sending
        else:  # The caller has disconnected.
            self._sending.cancel()

    def take(self, events: list[EncodedEvent]) -> None:
        """Add events; they are sent at once, or with others 20 ms after the last messages."""
        if not (self._is_wanted and events):
            return
        self._events += events
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._send())

    async def _send(self) -> None:
        while self._events:
            events, self._events = self._events, []
            for message in messages_of(events):
                self._count += 1
                await self._ctx.session.report_progress(self._count, message=message)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), _SECONDS)
        self._sending = None


def messages_of(events: list[EncodedEvent]) -> Iterator[str]:
    """Yield progress messages for events: the agent's text, joined, and the names of tools that it uses."""
    for is_text, group in groupby(events, _is_text):
        if is_text:
            yield joined([event.text for event in group if event.text is not None])
        else:
            yield from (text for event in group if (text := _progress(event)) is not None)


def _is_text(event: EncodedEvent) -> bool:
    """Return whether an event is text, and not a value."""
    return event.text is not None and event.text.startswith(b'"')


def _progress(event: EncodedEvent) -> str | None:
    if event.text is not None:
        return decoded_text(event.text)
    return f"Uses the tool {event.decode()['toolCallName']}." if event.type == "TOOL_CALL_START" else None
