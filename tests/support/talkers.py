"""Handlers of every kind that say the same, and count how often they run."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from typing import Any

CHUNKS = 30
RUNS: Counter[str] = Counter()
"""How often a handler ran, by the id that the caller gave."""


def chunk(number: int) -> dict[str, Any]:
    return {"number": number, "text": "é\n" * (number % 5)}


SAID = [chunk(number) for number in range(CHUNKS)]


async def async_generator(payload: dict[str, str]) -> AsyncGenerator[Any, None]:
    RUNS[payload["id"]] += 1
    for number in range(CHUNKS):
        await asyncio.sleep(0)
        yield chunk(number)


def plain_generator(payload: dict[str, str]) -> Iterator[Any]:
    RUNS[payload["id"]] += 1
    for number in range(CHUNKS):
        yield chunk(number)


def value(payload: dict[str, str]) -> Any:
    RUNS[payload["id"]] += 1
    return SAID


async def async_value(payload: dict[str, str]) -> Any:
    RUNS[payload["id"]] += 1
    await asyncio.sleep(0)
    return SAID


def returned_generator(payload: dict[str, str]) -> Any:
    return plain_generator(payload)


def returned_async_generator(payload: dict[str, str]) -> Any:
    return async_generator(payload)


VALUES: list[Any] = [value, async_value]
KINDS: list[Any] = [async_generator, plain_generator, returned_generator, returned_async_generator, *VALUES]
