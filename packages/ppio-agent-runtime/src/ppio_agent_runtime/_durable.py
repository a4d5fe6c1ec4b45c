"""Invocations that outlive their request: begun once per idempotency key, worked on in a task of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ppio_agent_models import IdempotencyKeyReusedError, InvocationCancelledError

from ._body import ClientGoneError
from ._context import current_context
from ._handler import GENERATOR_TYPES
from ._invocations import draining_error
from ._ledger import Ledger
from ._pipeline import is_response
from ._problems import problem_of
from ._record import CANCELLED, FAILED, SUCCEEDED, Answer, Record, Scope
from ._respond import envelope_around, log_failure
from ._serialize import encode
from ._unconnected import UnconnectedRun

if TYPE_CHECKING:
    from ._archive import Archive
    from ._config import AgentConfig
    from ._context import RequestContext
    from ._engine import Engine
    from ._event_log import EventLog
    from ._handler import Handler
    from ._request import Durability, InvocationCall


class DurableInvocations:
    """Begins durable invocations and sees them to their end.

    Args:
        config: Timeouts, the resume window, the bounds of what is held.
        engine: Runs the handler under all limits.

    Raises:
        ConfigurationError: `event_store` cannot be used.
    """

    def __init__(self, config: AgentConfig, engine: Engine) -> None:
        self._config = config
        self._engine = engine
        self._ledger = Ledger(config)
        self._archive = _archive(config, self._ledger.new_log)
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> None:
        """Do nothing; the archive is open since the start."""

    async def __aexit__(self, *_: object) -> None:
        """Write what is waiting to the archive, and close it."""
        if self._archive is not None:
            await asyncio.to_thread(self._archive.close)

    async def find(self, invocation_id: str) -> Record | None:
        """Return the record of this id, from memory or from the store."""
        record = self._ledger.find(invocation_id)
        if record is None and self._archive is not None:
            return await self._archive.find(invocation_id) or self._ledger.find(invocation_id)
        return record

    async def begin(self, call: InvocationCall, durability: Durability, handler: Handler) -> tuple[Record, bool]:
        """Return the record of this call, and whether an earlier request with the same key began it.

        Raises:
            IdempotencyKeyReusedError: The key was used with another body.
            DrainingError: The service is shutting down.
        """
        scope = None
        if durability.key is not None:
            scope = (call.context.key_id or "", call.context.session_id or "", durability.key)
            known = await self._find_by_key(scope)
            if known is not None:
                if known.fingerprint != durability.fingerprint:
                    raise IdempotencyKeyReusedError(
                        "This Idempotency-Key was used before in this session, with another body; use a new key."
                    )
                return known, True
        if self._engine.invocations.draining:
            raise draining_error()
        record = Record(
            call.context.invocation_id,
            self._ledger.new_log(),
            request_id=call.context.request_id,
            session_id=call.context.session_id,
            window_seconds=self._window(call, durability),
            scope=scope,
            fingerprint=durability.fingerprint,
        )
        self._ledger.open(record)
        self._save(record)
        task = asyncio.get_running_loop().create_task(self._work(record, call, durability, handler))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return record, False

    async def _find_by_key(self, scope: Scope) -> Record | None:
        known = self._ledger.find_by_key(scope)
        if known is not None or self._archive is None:
            return known
        found = await self._archive.find_by_key(scope)
        # While the archive was asked, another request with the same key may have begun.
        return self._ledger.find_by_key(scope) or found

    def _window(self, call: InvocationCall, durability: Durability) -> float | None:
        if durability.on_disconnect == "cancel":
            return 0.0
        if durability.on_disconnect == "continue" or durability.background:
            return None
        return self._config.resume_window_seconds if call.numbered else 0.0

    async def _work(self, record: Record, call: InvocationCall, durability: Durability, handler: Handler) -> None:
        """Run the handler to its end, in a task that belongs to no request."""
        context = call.context
        if durability.background:
            limit = self._config.background_timeout
            context.extend_to(limit if call.timeout is None else min(call.timeout, limit))
        current_context.set(context)
        context.report_to(record.log)
        run = UnconnectedRun(context)
        run.on_begin = record.began
        record.run = run
        failure: BaseException | None = None
        invocations = self._engine.invocations
        try:
            self._engine.start(run)
            invocations.attend(record)
            run.late.add_done_callback(lambda _: self._give_up(record, run))
            result = await self._engine.work(run, handler, call.payload)
            answer = await self._answer_of(record, run, result, call, durability)
            record.finish(SUCCEEDED, answer)
        except Exception as error:  # noqa: BLE001  # becomes the answer
            failure = error
            record.finish(_state_of(error), self._problem(error, context))
        finally:
            invocations.dismiss(record)
            self._engine.finish(run, failure)
            self._settle(record, failure)

    async def _answer_of(
        self, record: Record, run: UnconnectedRun, result: Any, call: InvocationCall, durability: Durability
    ) -> Answer:
        context = run.context
        if type(result) in GENERATOR_TYPES:
            record.knows_form(is_stream=True)
            timeout = context.timeout
            if not durability.background and call.wants != "json":
                limit = self._config.stream_timeout
                timeout = limit if call.timeout is None else min(call.timeout, limit)
            run.produce_into(record.log, result, self._engine.workers, timeout)
            await record.log.production_over
            if record.log.error is not None:
                raise record.log.error
            return Answer(200, envelope_around(b"null", context))
        record.knows_form(is_stream=False)
        if is_response(result):
            return Answer(result.status_code, envelope_around(b"null", context), b"null", response=result)
        encoded = encode(result)
        record.log.put(encoded)
        return Answer(200, envelope_around(b"null", context), encoded)

    def _give_up(self, record: Record, run: UnconnectedRun) -> None:
        """End the record of a stopped handler that refuses to end itself."""
        if run.reason is not None and not record.is_over:
            record.finish(_state_of(run.reason), self._problem(run.reason, run.context))

    def _settle(self, record: Record, failure: BaseException | None) -> None:
        refused = failure is not None and record.started_at is None
        if refused:
            self._ledger.forget(record)
            if self._archive is not None:
                self._archive.drop(record)
        else:
            self._ledger.close(record)
            self._save(record)

    def _save(self, record: Record) -> None:
        if self._archive is not None:
            self._archive.save(record)

    def _problem(self, error: BaseException, context: RequestContext) -> Answer:
        if isinstance(error, ClientGoneError):
            error = InvocationCancelledError("The invocation was cancelled: nobody waited for it any more.")
        problem = problem_of(error, request_id=context.request_id, tells_errors=self._config.tells_errors)
        if problem.status >= 500:
            log_failure(error, context.request_id, context)
        envelope = problem.envelope(context.request_id, context.session_id, context.elapsed())
        return Answer(problem.status, envelope, headers=problem.headers)


def _state_of(failure: BaseException) -> str:
    return CANCELLED if isinstance(failure, InvocationCancelledError | ClientGoneError) else FAILED


def _archive(config: AgentConfig, new_log: Callable[[], EventLog]) -> Archive | None:
    if config.event_store is None:
        return None
    from ._archive import Archive  # imports sqlite3, which most agents do not need

    return Archive(config, new_log)
