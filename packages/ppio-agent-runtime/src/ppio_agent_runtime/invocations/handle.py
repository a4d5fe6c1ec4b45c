"""`app.submit`: starts a durable invocation in process and returns its handle, for protocols with tasks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from ppio_agent_models import HandlerError, PPIOAgentRuntimeError

from ..events.encoded import EncodedEvent, encoded
from ..http.call import Durability, InvocationCall
from .event_log import NOT_READING
from .in_process import prepare, raise_for_caller

if TYPE_CHECKING:
    from ..asgi import Receive
    from ..context import RequestContext
    from .manager import InvocationManager
    from .store import State
    from .transcript import Transcript


class InvocationHandle:
    """A durable invocation, running or over, whichever caller started it.

    Attributes:
        replayed: Whether an earlier call with the same key started it.
    """

    def __init__(self, invocation: Transcript, heartbeat_seconds: float, *, replayed: bool = False) -> None:
        self._invocation = invocation
        self._heartbeat_seconds = heartbeat_seconds
        self.replayed = replayed

    @property
    def id(self) -> str:
        """The ID of the invocation."""
        return self._invocation.id

    @property
    def context(self) -> RequestContext:
        """The context of the invocation; only its IDs, if it is over and was found again."""
        return self._invocation.context

    @property
    def status(self) -> State:
        """The state: `queued`, `running`, `succeeded`, `failed` or `cancelled`."""
        return self._invocation.state

    @property
    def created_at(self) -> float:
        """When it was requested, in unix seconds."""
        return self._invocation.created_at

    @property
    def updated_at(self) -> float:
        """When its status last changed, in unix seconds."""
        invocation = self._invocation
        return invocation.finished_at or invocation.started_at or invocation.created_at

    @property
    def interrupts(self) -> list[dict[str, Any]]:
        """The questions that it ended with, once it is over; each is an `Interrupt`, as JSON data."""
        answer = self._invocation.answer
        metadata = {} if answer is None else json.loads(answer.envelope)["metadata"]
        interrupts: list[dict[str, Any]] = metadata.get("interrupts") or []
        return interrupts

    @property
    def error(self) -> PPIOAgentRuntimeError | None:
        """Why it did not succeed, once it is over."""
        answer = self._invocation.answer
        if answer is None or self.status == "succeeded":
            return None
        envelope = json.loads(answer.envelope)
        return HandlerError(
            envelope["error"],
            status_code=answer.status,
            error_type=envelope["error_type"],
            request_id=self.context.request_id,
        )

    async def finished(self, receive: Receive | None = None) -> None:
        """Wait until it is over.

        Raises:
            ClientGoneError: `receive` reported that the waiting caller disconnected. The invocation keeps running.
        """
        with self._invocation.subscribe(position=NOT_READING, receive=receive) as subscriber:
            await subscriber.until(lambda: self._invocation.is_over)

    async def begun(self, receive: Receive | None = None) -> None:
        """Wait for its first event, for one heartbeat at most, so that an early failure still gets an error status.

        Raises:
            PPIOAgentRuntimeError: It failed before its first event.
            EventsEvictedError: Its first events are no longer kept.
            ClientGoneError: `receive` reported that the waiting caller disconnected. The invocation keeps running.
        """
        subscribing = self._invocation.subscribe(position=0, receive=receive, heartbeat_seconds=self._heartbeat_seconds)
        with subscribing as subscriber:
            if not await subscriber.take() and subscriber.at_end and self.error is not None:
                raise self.error

    async def batches(self, receive: Receive | None = None) -> AsyncIterator[list[EncodedEvent]]:
        """Yield all its events in batches, as `InvocationStream.batches` does; leaving the loop doesn't stop it.

        Raises:
            EventsEvictedError: Its first events are no longer kept.
            PPIOAgentRuntimeError: It failed.
            ClientGoneError: The caller disconnected.
        """
        subscribing = self._invocation.subscribe(position=0, receive=receive, heartbeat_seconds=self._heartbeat_seconds)
        with subscribing as subscriber:
            while not subscriber.at_end:
                taken = await subscriber.take()
                yield encoded(subscriber.log.chunks_of(taken, typed=True))
        if self.error is not None:
            raise self.error

    async def events(self, receive: Receive | None = None) -> list[EncodedEvent]:
        """Return all events of an invocation that succeeded, once it is over; see `batches`."""
        return [event async for batch in self.batches(receive) for event in batch]

    def cancel(self) -> None:
        """Cancel it, unless it is over."""
        self._invocation.cancel()


async def submit(
    manager: InvocationManager, payload: Any, context: RequestContext | None, *, key: str | None
) -> InvocationHandle:
    """Start a durable invocation, or find it by its key; see `PluginInterface.submit`."""
    config = manager.config
    try:
        prepared = await prepare(manager.registered(), payload, context, config)
        body = hashlib.sha256(prepared.body).digest()
        durability = Durability(key, b"" if key is None else body, background=True, on_disconnect="continue")
        call = InvocationCall(prepared.context, prepared.payload, None, True, prepared.timeout, durability, typed=True)
        invocation, replayed = await manager.begin_durable(call, durability)
    except Exception as error:
        manager.refused(error)
        raise
    if replayed:
        return InvocationHandle(invocation, config.heartbeat_seconds, replayed=True)
    with invocation.subscribe(position=NOT_READING) as subscriber:
        await subscriber.until(lambda: invocation.is_accepted)
    if invocation.is_refused and invocation.started_at is None and invocation.error is not None:
        raise_for_caller(invocation.error, call.context, tells_errors=config.tells_errors)
    return InvocationHandle(invocation, config.heartbeat_seconds)


async def find(manager: InvocationManager, invocation_id: str) -> InvocationHandle | None:
    """Return the durable invocation with this ID, if it is running or kept."""
    found = await manager.durable.find(invocation_id)
    if found is None or not found.durable:
        return None
    return InvocationHandle(found, manager.config.heartbeat_seconds)
