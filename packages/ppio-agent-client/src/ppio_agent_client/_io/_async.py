"""The asyncio half of the pair."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, ParamSpec, Protocol, TypeVar

from ppio_agent_models import TotalTimeoutError

from . import AbandonedError, SharedWork, chance, key, nonce, now, tls_context, unix_now

__all__ = ["chance", "key", "nonce", "now", "tls_context", "unix_now"]  # handed on; everything else is made here

T = TypeVar("T")
P = ParamSpec("P")

IS_ASYNC: Final = True
Lock = asyncio.Lock
sleep = asyncio.sleep


def place() -> object:
    """Return where connections belong: a socket of one event loop is of no use in another."""
    return asyncio.get_running_loop()


def is_over(place: object) -> bool:
    """Tell whether connections at a place can never be used again."""
    return isinstance(place, asyncio.AbstractEventLoop) and place.is_closed()


class Closable(Protocol):
    """What can be closed."""

    async def aclose(self) -> None: ...


async def close_at(place: object, resource: Closable) -> None:
    """Close something at the place it belongs to, to the end; only in this event loop that is waited for."""
    if place is asyncio.get_running_loop():
        await to_the_end(resource.aclose())
    elif isinstance(place, asyncio.AbstractEventLoop):
        with suppress(RuntimeError):  # it was closed, and what it had open with it
            place.call_soon_threadsafe(lambda: place.create_task(_closed(resource)))


async def _closed(resource: Closable) -> None:
    await resource.aclose()


async def hang_up(connection: Closable) -> None:
    """Close a connection that somebody else reads from, who is told."""
    await connection.aclose()


async def hang_up_stream(stream: object) -> None:
    """Do nothing: a task that reads is cancelled, and closes what it reads from."""


async def end_of(parts: AsyncIterator[object]) -> None:
    """End an iterator of httpx whose response is closed.

    It is a chain of generators. Left in the middle, it would be ended later by a task of the event loop's own, which
    may outlive the client; reading on fails at once, and ends it.
    """
    with suppress(Exception):
        async for _ in parts:
            continue


async def run_blocking(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what `function` returns, run in a thread of its own that is gone when this returns.

    A thread costs 0.1 ms and a pool would stay behind after its client is closed. Cancelled, the call is abandoned: its
    thread ends when the function does.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: T | None, error: BaseException | None) -> None:
        if outcome.cancelled():
            return
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(result)  # type: ignore[arg-type]  # without an error there is a result

    def work() -> None:
        result: T | None = None
        failure: BaseException | None = None
        try:
            result = context.run(function, *args, **kwargs)
        except BaseException as error:  # noqa: BLE001  # handed over, not hidden
            failure = error
        try:
            loop.call_soon_threadsafe(settle, result, failure)
        except RuntimeError:
            # The loop was closed meanwhile: nobody waits any more.
            return

    thread = threading.Thread(target=work, name="ppio-agent-client")
    thread.start()
    result = await outcome
    thread.join()  # at its very end already: it has handed over its result
    return result


async def called(function: Callable[[], Any]) -> Any:
    """Return what somebody else's callable gives: awaited if it is a coroutine function, else run in a thread."""
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
        return await function()
    result = await run_blocking(function)
    return await result if inspect.isawaitable(result) else result


async def to_the_end(work: Awaitable[T]) -> T:
    """Return the result of `work`, which runs to its end even when the caller is cancelled meanwhile.

    The cancellation is raised afterwards. For what must not stay half done: making or killing a sandbox.
    """
    task = asyncio.ensure_future(work)
    interruption: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            interruption = error
    if interruption is not None:
        if not task.cancelled():
            task.exception()  # looked at: the cancellation is what the caller hears
        raise interruption
    return task.result()


async def gather(calls: list[Callable[[], Awaitable[T]]]) -> list[T | BaseException]:
    """Return the outcomes of all calls, run side by side, exceptions among them."""
    return await asyncio.gather(*(call() for call in calls), return_exceptions=True)


class SingleFlight(SharedWork[T]):
    """Does a piece of work once for all who ask while it is done, in whichever task, event loop or thread they are."""

    async def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Return what the work gives, done by this caller or by another; its errors are raised in all of them."""
        while True:
            future, is_first = self.join()
            if is_first:
                try:
                    return self.set_result(future, await work())
                except BaseException as error:
                    self.set_exception(future, error)
                    raise
            try:
                return await asyncio.wrap_future(future)
            except AbandonedError:
                continue


class Until:
    """Ends its block with `TotalTimeoutError` when a deadline passes.

    As `asyncio.timeout`, with half of what that costs: every call has one.

    Args:
        deadline: On the clock of `now`; None for no limit.
        total: The limit as the caller knows it, in seconds, for the message.
    """

    __slots__ = ("_cancelling", "_deadline", "_is_over", "_task", "_timer", "_total")

    def __init__(self, deadline: float | None, total: float | None) -> None:
        self._deadline = deadline
        self._total = total
        self._timer: asyncio.TimerHandle | None = None
        self._is_over = False

    async def __aenter__(self) -> None:
        if self._deadline is None:
            return
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._timer = task.get_loop().call_later(self._deadline - now(), self._end)

    def _end(self) -> None:
        self._is_over = True
        self._task.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is None:
            return
        self._timer.cancel()
        # Whoever else cancelled the task meanwhile wants it to end, not to be told about time.
        if self._is_over and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TotalTimeoutError(f"the call took longer than its limit of {self._total:g} s") from error


class Background:
    """Work that goes on beside its owner, who stops it.

    Args:
        work: Gets this object, to rest with.
    """

    def __init__(self, work: Callable[[Background], Awaitable[None]]) -> None:
        self._task = asyncio.ensure_future(work(self))

    async def rest(self, seconds: float) -> bool:
        """Pause inside the work. False when it is to stop."""
        await asyncio.sleep(seconds)
        return True

    async def wait(self, seconds: float) -> bool:
        """Wait until the work is over, at most so long, and return whether it is."""
        await asyncio.wait({self._task}, timeout=seconds)
        return self._task.done()

    async def stop(self, wake: Callable[[], Awaitable[None]] | None = None) -> None:
        """End the work and return when it is gone.

        Args:
            wake: Frees work that waits for something, which a thread can not be made to leave otherwise.
        """
        loop = self._task.get_loop()
        if loop is not asyncio.get_running_loop():  # nobody can wait for it here
            with suppress(RuntimeError):  # it was closed, and the work ended with it
                loop.call_soon_threadsafe(self._task.cancel)
            return
        self._task.cancel()
        if wake is not None:
            await wake()
        await asyncio.wait({self._task})
        if not self._task.cancelled() and (error := self._task.exception()) is not None:
            raise error


class Gate:
    """Lets so many connections be in use at once; further callers wait in a row."""

    def __init__(self, places: int) -> None:
        self._places = asyncio.Semaphore(places)
        self.leave = self._places.release

    async def enter(self, seconds: float | None) -> None:
        """Take a place, which `leave` gives back.

        Raises:
            TimeoutError: None was free for `seconds`.
        """
        if not self._places.locked():
            await self._places.acquire()  # at once
            return
        async with asyncio.timeout(seconds):
            await self._places.acquire()
