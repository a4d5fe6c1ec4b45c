"""Three replicas behind a load balancer, killed, drained, paused, restarted and cut off while they are called.

Each run of the agent is noted in a file before anything else: the ledger. At the end, every call must have run at most
once, exactly once where it was answered; a stream that ended has each chunk once, in order; and an error that says
`retryable` is about a call that never ran. With `--store` the replicas share their invocations, so that callers come
back to any of them, and a server of Redis is killed and paused too.

    python -m tests.bench.torture --seconds 600 --seed 7 --store redis
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import httpx

from ppio_agent_client import AgentRuntimeClient, ClientConfig, PPIOAgentRuntimeError, SandboxSession
from tests.support.balancer import Balancer, balancing
from tests.support.redis_server import Redis, redis_server
from tests.support.replicas import Replica, listens, replicas

Store = Literal["none", "sqlite", "redis"]
REPLICAS = 3
CALLERS = 12
_LONGEST_CALL_SECONDS = 20.0
AGENT = """
import os

app = PPIOAgentRuntimeApp()
ledger = os.open(folder / "ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

@app.entrypoint
async def work(payload):
    os.write(ledger, f"{payload['call']}\\n".encode())  # whole, whoever else writes, and whatever ends us then
    chunks = payload["chunks"]
    if chunks is None:
        await asyncio.sleep(payload["seconds"])
        return payload["call"]
    return numbers(chunks, payload["seconds"] / chunks)

async def numbers(chunks, pause):
    for number in range(chunks):
        yield number
        await asyncio.sleep(pause)
"""


@dataclass
class Call:
    """One call and what came of it."""

    name: str
    verb: str
    error: PPIOAgentRuntimeError | None = None
    may_have_run: bool = True


@dataclass
class Figures:
    """What happened.

    Attributes:
        calls: Each call that was made.
        events: How often each thing was done to the replicas, and how often clients repeated and read on.
        runs: How often each call ran.
    """

    calls: list[Call] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)

    def check(self) -> None:
        """Fail if anything ran twice, or an error was not true."""
        twice = [name for name, count in self.runs.items() if count > 1]
        assert not twice, f"ran more than once: {twice}"
        for call in self.calls:
            has_run = self.runs[call.name] == 1
            assert call.error is not None or has_run, f"{call} was answered and has not run"
            assert call.may_have_run or not has_run, f"{call} ran, and its error says that it did not"

    def __str__(self) -> str:
        failed = Counter(type(call.error).__name__ for call in self.calls if call.error is not None)
        counts = {
            "calls": len(self.calls),
            "answered": sum(call.error is None for call in self.calls),
            "runs": sum(self.runs.values()),
            **dict(sorted(self.events.items())),
            **{f"told {name}": count for name, count in failed.most_common()},
            "told that nothing ran": sum(not call.may_have_run for call in self.calls),
        }
        return "\n".join(f"{count:8} {what}" for what, count in counts.items())


class Chaos:
    """Does harm to the replicas, their connections and their Redis until `stop`, in a thread of its own."""

    def __init__(
        self,
        made: list[Replica],
        balancer: Balancer,
        redis: Redis | None,
        dice: random.Random,
        events: Counter[str],
    ) -> None:
        self._redis = redis
        self._replicas = made
        self._balancer = balancer
        self._dice = dice
        self._events = events
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos")

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        kinds = {"kills": self._kill, "drains": self._drain, "pauses": self._pause, "cuts": self._cut}
        weights = [30, 30, 20, 80]
        if self._redis is not None:
            kinds |= {"Redis kills": self._kill_redis, "Redis pauses": self._pause_redis}
            weights += [6, 6]  # from each of them it takes the replicas some seconds to be back at work
        first = list(kinds)  # each once, however slow the machine is
        while not self._stopped.wait(self._dice.uniform(0.05, 0.6)):
            kind = first[0] if first else self._dice.choices(list(kinds), weights)[0]
            if kinds[kind]():
                self._events[kind] += 1
                del first[:1]

    def _kill(self) -> bool:
        return self._end(signal.SIGKILL)

    def _drain(self) -> bool:
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> bool:
        """End a replica, if there is another: how long a start takes is the machine's matter."""
        up = [replica for replica in self._replicas if listens(replica.port)]
        if len(up) < 2:
            return False
        self._dice.choice(up).send(number)
        return True

    def _pause(self) -> bool:
        replica = self._dice.choice(self._replicas)
        replica.send(signal.SIGSTOP)
        time.sleep(self._dice.uniform(0.05, 1.5))
        replica.send(signal.SIGCONT)
        return True

    def _cut(self) -> bool:
        self._balancer.cut(self._dice)
        return True

    def _kill_redis(self) -> bool:
        assert self._redis is not None
        self._redis.kill()
        time.sleep(self._dice.uniform(0.0, 1.0))
        self._redis.start()
        return True

    def _pause_redis(self) -> bool:
        assert self._redis is not None
        self._redis.freeze()
        time.sleep(self._dice.uniform(0.05, 3.0))
        self._redis.thaw()
        return True


class Caller:
    """Calls the agent again and again, over its own connections, and notes what came of it."""

    def __init__(self, number: int, url: str, seed: int, figures: Figures) -> None:
        self._number = number
        self._url = url
        self._dice = random.Random(f"{seed}/{number}")
        self._figures = figures
        self._posts = 0

    async def call_until(self, deadline: float) -> None:
        """Make calls until the clock is there."""
        settings = ClientConfig(timeout=_LONGEST_CALL_SECONDS, retry_delay=0.2, retry_budget=None)
        hooks = {"request": [self._count]}
        async with (
            httpx.AsyncClient(event_hooks=hooks) as http_client,
            AgentRuntimeClient(config=settings, http_client=http_client) as client,
        ):
            count = 0
            while time.monotonic() < deadline:
                verb = self._dice.choice(["invoke", "stream", "submit"])
                call = Call(f"{self._number}-{count}", verb)
                count += 1
                self._figures.calls.append(call)
                self._posts = 0
                # A new link now and then: one that knows no instance yet.
                session = client.attach(self._url)
                if self._dice.random() < 0.8:
                    await self._greet(session)
                try:
                    await self._make(call, session)
                except PPIOAgentRuntimeError as error:
                    call.error = error

    async def _greet(self, session: SandboxSession) -> None:
        try:
            await session.ping()
        except PPIOAgentRuntimeError:
            self._figures.events["unanswered pings"] += 1

    async def _make(self, call: Call, session: SandboxSession) -> None:
        seconds = self._dice.uniform(0.0, 1.0)
        chunks = self._dice.randrange(1, 40) if call.verb == "stream" or self._dice.random() < 0.3 else None
        request: dict[str, object] = {"call": call.name, "chunks": chunks, "seconds": seconds}
        expected = call.name if chunks is None else list(range(chunks))
        if call.verb == "stream":
            return await self._stream(call, session, request, list(range(chunks or 0)))
        try:
            if call.verb == "invoke":
                result = (await session.invoke(request)).result
            else:
                handle = await session.submit(request)
                result = (await handle.result(_LONGEST_CALL_SECONDS)).result
        except PPIOAgentRuntimeError as error:
            call.may_have_run = not error.retryable
            raise
        assert result == expected, (call, result)

    async def _stream(
        self, call: Call, session: SandboxSession, request: dict[str, object], expected: list[int]
    ) -> None:
        seen = []
        try:
            async with session.stream(request) as stream:
                async for chunk in stream:
                    seen += [chunk]  # one by one: what came before an error counts
        except PPIOAgentRuntimeError as error:
            call.may_have_run = not error.retryable
            assert seen == expected[: len(seen)], (call, seen)
            raise
        assert seen == expected, (call, seen)

    async def _count(self, request: httpx.Request) -> None:
        if request.method == "POST":
            self._posts += 1
            self._figures.events["repeats"] += self._posts > 1
        elif request.url.path.endswith("/events"):
            self._figures.events["resumes"] += 1


def torture(seconds: float, seed: int, folder: Path, store: Store = "none") -> Figures:
    """Do it for so many seconds, with all that is random taken from `seed`, and return what happened.

    Args:
        folder: For the agent's program, the ledger and the logs.
        store: Where the replicas share their invocations.
    """
    figures = Figures()
    # Few are kept, as where there are many more callers.
    variables = {"PPIO_AGENT_SHUTDOWN_GRACE_SECONDS": "0.5", "PPIO_AGENT_EVENT_LOG_MAX_INVOCATIONS": "5"}
    redis: Redis | None = None
    made: list[Replica]
    with ExitStack() as stack:
        if store == "sqlite":
            variables["PPIO_AGENT_EVENT_STORE"] = f"sqlite:///{folder}/events.db"
        if store == "redis":
            redis = stack.enter_context(redis_server(folder))
            variables["PPIO_AGENT_EVENT_STORE"] = f"{redis.uri}?prefix=torture"
        made = stack.enter_context(replicas(REPLICAS, folder, AGENT, restart=True, **variables))
        with balancing([replica.port for replica in made]) as balancer:
            with Chaos(made, balancer, redis, random.Random(seed), figures.events):
                asyncio.run(_call_all(balancer.url, made, seconds, seed, figures))
            figures.events["restarts"] = sum(replica.starts - 1 for replica in made)
        for replica in made:
            replica.stop()  # what is still in a socket's buffer is run now, or never
    figures.runs.update((folder / "ledger").read_text().split())
    return figures


async def _call_all(url: str, made: list[Replica], seconds: float, seed: int, figures: Figures) -> None:
    deadline = time.monotonic() + seconds
    # Some go straight to a replica, whose instance they know until it ends.
    urls = [url, *(f"http://127.0.0.1:{replica.port}" for replica in made)]
    callers = [Caller(number, urls[number % 2 and 1 + number % 3], seed, figures) for number in range(CALLERS)]
    async with asyncio.TaskGroup() as group:
        for caller in callers:
            group.create_task(caller.call_until(deadline))


def main() -> int:
    """Run it as the command line says, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--store", choices=["none", "sqlite", "redis"], default="none", help="that the replicas share")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        figures = torture(options.seconds, options.seed, Path(folder), options.store)
    print(figures)
    figures.check()
    return 0


if __name__ == "__main__":
    sys.exit(main())
