"""The corridor of a durable call: begun or found again, worked on, answered to whoever waits.

Most callers wait, and most handlers return soon. So the request that begins an invocation also works for it, in its own
task: another one and the wake-ups between them would cost more than a small handler. When its caller hangs up, the task
works on for those who may come back.

That is only safe where nobody can cancel the task but our own server at its end. Behind middleware, on another server,
for streams and where nobody waits, the work has a task of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from .._corridor.respond import answer_json, identity_headers
from .._engine.context import current_context
from .._http.cycle import Cycle
from .attend import Attendance, look_after
from .run import DurableRun, HostedRun

if TYPE_CHECKING:
    from .._corridor.request import Durability, InvocationCall
    from .._engine.context import RequestContext
    from .._engine.handler import Handler
    from .._engine.invocations import Invocations
    from .._http.exchange import Exchange
    from .._records.record import Record
    from ..config import AgentConfig
    from .invocations import DurableInvocations


class DurableCorridor:
    """Answers the calls whose invocations outlive their requests.

    Attributes:
        has_middleware: Somebody stands between the server and this, and may cancel what runs here.
    """

    def __init__(self, config: AgentConfig, invocations: Invocations, durable: DurableInvocations) -> None:
        self._heartbeat_seconds = config.heartbeat_seconds
        self._invocations = invocations
        self._durable = durable
        self.has_middleware = False

    def __call__(
        self, call: InvocationCall, durability: Durability, handler: Handler, exchange: Exchange
    ) -> Awaitable[None]:
        """Return what answers one call.

        Raises:
            InvocationError: It was refused before it began.
            EventsEvictedError: The beginning of what is wanted is not held any more.
            ClientGoneError: The caller hung up.
        """
        may_be_known = durability.key is not None or self._durable.outlives_process
        if not may_be_known and self._may_work_here(call, durability, handler, exchange):
            return self._work_here(HostedRun(call, handler, exchange, self))
        return self._find_or_begin(call, durability, handler, exchange)

    async def _find_or_begin(
        self, call: InvocationCall, durability: Durability, handler: Handler, exchange: Exchange
    ) -> None:
        record = await self._durable.known(call, durability)
        if record is not None:
            return await self._attend(record, call, durability, exchange, replayed=True)
        if self._may_work_here(call, durability, handler, exchange):
            return await self._work_here(HostedRun(call, handler, exchange, self))
        run = DurableRun(call, handler)
        record = self._durable.begin(run)
        token = current_context.set(call.context)  # until the last byte is sent
        try:
            self._durable.work_aside(run)
            await self._attend(record, call, durability, exchange)
        finally:
            current_context.reset(token)

    def _may_work_here(
        self, call: InvocationCall, durability: Durability, handler: Handler, exchange: Exchange
    ) -> bool:
        if durability.background or call.wants == "stream" or handler.generates or self.has_middleware:
            return False
        return type(exchange) is Cycle or type(getattr(exchange.receive, "__self__", None)) is Cycle

    async def _work_here(self, run: HostedRun) -> None:
        record = self._durable.begin(run)
        record.host = run
        token = current_context.set(run.context)  # until the last byte is sent
        try:
            await self._durable.work(run)
            answering = run.answering or (None if run.gone else self._respond(run, record))
            if answering is not None:
                await answering
        finally:
            record.host = None
            current_context.reset(token)

    def _respond(self, run: HostedRun, record: Record) -> Awaitable[None] | None:
        """Answer the caller in whose task the work was done; what is returned has to be awaited."""
        if record.form == "value":
            return answer_json(record.envelope(), run.context, run.exchange)
        if run.took_response and run.head_sent:
            return None
        return self._attendance(record, run.context).send_whole(run.exchange.send)

    async def answer_aside(self, run: HostedRun) -> None:
        """Answer the caller in whose task the work goes on."""
        call, exchange = run.call, run.exchange
        attendance = self._attendance(run.record, call.context)
        await attendance.answer(call.wants, exchange.scope, exchange.receive, exchange.send, numbered=call.numbered)

    def left(self, run: HostedRun) -> None:
        """Note that the caller in whose task the work goes on is not there any more."""
        run.record.leave_host()
        look_after(run.record, self._invocations, took_response=run.took_response)

    async def _attend(
        self,
        record: Record,
        call: InvocationCall,
        durability: Durability,
        exchange: Exchange,
        *,
        replayed: bool = False,
    ) -> None:
        scope, receive, send = exchange.scope, exchange.receive, exchange.send
        attendance = self._attendance(record, call.context, replayed=replayed)
        if durability.background:
            location = f"{scope.get('root_path', '')}/invocations/{record.invocation_id}".encode()
            return await attendance.announce(location, receive, send)
        await attendance.answer(call.wants, scope, receive, send, numbered=call.numbered)

    def _attendance(self, record: Record, context: RequestContext, *, replayed: bool = False) -> Attendance:
        headers = identity_headers(context.request_id, context.session_id, record.invocation_id)
        return Attendance(self._invocations, self._heartbeat_seconds, record, headers, context, replayed=replayed)
