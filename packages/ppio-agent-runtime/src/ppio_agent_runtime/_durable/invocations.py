"""Invocations that outlive their request: begun once per idempotency key, worked on in a task of their own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ppio_agent_models import IdempotencyKeyReusedError, InvocationCancelledError, InvocationTimeoutError

from .._corridor.respond import AnswerCutError, envelope_around, log_failure
from .._engine.outcome import GENERATOR_TYPES, is_response
from .._problems import ClientGoneError, problem_of
from .._records.answer import Answer
from .._records.ledger import Ledger
from .._records.record import CANCELLED, FAILED, SUCCEEDED, Record, Scope
from .._serialize import encode
from .own_response import after_sending, held_response, send_live

if TYPE_CHECKING:
    from .._corridor.request import Durability, InvocationCall
    from .._engine.engine import Engine
    from .._records.archive import Archive
    from ..config import AgentConfig
    from .run import DurableRun


class DurableInvocations:
    """Begins durable invocations and sees them to their end.

    Args:
        config: Timeouts, the resume window, the bounds of what is held.
        engine: Runs the handler under all limits.

    Attributes:
        outlives_process: What is held does.

    Raises:
        ConfigurationError: `event_store` is no URL that can be used.
    """

    def __init__(self, config: AgentConfig, engine: Engine) -> None:
        self._config = config
        self._engine = engine
        self._ledger = Ledger(config)
        self._allowance = self._ledger.allowance  # one object for all records
        self._archive = _archive(config)
        self.outlives_process = self._archive is not None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> None:
        """Open the archive.

        Raises:
            ConfigurationError: It cannot be opened, or another process uses it.
        """
        if self._archive is not None:
            await self._archive.open()

    async def __aexit__(self, *_: object) -> None:
        """Write what is waiting to the archive, and close it."""
        if self._archive is not None:
            await self._archive.close()

    @property
    def held(self) -> int:
        """How many invocations are held in memory, running ones included."""
        return self._ledger.held

    @property
    def held_bytes(self) -> int:
        """How many bytes they hold, about."""
        return self._ledger.held_bytes

    async def find(self, invocation_id: str) -> Record | None:
        """Return the record of this id, from memory or from the store."""
        record = self._ledger.find(invocation_id)
        if record is None and self._archive is not None:
            return await self._archive.find(invocation_id) or self._ledger.find(invocation_id)
        return record

    async def known(self, call: InvocationCall, durability: Durability) -> Record | None:
        """Return the record that an earlier request with the same key began.

        Raises:
            IdempotencyKeyReusedError: The key was used with another body.
        """
        if self._archive is not None:
            await self._archive.open()  # where nobody runs the lifespan, as inside another app
        known = None if durability.key is None else await self._find_by_key(_scope(call, durability.key))
        if known is not None and known.fingerprint != durability.fingerprint:
            raise IdempotencyKeyReusedError(
                "This Idempotency-Key was used before in this session, with another body; use a new key."
            )
        return known

    def begin(self, run: DurableRun) -> Record:
        """Return the record of a run that `known` did not know; it is in flight from here on.

        Raises:
            DrainingError: The service is shutting down.
        """
        context, durability = run.context, run.call.durability
        assert durability is not None
        self._engine.start(run)
        record = run.record = Record(
            context.invocation_id,
            self._allowance,
            request_id=context.request_id,
            session_id=context.session_id,
            window_seconds=self._window(run.call, durability),
            scope=None if durability.key is None else _scope(run.call, durability.key),
            fingerprint=durability.fingerprint,
        )
        record.run = run
        run.on_late = self._fail_late
        self._ledger.open(record)
        return record

    def work_aside(self, run: DurableRun) -> None:
        """Let a run work in a task that belongs to no request."""
        task = asyncio.get_running_loop().create_task(self.work(run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _find_by_key(self, scope: Scope) -> Record | None:
        known = self._ledger.find_by_key(scope)
        if known is not None or self._archive is None:
            return known
        found = await self._archive.find_by_key(scope)
        # While the archive was asked, another request with the same key may have begun.
        return self._ledger.find_by_key(scope) or found

    def _window(self, call: InvocationCall, durability: Durability) -> float | None:
        if durability.background or durability.on_disconnect == "continue":
            return None
        if durability.on_disconnect == "cancel" or not call.numbered:
            return 0.0
        return self._config.resume_window_seconds

    async def work(self, run: DurableRun) -> None:
        """Run the handler to its end, in the task that calls this; what came of it is in the record."""
        context, record = run.context, run.record
        failure: BaseException | None = None
        if run.call.is_background:
            limit, timeout = self._config.background_timeout, run.call.timeout
            context.extend_to(limit if timeout is None else min(timeout, limit))
        context.report_by(record.report)
        run.on_begin, run.on_queue = record.began, record.accepted
        try:
            if self._archive is not None:
                await self._archive.began(record)  # before the agent's code: after a crash it must not run again
            if run.reason is not None:
                run.check()
            result = await self._engine.work(run, run.handler, run.call.payload)
            if type(result) in GENERATOR_TYPES or is_response(result):
                await self._complete(run, result)
            else:
                run.streams = run.call.wants == "stream"
                value = encode(result)
                record.succeed(value, envelope_around(value, context))
                self._hold(record)
        except Exception as error:  # noqa: BLE001  # becomes the answer
            failure = _told(error, run)
            self._fail(record, failure)
        except BaseException as error:  # the loop ends
            failure = error
            self._fail(record, InvocationCancelledError("The invocation was cancelled."))
            raise
        finally:
            if record.was_abandoned:
                self._engine.invocations.dismiss(record)
            run.sent_chunks, run.sent_bytes = record.said()
            self._engine.finish(run, failure)
            del failure  # its traceback holds this frame

    async def _complete(self, run: DurableRun, result: Any) -> None:
        """Take what is no value to its end: a stream, or a response of the agent's own."""
        context, record = run.context, run.record
        if type(result) in GENERATOR_TYPES:
            run.streams = run.call.wants != "json"
            record.knows_form("stream")
            await run.produce(result, self._engine.workers, self._stream_timeout(run))
            return self._close(record, SUCCEEDED, Answer(200, envelope_around(b"null", context)))
        record.knows_form("response")
        answer = held_response(result, context)
        if answer is None:
            answer = await send_live(result, record.taker, run, self._config.stream_timeout)
            return self._close(record, SUCCEEDED, answer)
        self._close(record, SUCCEEDED, answer)
        await after_sending(result, context)

    def _stream_timeout(self, run: DurableRun) -> float:
        if run.call.is_background or run.call.wants == "json":
            return run.context.timeout
        limit, timeout = self._config.stream_timeout, run.call.timeout
        return limit if timeout is None else min(timeout, limit)

    def _fail_late(self, run: DurableRun) -> None:
        self._fail(run.record, run.reason)

    def _fail(self, record: Record, error: BaseException | None) -> None:
        """Close a record with an error; one of a stopped handler that refuses to end may be closed already."""
        if record.is_over or error is None:
            return
        context = record.run.context if record.run is not None else None
        assert context is not None
        if isinstance(error, ClientGoneError):
            error = InvocationCancelledError("The invocation was cancelled: nobody waited for it any more.")
        problem = problem_of(error, request_id=context.request_id, tells_errors=self._config.tells_errors)
        if problem.status >= 500:
            log_failure(error, context.request_id, context)
        envelope = problem.envelope(context.request_id, context.session_id, context.elapsed())
        state = FAILED
        if isinstance(error, InvocationCancelledError):
            state = CANCELLED
        elif record.started_at is None and not isinstance(error, InvocationTimeoutError):
            record.is_refused = True
        self._close(record, state, Answer(problem.status, envelope, problem.headers))

    def _close(self, record: Record, state: str, answer: Answer) -> None:
        """End a record; one that was refused is held only for those who were told 202, and without its key."""
        if record.is_over:
            return
        was_accepted = record.is_accepted
        record.finish(state, answer)
        if record.is_refused:
            self._ledger.release_key(record)
        if record.is_refused and not was_accepted:
            self._ledger.forget(record)
            if self._archive is not None:
                self._archive.drop(record)
            return
        self._hold(record)

    def _hold(self, record: Record) -> None:
        """Hold a record that is over."""
        self._ledger.close(record)
        if self._archive is not None:
            self._archive.finished(record)


def _scope(call: InvocationCall, key: str) -> Scope:
    return (call.context.key_id or "", call.context.session_id or "", key)


def _told(error: Exception, run: DurableRun) -> BaseException:
    """Return what ended the work: behind an answer that was cut, why it was cut."""
    if not isinstance(error, AnswerCutError):
        return error
    return run.reason or error.__cause__ or error


def _archive(config: AgentConfig) -> Archive | None:
    if config.event_store is None:
        return None
    from .._records.archive import Archive  # imports sqlite3, which most agents do not need

    return Archive(config)
