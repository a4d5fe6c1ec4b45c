"""A TCP proxy that cuts: at any byte, in either direction, with RST, with FIN, or by falling silent. Seeded."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from random import Random
from urllib.parse import urlsplit

RESET, FINISH, SILENCE = "reset", "finish", "silence"
"""How a connection is cut: RST, FIN, or half-open: both ends stay connected and hear nothing more."""
_LONGEST_DELAY_SECONDS = 0.002
_REQUEST_BYTES, _ANSWER_BYTES = 500, 1500
"""Cuts come before so many bytes went by; tests say about as much."""


@dataclass
class Plan:
    """What will happen to one connection, once `after_bytes` more bytes went by in one direction."""

    upwards: bool
    after_bytes: int
    manner: str
    dawdles: bool


class CuttingProxy:
    """Where it listens and what it has cut.

    Attributes:
        url: Its base URL.
        calm: While it is, nothing is cut.
        cuts: How many connections were cut, by manner.
    """

    def __init__(self, target: str, *, seed: int, silence: bool) -> None:
        address = urlsplit(target)
        self._target = (address.hostname, address.port)
        self._random = Random(seed)
        self._weights = (48, 48, 4 if silence else 0)
        self._connections: set[asyncio.Task[None]] = set()
        self.url = ""
        self.calm = True
        self.cuts: Counter[str] = Counter()

    def _plan(self) -> Plan:
        dice = self._random
        upwards = dice.random() < 0.2
        after_bytes = dice.randrange(_REQUEST_BYTES if upwards else _ANSWER_BYTES)
        manner = dice.choices((RESET, FINISH, SILENCE), self._weights)[0]
        return Plan(upwards, after_bytes, manner, dawdles=dice.random() < 0.1)

    async def serve(self, started: threading.Event, stop: asyncio.Event) -> None:
        """Serve until `stop`."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        started.set()
        await stop.wait()
        server.close()
        # What asyncio has just accepted becomes a connection of ours first, and is then ended like the others.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in self._connections:
                if not task.cancelling():
                    task.cancel()
            await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._connect(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        task.add_done_callback(lambda _: writer.close())  # one that is cancelled before it begins closes nothing

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        agent_reader, agent_writer = await asyncio.open_connection(*self._target)
        plan = self._plan()
        writers = (writer, agent_writer)
        pumps = [
            asyncio.ensure_future(self._pump(reader, agent_writer, plan, upwards=True)),
            asyncio.ensure_future(self._pump(agent_reader, writer, plan, upwards=False)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            if any(pump.done() and not pump.exception() and pump.result() for pump in pumps):
                await _end(pumps)
                await self._cut(plan.manner, reader, writers)
        except ConnectionError:
            pass  # one end was faster
        finally:
            for each in writers:
                each.close()
            await _end(pumps)
            for each in writers:
                with suppress(ConnectionError):
                    await each.wait_closed()

    async def _cut(
        self, manner: str, caller: asyncio.StreamReader, writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    ) -> None:
        self.cuts[manner] += 1
        if manner == SILENCE:
            while await caller.read(65536):  # until the caller gives up
                pass
        elif manner == RESET:
            for each in writers:
                _reset(each)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, plan: Plan, *, upwards: bool
    ) -> bool:
        """Hand on what comes until the end, or until the cut is due: then say so."""
        while data := await reader.read(65536):
            if plan.dawdles:
                await asyncio.sleep(self._random.random() * _LONGEST_DELAY_SECONDS)
            is_due = plan.upwards is upwards and not self.calm and len(data) > plan.after_bytes
            writer.write(data[: plan.after_bytes] if is_due else data)
            await writer.drain()
            if is_due:
                return True
            if plan.upwards is upwards and not self.calm:
                plan.after_bytes -= len(data)
        return False


async def _end(pumps: list[asyncio.Task[bool]]) -> None:
    for pump in pumps:
        pump.cancel()
    await asyncio.gather(*pumps, return_exceptions=True)


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextmanager
def cutting_proxy(target: str, *, seed: int, silence: bool = True) -> Iterator[CuttingProxy]:
    """Yield a proxy in front of `target`, calm at first, in a thread of its own; `silence` is one of its manners."""
    proxy = CuttingProxy(target, seed=seed, silence=silence)
    started = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(proxy.serve(started, stop))

    thread = threading.Thread(target=run, name="cutting-proxy")
    thread.start()
    assert started.wait(60)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
