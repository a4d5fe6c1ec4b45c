"""Adapts entrypoints of other SDKs: calls them with their SDK's context, and converts results as their SDK does.

The kind of function stays the same: a `def` runs in a thread, an `async def` on the event loop, generators stream.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, closing
from typing import Any

from ..context import RequestContext
from ..handler import code_of

Function = Callable[..., Any]
Arguments = Callable[[Any, RequestContext], tuple[Any, ...]]
"""Returns the function's arguments, for a payload and our context."""
Shown = Callable[[Any], Any]
"""Converts any value to one that can become JSON."""


def adapted(function: Function, arguments: Arguments, *, value: Shown, chunk: Shown) -> Function:
    """Return an entrypoint of ours that calls `function`.

    Args:
        function: A function of any kind that an entrypoint may be.
        arguments: Makes the arguments of a call.
        value: Converts what it returns.
        chunk: Converts what it yields.
    """
    code = code_of(function)

    def answer(result: Any) -> Any:
        if inspect.isasyncgen(result):
            return _async_chunks(result, chunk)
        return _chunks(result, chunk) if inspect.isgenerator(result) else value(result)

    def plain(payload: Any, context: RequestContext) -> Any:
        return answer(function(*arguments(payload, context)))

    async def coroutine(payload: Any, context: RequestContext) -> Any:
        return answer(await function(*arguments(payload, context)))

    def generator(payload: Any, context: RequestContext) -> Iterator[Any]:
        yield from _chunks(function(*arguments(payload, context)), chunk)

    async def async_generator(payload: Any, context: RequestContext) -> AsyncIterator[Any]:
        async with aclosing(_async_chunks(function(*arguments(payload, context)), chunk)) as chunks:
            async for each in chunks:
                yield each

    kinds = (
        (inspect.isasyncgenfunction, async_generator),
        (inspect.iscoroutinefunction, coroutine),
        (inspect.isgeneratorfunction, generator),
    )
    made: Function = next((made for is_kind, made in kinds if is_kind(code)), plain)
    made.__module__, made.__qualname__ = code.__module__, code.__qualname__  # for the log; without the signature
    return made


async def _async_chunks(stream: Any, chunk: Shown) -> AsyncGenerator[Any]:
    async with aclosing(stream):
        async for each in stream:
            yield chunk(each)


def _chunks(stream: Any, chunk: Shown) -> Iterator[Any]:
    with closing(stream):
        for each in stream:
            yield chunk(each)
