"""One running invocation: its work, the limits it runs under, and the one way to stop it.

The handler runs in the request's own task: a task of its own would cost more than everything else in the corridor. Who
watches it is `Invocations`, whose clock ticks for all runs at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from contextvars import copy_context
from types import AsyncGeneratorType, CoroutineType
from typing import TYPE_CHECKING, Any, Final

from ppio_agent_models import InvocationTimeoutError, PPIOAgentRuntimeError

from .._problems import MEANT_FOR_CALLERS, ClientGoneError, handler_failure
from .._serialize import encode
from .chunks import ChunkBuffer
from .outcome import GENERATOR_TYPES, is_response
from .produce import produce_async, produce_sync

if TYPE_CHECKING:
    from .._asgi import Receive, Send
    from .chunks import ChunkSink
    from .context import RequestContext
    from .engine import Admission
    from .handler import Callee
    from .workers import WorkerThreads

STUBBORN_SECONDS: Final = 1.0
"""How long an answer waits for cancelled code to finish its `finally` blocks before it goes out without it."""
_TICKS_UNHEARD: Final = 1
"""How many ticks a run need not listen for its caller: a short one of many at once mostly meets one, hardly two."""


class Run:
    """An invocation from its start to its last byte.

    Whatever ends it early (deadline, disconnect, drain) goes through `stop`: the first reason counts, the code is told,
    and whoever waits for the result gets the reason as an exception.

    Attributes:
        chunks: The stream in the making, once there is one.
        reason: Why it was stopped, or None.
        send: Where the answer goes.
        answered_late: The stopped handler refused to end, and its caller was told without it.
        head_sent: A response object of the handler has begun to send itself: no other answer can follow.
        own_response: The response object that the handler returned where a stream was asked for, or None.
        admitted: It was admitted, and what it acquired must be released.
        task: Which one works for it, once that is known.
        streams: Its answer is a stream.
        sent_bytes: Size of the answer's body so far.
        sent_chunks: How many chunks of the stream are in it.
        on_begin: Called when the handler is about to work.
        on_queue: Called when the run has to wait for its turn.
        first_chunk: When the first one was there, in seconds from the beginning.
    """

    # Defaults of the class instead of slots that are filled for each run: 15 stores less, 0.3 us.
    chunks: ChunkSink | None = None
    reason: Exception | None = None
    answered_late = False
    head_sent = False
    own_response: Any = None
    admitted = False
    streams = False
    sent_bytes = 0
    sent_chunks = 0
    first_chunk: float | None = None
    on_begin: Callable[[], None] | None = None
    on_queue: Callable[[], None] | None = None
    task: asyncio.Task[Any] | None = None
    _waiting = False
    _ticks = 0
    _production: asyncio.Task[None] | None = None
    _listener: asyncio.Task[None] | None = None
    _stopped_at = 0.0

    def __init__(self, context: RequestContext, receive: Receive, send: Send) -> None:
        self.context = context
        self.send = send
        self._receive = receive

    async def enter(self, admission: Admission) -> None:
        """Wait until this run is admitted; whatever stops the run ends the wait.

        Raises:
            InvocationError: It was refused, or it was stopped meanwhile.
            ClientGoneError: The caller hung up.
        """
        self.task = self.task or asyncio.current_task()
        self._waiting = True
        try:
            await admission.acquire(self)
            self.admitted = True
        except asyncio.CancelledError:
            if self.reason is None:
                self.context.cancel()
                raise
        finally:
            self._waiting = False
        if self.reason is not None:
            self._absorb_cancel()
            raise self.reason

    async def result(self, handler: Callee, payload: Any, workers: WorkerThreads) -> Any:
        """Call the handler and return what it returned; a generator is returned as such.

        Raises:
            InvocationError: It failed, ran out of time, or was stopped.
            ClientGoneError: The caller hung up.
        """
        self.task = self.task or asyncio.current_task()
        self._waiting = True
        if self.on_begin is not None:
            self.on_begin()
        outcome = None
        try:
            if handler.in_thread:
                outcome = await workers.run(copy_context(), handler.call, payload, self.context)
            else:
                outcome = handler.call(payload, self.context)
            if type(outcome) is CoroutineType:
                outcome = await outcome
        except GeneratorExit:  # the loop is gone, and this coroutine is thrown away with it
            raise
        except BaseException as error:  # sys.exit() ends an invocation, not the service
            if self.reason is None:
                if self._is_no_failure(error):
                    raise
                raise handler_failure(error) from error
        finally:
            self._waiting = False
        if self.reason is not None:
            self._absorb_cancel()
            raise self.reason
        return outcome

    async def send_response(self, sending: Awaitable[None], timeout: float) -> None:
        """Let a response object of the handler send itself; its body may take `timeout` seconds from the start.

        Raises:
            Exception: What the response raised, or why it was stopped.
        """
        self.context.extend_to(timeout)
        self._waiting = True
        try:
            await sending
        except (asyncio.CancelledError, Exception):
            if self.reason is None:
                if self._cancelled_from_outside():
                    self.context.cancel()
                raise
        finally:
            self._waiting = False
        if self._stopped_at:
            self._absorb_cancel()
            assert self.reason is not None
            raise self.reason

    def response_sent(self) -> None:
        """Note that the response's last byte went out: what it still does afterwards is not stopped."""
        self._waiting = False

    def stream_work(self, working: Coroutine[Any, Any, Any], workers: WorkerThreads, timeout: float) -> ChunkBuffer:
        """Begin to work in a task of its own, so that the caller is kept awake from here on.

        Args:
            working: Returns the result: a generator becomes its chunks, a value the only one, and a response is put
                aside as `own_response`.
            workers: Threads for generators.
            timeout: How many seconds a generator may take from the invocation's start.
        """
        chunks = self.chunks = ChunkBuffer()
        self._begin(self._deliver(working, chunks, workers, timeout))
        return chunks

    def leave_stream(self) -> None:
        """Let the response that came instead of chunks send itself, in the task that calls this.

        Raises:
            Exception: Why the run was stopped meanwhile.
        """
        self._production = None
        self.task = asyncio.current_task()
        self.check()

    def start_stream(self, generator: Any, workers: WorkerThreads, timeout: float) -> ChunkBuffer:
        """Begin to produce the chunks of `generator`, which may take `timeout` seconds from the invocation's start."""
        chunks = ChunkBuffer()
        self.produce_into(chunks, generator, workers, timeout)
        return chunks

    def produce_into(self, chunks: ChunkSink, generator: Any, workers: WorkerThreads, timeout: float) -> None:
        """Begin to put the chunks of `generator` into `chunks`. See `start_stream`."""
        self.chunks = chunks
        self.context.extend_to(timeout)
        self._begin(self._produce(generator, chunks, workers))

    def when_produced(self, heard: Callable[[BaseException | None], None]) -> None:
        """Call `heard` with what ended the stream early, or None, once its producer is over."""
        chunks = self.chunks
        assert self._production is not None
        assert chunks is not None
        self._production.add_done_callback(lambda _: heard(chunks.error))

    def stop(self, reason: Exception) -> None:
        """End the run early. Async code is cancelled, a `def` handler sees `context.cancelled`, the caller is told."""
        if self.reason is not None:
            return
        self.reason = reason
        self.context.cancel()
        if self.chunks is not None:
            self.chunks.end(reason)
        if self._production is not None:
            self._production.cancel()
        elif self._waiting and self.task is not None:
            self._stopped_at = asyncio.get_running_loop().time()
            self.task.cancel()

    def check(self) -> None:
        """Raise why the run was stopped, if it was."""
        if self.reason is not None:
            raise self.reason

    def watch(self, now: float) -> bool:
        """Look after the run, at every tick of the clock; say whether its caller must be told without its handler.

        Args:
            now: The loop's time.
        """
        self._ticks += 1
        if self._ticks == _TICKS_UNHEARD + 1:
            self._listener = asyncio.get_running_loop().create_task(self._listen())
        if self.reason is None and self.context.remaining() <= 0:
            self.stop(InvocationTimeoutError(f"The agent did not finish within {self.context.timeout:g} s."))
        if self.chunks is not None:
            self.chunks.beat(now)
        stubborn = self._waiting and self._stopped_at > 0 and now - self._stopped_at > STUBBORN_SECONDS
        if stubborn and not self.answered_late and not self.head_sent:
            self.answered_late = True
            return True
        return False

    def release(self) -> asyncio.Future[Any] | None:
        """Stop watching; return the production when it is still going on, so that somebody can wait for it."""
        if self._listener is not None:
            self._listener.cancel()
        if self._production is None or self._production.done():
            return None
        if self.reason is None:  # its writer failed or was cancelled: nobody takes what it makes
            self.context.cancel()
            self._production.cancel()
        return self._production

    def _begin(self, production: Coroutine[Any, Any, None]) -> None:
        self._production = asyncio.get_running_loop().create_task(self._contained(production))
        self.task = self.task or self._production

    def _produce(self, generator: Any, chunks: ChunkSink, workers: WorkerThreads) -> Coroutine[Any, Any, None]:
        if isinstance(generator, AsyncGeneratorType):
            return produce_async(generator, chunks)
        return produce_sync(generator, chunks, self.context, workers)

    async def _deliver(
        self, working: Coroutine[Any, Any, Any], chunks: ChunkSink, workers: WorkerThreads, timeout: float
    ) -> None:
        result = await working
        self.context.extend_to(timeout)
        if type(result) in GENERATOR_TYPES:
            await self._produce(result, chunks, workers)
        elif is_response(result):
            self.own_response = result
            return
        else:
            chunks.put(encode(result))
        chunks.end()  # rather than when this task is seen to be over: the last chunks and the end are one write

    def _is_no_failure(self, error: BaseException) -> bool:
        """Say whether what came out of the handler goes on as it is: meant for the caller, or a cancel from outside."""
        if isinstance(error, asyncio.CancelledError) and self._cancelled_from_outside():
            self.context.cancel()
            return True
        return isinstance(error, MEANT_FOR_CALLERS)

    def _cancelled_from_outside(self) -> bool:
        return self.task is not None and self.task.cancelling() > 0

    def _absorb_cancel(self) -> None:
        """Take back the cancel of `stop`, so that the task can go on and answer (see asyncio.Task.uncancel)."""
        if self._stopped_at and self.task is not None and self.task.cancelling():
            self.task.uncancel()

    async def _contained(self, production: Coroutine[Any, Any, None]) -> None:
        """Note how the production ended; an agent's `sys.exit()` would be raised out of the loop by asyncio."""
        assert self.chunks is not None
        try:
            await production
        except GeneratorExit:  # the loop is gone, and this coroutine is thrown away with it
            raise
        except PPIOAgentRuntimeError as error:
            self.chunks.end(error)
        except BaseException as error:  # noqa: BLE001  # the agent's: after `stop` it is not heard
            self.chunks.end(handler_failure(error))
        else:
            self.chunks.end()

    async def _listen(self) -> None:
        with suppress(asyncio.CancelledError):
            while (await self._receive())["type"] != "http.disconnect":
                pass
            self.stop(ClientGoneError())
