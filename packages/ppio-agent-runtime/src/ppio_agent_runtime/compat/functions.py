"""Entrypoints of other SDKs as ours: called with their own context, and their results made JSON in their way.

Their kind is kept: a `def` runs in a thread, an `async def` on the event loop, and generators stream.
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
"""Returns what the function is called with, for a payload and our context."""
Shown = Callable[[Any], Any]
"""Returns a value that can become JSON for any value."""


def adapted(function: Function, arguments: Arguments, *, value: Shown, chunk: Shown) -> Function:
    """Return an entrypoint of ours that calls `function`.

    Args:
        function: Of any kind that ours may have.
        arguments: Of a call.
        value: What is answered for what it returns.
        chunk: What is sent for what it yields.
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
