"""The deadline of a block: its own end, and nobody else's."""

from __future__ import annotations

import asyncio

import pytest

from ppio_agent_client import TotalTimeoutError
from ppio_agent_client._io import _async as io


def over() -> io.Until:
    return io.Until(io.now() - 1, 7)


async def test_a_block_ends_at_its_deadline() -> None:
    with pytest.raises(TotalTimeoutError, match="7 s"):
        async with over():
            await asyncio.Event().wait()
    await asyncio.sleep(0)  # the task goes on as if nothing had been
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_block_that_ends_in_time_is_left_alone() -> None:
    for deadline in (None, io.now() + 60):
        async with io.Until(deadline, 60):
            await asyncio.sleep(0)


async def test_an_error_of_the_block_is_not_hidden() -> None:
    with pytest.raises(KeyError):
        async with io.Until(io.now() + 60, 60):
            raise KeyError


async def test_the_inner_deadline_is_not_the_outer_one() -> None:
    async with io.Until(io.now() + 60, 60):
        with pytest.raises(TotalTimeoutError, match="7 s"):
            async with over():
                await asyncio.Event().wait()
        await asyncio.sleep(0)


async def test_the_outer_deadline_goes_through_the_inner_block() -> None:
    with pytest.raises(TotalTimeoutError, match="7 s"):
        async with over(), io.Until(io.now() + 60, 60):
            await asyncio.Event().wait()


async def test_who_is_cancelled_at_the_deadline_hears_of_that() -> None:
    async def work() -> None:
        async with over():
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_soon(task.cancel)
            await asyncio.Event().wait()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.ensure_future(work())
