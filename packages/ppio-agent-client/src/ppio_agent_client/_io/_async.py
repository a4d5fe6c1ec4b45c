"""The asyncio version of the pair."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, Protocol, TypeVar

from ppio_agent_models import ConfigurationError, TotalTimeoutError

from . import AbandonedError, SharedWork, chance, key, nonce, now, tls_context, unix_now

__all__ = [
    "AbandonedError",
    "chance",
    "key",
    "nonce",
    "now",
    "tls_context",
    "unix_now",
]  # re-exported; everything else is defined here

T = TypeVar("T")
P = ParamSpec("P")

IS_ASYNC: Final = True
Lock = asyncio.Lock
sleep = asyncio.sleep


class OneKind:
    """Base class for objects with a blocking twin; raises a helpful error if it is used like that one."""

    if not TYPE_CHECKING:  # type checkers find such mistakes by themselves

        def __enter__(self):
            raise TypeError(
                f"{type(self).__name__} is async: use 'async with', or Sync{type(self).__name__} with 'with'"
            )

        def __exit__(self, *_):
            raise NotImplementedError

        def __iter__(self):
            raise TypeError(f"{type(self).__name__} is async: use 'async for' and 'await', or the Sync classes")


def place() -> object:
    """Return the running event loop, to which connections are bound.

    Raises:
        ConfigurationError: No event loop of asyncio is running.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigurationError(
            "the async client needs a running event loop of asyncio; under trio, or without a loop, use "
            "SyncAgentRuntimeClient (with trio: in trio.to_thread.run_sync)"
        ) from None


def is_over(place: object) -> bool:
    """Return whether the event loop is closed, so that its connections can't be used again."""
    return isinstance(place, asyncio.AbstractEventLoop) and place.is_closed()


class Closable(Protocol):
    """Something that can be closed."""

    async def aclose(self) -> None: ...


async def close_at(place: object, resource: Closable) -> None:
    """Close something on its event loop; wait for that only if it is this loop."""
    if place is asyncio.get_running_loop():
        await to_the_end(resource.aclose())
    else:
        let_go(place, resource.aclose)


async def hang_up(connection: Closable) -> None:
    """Close a connection that another task reads from; that task gets an error."""
    await connection.aclose()


async def hang_up_stream(stream: object) -> None:
    """Do nothing: here the reading task is cancelled, and closes the stream."""


async def end_of(parts: AsyncIterator[object]) -> None:
    """Finish an iterator of httpx whose response is closed.

    It is a chain of generators. If it is abandoned, the event loop closes it later in a task that may outlive the
    client; reading from it fails at once, and finishes it.
    """
    with suppress(Exception):
        async for _ in parts:
            continue


