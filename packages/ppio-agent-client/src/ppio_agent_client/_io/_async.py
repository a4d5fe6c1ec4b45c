"""The asyncio half of the pair."""

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
]  # handed on; everything else is made here

T = TypeVar("T")
P = ParamSpec("P")

IS_ASYNC: Final = True
Lock = asyncio.Lock
sleep = asyncio.sleep


class OneKind:
    """What has a blocking twin, and says so where it is used like it."""

    if not TYPE_CHECKING:  # who finds it before it runs

        def __enter__(self):
            raise TypeError(
                f"{type(self).__name__} is async: use 'async with', or Sync{type(self).__name__} with 'with'"
            )

        def __exit__(self, *_):
            raise NotImplementedError

        def __iter__(self):
            raise TypeError(f"{type(self).__name__} is async: use 'async for' and 'await', or the Sync classes")


def place() -> object:
    """Return where connections belong: a socket of one event loop is of no use in another.

    Raises:
        ConfigurationError: No event loop of asyncio runs here.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigurationError(
            "the async client runs on asyncio, and no event loop of asyncio runs here; under trio, or without any, use "
            "SyncAgentRuntimeClient (with trio: in trio.to_thread.run_sync)"
        ) from None


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
    else:
        let_go(place, resource.aclose)


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
    place()
    outcome: Future[T] = Future()
    outcome.set_running_or_notify_cancel()  # who stops waiting does not cancel it
    context = contextvars.copy_context()

    def work() -> None:
        try:
            outcome.set_result(context.run(function, *args, **kwargs))
        except BaseException as error:  # noqa: BLE001  # handed over, not hidden
            outcome.set_exception(error)

    thread = threading.Thread(target=work, name="ppio-agent-client")
    thread.start()
    result = await asyncio.wrap_future(outcome)
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


class Pump:
    """Does one piece of work after the other in a task of its own, so that whoever waits for one may stop waiting."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._asked = asyncio.Event()

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for a piece."""
        return not all(waiter.done() for waiter in self._waiters)

    async def more(self, work: Callable[[], Awaitable[bool]], is_full: Callable[[], bool]) -> None:
        """Return when another piece is done, or there is none; raise what went wrong with it.

        Args:
            work: Does a piece, and returns whether there is more to do; the same each time.
            is_full: Tells whether the next piece can wait until somebody asks for it.

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
            task.exception()  # looked at: nobody waits for it any more


class Steps(Generic[T]):
    """Takes one step after the other, and stops waiting for one from time to time without losing it.

    Args:
        step: Goes on where it was when it was cut short, as the steps of a stream do.
    """

    def __init__(self, step: Callable[[], Awaitable[T]]) -> None:
        self._step = step

    async def next(self, seconds: float) -> T | None:
        """Return what the next step gives, None if that takes longer than so many seconds."""
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await self._step()
        except TimeoutError:
            if limit.expired():
                return None
            raise

    async def end(self, stop: Callable[[], Awaitable[None]]) -> None:
        """Stop what the steps are about, to the end; none of them is under way."""
        await to_the_end(stop())


def is_limit_of_caller(error: BaseException) -> bool:
    """Tell whether an exception inside the work is the caller's way to stop waiting; here that never gets there."""
    return False


def raised_by_signal(error: BaseException | None) -> TimeoutError | None:
    """Return None: a time limit of the caller's own cancels, it raises nothing below."""
    return None


_left: set[asyncio.Task[None]] = set()
"""What closes things that were let go of."""


def let_go(place: object, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Close something that nobody holds any more, from wherever that is noticed, at the place it belongs to."""
    assert isinstance(place, asyncio.AbstractEventLoop)
    try:
        is_here = asyncio.get_running_loop() is place
    except RuntimeError:
        is_here = False
    if is_here:
        _close_left(close)
    else:
        with suppress(RuntimeError):  # the loop was closed, and what it had open with it
            place.call_soon_threadsafe(_close_left, close)


def _close_left(close: Callable[[], Coroutine[Any, Any, None]]) -> None:
    task = asyncio.get_running_loop().create_task(close())
    _left.add(task)
    task.add_done_callback(_left.discard)


async def wait_for_left() -> None:
    """Return when everything is closed that was let go of here."""
    here = place()
    if tasks := {task for task in _left if task.get_loop() is here}:
        await asyncio.wait(tasks)


class Until:
    """Ends its block with `TotalTimeoutError` when a deadline passes.

    Args:
        deadline: On the clock of `now`; None for no limit.
        total: The limit as the caller knows it, in seconds, for the message.
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
