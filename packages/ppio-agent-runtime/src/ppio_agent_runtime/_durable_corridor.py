"""The corridor of a durable call: begun or found again, worked on, answered to whoever waits.

Most callers wait, and most handlers return soon. So the request that begins an invocation also works for it, in its own
task: another one and the wake-ups between them would cost more than a small handler. When its caller hangs up, the task
works on for those who may come back.

That is only safe where nobody can cancel the task but our own server at its end. Behind middleware, on another server,
for streams and where nobody waits, the work has a task of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._attend import Attendance
from ._context import current_context
from ._cycle import Cycle
from ._durable_run import DurableRun
from ._respond import identity_headers

if TYPE_CHECKING:
    from ._asgi import Receive
    from ._config import AgentConfig
    from ._durable import DurableInvocations
    from ._exchange import Exchange
    from ._handler import Handler
    from ._invocations import Invocations
    from ._request import Durability, InvocationCall


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

    async def __call__(
        self,
        call: InvocationCall,
        durability: Durability,
        handler: Handler,
        exchange: Exchange,
    ) -> None:
        """Answer one call.

        Raises:
            InvocationError: It was refused before it began.
            EventsEvictedError: The beginning of what is wanted is not held any more.
            ClientGoneError: The caller hung up.
        """
        context = call.context
        scope, receive, send = exchange.scope, exchange.receive, exchange.send
        known = await self._durable.known(call, durability)
        run = DurableRun(call, durability, handler) if known is None else None
        record = self._durable.begin(run) if run is not None else known
        assert record is not None
        headers = identity_headers(context.request_id, context.session_id, record.invocation_id)
        attendance = Attendance(
            self._invocations, self._heartbeat_seconds, record, headers, context, replayed=run is None
        )
        token = current_context.set(context)  # until the last byte is sent
        try:
            if run is not None and self._may_work_here(run, receive):
                run.task = exchange.task
                working = self._durable.work(run)
                return await attendance.answer_at_work(run, working, scope, receive, send)
            if run is not None:
                self._durable.work_aside(run)
            if durability.background:
                location = f"{scope.get('root_path', '')}/invocations/{record.invocation_id}".encode()
                return await attendance.announce(location, receive, send)
            await attendance.answer(call.wants, scope, receive, send, numbered=call.numbered)
        finally:
            current_context.reset(token)

    def _may_work_here(self, run: DurableRun, receive: Receive) -> bool:
        if self.has_middleware or run.durability.background or run.call.wants == "stream" or run.handler.generates:
            return False
        return type(getattr(receive, "__self__", None)) is Cycle