async def run_blocking(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `function` in a new thread, and return its result after the thread has ended.

    A thread takes 0.1 ms, and a pool would remain after its client is closed. If this is cancelled, the thread
    continues until the function returns.
    """
    place()
    outcome: Future[T] = Future()
    outcome.set_running_or_notify_cancel()  # so that a waiter can't cancel it
    context = contextvars.copy_context()

    def work() -> None:
        try:
            outcome.set_result(context.run(function, *args, **kwargs))
        except BaseException as error:  # noqa: BLE001  # handed over, not hidden
            outcome.set_exception(error)

    thread = threading.Thread(target=work, name="ppio-agent-client")
    thread.start()
    result = await asyncio.wrap_future(outcome)
    thread.join()  # returns at once, because the result is there
    return result


async def called(function: Callable[[], Any]) -> Any:
    """Call a user's function, and return its result; a coroutine function is awaited, any other runs in a thread."""
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
        return await function()
    result = await run_blocking(function)
    return await result if inspect.isawaitable(result) else result


async def to_the_end(work: Awaitable[T]) -> T:
    """Return the result of `work`, which runs to its end even if the caller is cancelled meanwhile.

    The cancellation is raised afterwards. For operations that must not stop halfway, like creating or ending a sandbox.
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
            task.exception()  # marks it as retrieved; the cancellation is raised instead
        raise interruption
    return task.result()


async def gather(calls: list[Callable[[], Awaitable[T]]]) -> list[T | BaseException]:
    """Run all calls concurrently, and return their results or exceptions."""
    return await asyncio.gather(*(call() for call in calls), return_exceptions=True)


class SingleFlight(SharedWork[T]):
    """Runs work once for all concurrent callers, in whichever task, event loop or thread they are."""

    async def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Return the result of the work, done by this caller or another one; an error is raised in all of them."""
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


class Pump:
    """Runs a piece of work repeatedly in its own task, so that a caller may stop waiting without cancelling it."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._asked = asyncio.Event()

    @property
    def is_awaited(self) -> bool:
        """Whether a caller waits for a piece."""
        return not all(waiter.done() for waiter in self._waiters)

    async def more(self, work: Callable[[], Awaitable[bool]], is_full: Callable[[], bool]) -> None:
        """Wait until another piece is done, or there are no more; raise its error.

        Args:
            work: Does a piece, and returns whether there is more to do; the same each time.
            is_full: Returns whether the next piece has to wait for another call of this.

        Raises:
            AbandonedError: It was stopped.
        """
        place()
        loop = asyncio.get_running_loop()
        if self._task is None:
            self._task = loop.create_task(self._run(work, is_full))
        elif not self._task.done():
            self._asked.set()
        if not self._task.done():
            waiter = loop.create_future()
            self._waiters.append(waiter)
            await waiter
        if self._task.done():
            if self._task.cancelled():
                raise AbandonedError
            self._task.result()

    async def _run(self, work: Callable[[], Awaitable[bool]], is_full: Callable[[], bool]) -> None:
        try:
            while await work():
                self._wake()
                if is_full():
                    self._asked.clear()
                    await self._asked.wait()
        finally:
            asyncio.get_running_loop().call_soon(self._wake)  # when this task is done

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def end(self, *, stop: bool) -> None:
        """Return when the work is gone, unless it is the work itself that asks for that; `stop` cancels it."""
        task = self._task
        if task is None or task is asyncio.current_task() or task.get_loop() is not asyncio.get_running_loop():
            return
        if stop:
            task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # marks it as retrieved


class Steps(Generic[T]):
    """Runs steps one after another; a wait for one can time out without losing it.

    Args:
        step: Continues where it was if it is cancelled and called again, like the steps of a stream.
    """

    def __init__(self, step: Callable[[], Awaitable[T]]) -> None:
        self._step = step

    async def next(self, seconds: float) -> T | None:
        """Return the result of the next step, or None if it takes longer than `seconds`."""
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await self._step()
        except TimeoutError:
            if limit.expired():
                return None
            raise

    async def end(self, stop: Callable[[], Awaitable[None]]) -> None:
        """Run `stop` to its end; no step is in progress."""
        await to_the_end(stop())


def is_limit_of_caller(error: BaseException) -> bool:
    """Return whether an exception in the work is the caller's time limit; here never, as that only cancels the wait."""
    return False


def raised_by_signal(error: BaseException | None) -> TimeoutError | None:
    """Return None: here a time limit of the caller cancels the task, and raises nothing inside httpx."""
    return None


_left: set[asyncio.Task[None]] = set()
"""Tasks that close dropped objects."""


def let_go(place: object, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Close a dropped object on its event loop; may be called in any thread."""
    assert isinstance(place, asyncio.AbstractEventLoop)
    try:
        is_here = asyncio.get_running_loop() is place
    except RuntimeError:
        is_here = False
    if is_here:
        _close_left(close)
    else:
        with suppress(RuntimeError):  # the loop is closed, and so are its connections
            place.call_soon_threadsafe(_close_left, close)


def _close_left(close: Callable[[], Coroutine[Any, Any, None]]) -> None:
    task = asyncio.get_running_loop().create_task(close())
    _left.add(task)
    task.add_done_callback(_left.discard)


async def wait_for_left() -> None:
    """Wait until all dropped objects of this event loop are closed."""
    here = place()
    if tasks := {task for task in _left if task.get_loop() is here}:
        await asyncio.wait(tasks)


class Until:
    """Ends its block with `TotalTimeoutError` when a deadline passes.

    Args:
        deadline: The deadline on the clock of `now`; None for no limit.
        total: The caller's limit in seconds, for the message.
    """

    def __init__(self, deadline: float | None, total: float | None) -> None:
        place()
        self._timeout = asyncio.timeout(None if deadline is None else deadline - now())
        self._total = total

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            raise TotalTimeoutError(f"the call took longer than its limit of {self._total:g} s") from error


class Background:
    """Work in the background, until its owner stops it.

    Args:
        work: The work; it gets this object, for `rest`.
    """

    def __init__(self, work: Callable[[Background], Awaitable[None]]) -> None:
        self._task = asyncio.ensure_future(work(self))

    async def rest(self, seconds: float) -> bool:
        """Pause inside the work. Returns False if it should stop."""
        await asyncio.sleep(seconds)
        return True

    async def wait(self, seconds: float) -> bool:
        """Wait until the work is over, for `seconds` at most, and return whether it is."""
        await asyncio.wait({self._task}, timeout=seconds)
        return self._task.done()

    async def stop(self, wake: Callable[[], Awaitable[None]] | None = None) -> None:
        """Stop the work, and wait for its end.

        Args:
            wake: Interrupts a blocking wait of the work, which is necessary in a thread.
        """
        loop = self._task.get_loop()
        if loop is not asyncio.get_running_loop():  # it can't be awaited here
            with suppress(RuntimeError):  # the loop is closed, and the work has ended with it
                loop.call_soon_threadsafe(self._task.cancel)
            return
        self._task.cancel()
        if wake is not None:
            await wake()
        await asyncio.wait({self._task})
        if not self._task.cancelled() and (error := self._task.exception()) is not None:
            raise error


class Gate:
    """Limits the number of connections in use; further callers wait in order."""

    def __init__(self, places: int) -> None:
        self._places = asyncio.Semaphore(places)
        self.leave = self._places.release

    async def enter(self, seconds: float | None) -> None:
        """Take a place, which `leave` returns.

        Raises:
            TimeoutError: None became free within `seconds`.
        """
        if not self._places.locked():
            await self._places.acquire()  # at once
            return
        async with asyncio.timeout(seconds):
            await self._places.acquire()
