"""The corridor of a durable call: begun or found again, worked on in a task of its own, answered to whoever waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._corridor.respond import identity_headers
from .._engine.context import current_context
from .attend import Attendance
from .run import DurableRun

if TYPE_CHECKING:
    from .._asgi import Receive, Scope, Send
    from .._corridor.request import Durability, InvocationCall
    from .._engine.context import RequestContext
    from .._engine.handler import Handler
    from .._engine.invocations import Invocations
    from .._records.record import Record
    from ..config import AgentConfig
    from .invocations import DurableInvocations


class DurableCorridor:
    """Answers the calls whose invocations outlive their requests."""

    def __init__(self, config: AgentConfig, invocations: Invocations, durable: DurableInvocations) -> None:
        self._heartbeat_seconds = config.heartbeat_seconds
        self._invocations = invocations
        self._durable = durable

    async def __call__(
        self,
        call: InvocationCall,
        durability: Durability,
        handler: Handler,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Answer one call.

        Raises:
            InvocationError: It was refused before it began.
            EventsEvictedError: The beginning of what is wanted is not held any more.
            ClientGoneError: The caller hung up.
        """
        record = None
        if durability.key is not None or self._durable.outlives_process:
            record = await self._durable.known(call, durability)
        if record is not None:
            return await self._attend(record, call, durability, scope, receive, send, replayed=True)
        run = DurableRun(call, handler)
        record = self._durable.begin(run)
        token = current_context.set(call.context)  # until the last byte is sent
        try:
            self._durable.work_aside(run)
            await self._attend(record, call, durability, scope, receive, send)
        finally:
            current_context.reset(token)

    async def _attend(
        self,
        record: Record,
        call: InvocationCall,
        durability: Durability,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        replayed: bool = False,
    ) -> None:
        attendance = self._attendance(record, call.context, replayed=replayed)
        if durability.background:
            location = f"{scope.get('root_path', '')}/invocations/{record.invocation_id}".encode()
            return await attendance.announce(location, receive, send)
        await attendance.answer(call.wants, scope, receive, send, numbered=call.numbered)

    def _attendance(self, record: Record, context: RequestContext, *, replayed: bool = False) -> Attendance:
        headers = identity_headers(context.request_id, context.session_id, record.invocation_id)
        return Attendance(self._invocations, self._heartbeat_seconds, record, headers, context, replayed=replayed)
