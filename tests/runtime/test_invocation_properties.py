"""Whatever callers do in whatever order, over the real HTTP surface: what an invocation becomes, and what is told.

One agent of each kind serves the whole module. Its invocations do nothing but what the test lets them: make a chunk,
end, fail. Two run at a time, the others wait in the order in which they came.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from ppio_agent_runtime import AgentConfig, AgentError, PPIOAgentRuntimeApp, RequestContext
from ppio_agent_runtime.testing import running
from tests.runtime.wire import metric
from tests.support.calls import call, refusal
from tests.support.durable import cancel, events, in_state, resource
from tests.support.gates import eventually
from tests.support.raw_http import Answer, Connection, invoke, settle

pytestmark = [pytest.mark.contract, pytest.mark.slow]

PLACES = 2
FINAL = {"succeeded": "done", "failed": "error", "cancelled": "error"}
STATUS = {"succeeded": 200, "failed": 418, "cancelled": 409}
FORMS = {
    "submitted": {"Prefer": "respond-async"},
    "keyed": {},
    "numbered": {"PPIO-Agent-Protocol": "1"},
    "plain": {},
}
"""How an invocation is asked for. All but the plain one can be found when they are over."""
LEAVING_CANCELS = ("keyed", "plain")


class Script:
    """What one invocation is allowed to do, and what it did."""

    def __init__(self) -> None:
        self.path = ""
        self.allowed = self.made = 0
        self.outcome: str | None = None
        self.stopped = False

    def begin(self, context: RequestContext) -> None:
        self.path = f"/invocations/{context.invocation_id}"

    @property
    def may_go_on(self) -> bool:
        return self.made < self.allowed or self.outcome is not None

    async def turn(self) -> None:
        try:
            while not self.may_go_on:  # noqa: ASYNC110  # opened from another thread
                await asyncio.sleep(0.002)
        except asyncio.CancelledError:
            self.stopped = True
            raise

    def turn_of_thread(self, context: RequestContext) -> None:
        while not self.may_go_on and not context.cancelled:
            time.sleep(0.002)
        self.stopped = context.cancelled

    def end(self) -> str:
        if self.outcome == "failed":
            raise AgentError("told to", status_code=418)
        return "the result"

    def is_over_after_a_chunk(self) -> bool:
        if self.made < self.allowed:
            self.made += 1
            return False
        self.end()
        return True


SCRIPTS: dict[str, Script] = {}
NAMES = (f"invocation-{number}" for number in itertools.count())
URLS: dict[str, str] = {}


async def in_tasks(payload: dict[str, Any], context: RequestContext) -> Any:
    script = SCRIPTS[payload["name"]]
    script.begin(context)
    if payload["streams"]:
        return _chunks(script)
    await script.turn()
    return script.end()


async def _chunks(script: Script) -> AsyncIterator[int]:
    while True:
        await script.turn()
        if script.is_over_after_a_chunk():
            return
        yield script.made


def in_threads(payload: dict[str, Any], context: RequestContext) -> Any:
    script = SCRIPTS[payload["name"]]
    script.begin(context)
    if payload["streams"]:
        return _chunks_of_thread(script, context)
    script.turn_of_thread(context)
    return script.end()


def _chunks_of_thread(script: Script, context: RequestContext) -> Iterator[int]:
    while True:
        script.turn_of_thread(context)
        if script.stopped or script.is_over_after_a_chunk():
            return
        yield script.made


@pytest.fixture(scope="module", autouse=True)
def agents() -> Iterator[None]:
    config = AgentConfig(max_concurrency=PLACES, when_busy="queue", resume_window_seconds=3600)
    with ExitStack() as stack:
        for name, handler in {"tasks": in_tasks, "threads": in_threads}.items():
            app = PPIOAgentRuntimeApp(config)
            app.entrypoint(handler)
            URLS[name] = stack.enter_context(running(app))
        yield


class Known:
    """What the test knows of one invocation."""

    def __init__(self, url: str, form: str, streams: bool, limit_seconds: float | None) -> None:
        self.url, self.form, self.streams = url, form, streams
        self.name = next(NAMES)
        self.script = SCRIPTS[self.name] = Script()
        self.state = "queued"
        self.path = ""
        self.ended_as: Any = None
        self.connection: Connection | None = None
        limit = {} if limit_seconds is None else {"X-PPIO-Timeout": str(limit_seconds)}
        key = {"Idempotency-Key": self.name} if form in ("submitted", "keyed") else {}
        self.headers = FORMS[form] | key | limit

    @property
    def payload(self) -> dict[str, Any]:
        return {"name": self.name, "streams": self.streams}

    @property
    def is_durable(self) -> bool:
        return self.form != "plain"

    @property
    def is_over(self) -> bool:
        return self.state in FINAL

    def ask(self) -> None:
        if self.form == "submitted":
            answer = invoke(self.url, self.payload, self.headers)
            assert answer.status == 202
            self.path = answer.headers["location"]
        else:
            self.connection = Connection(self.url)
            self.connection.post(self.payload, self.headers)
            settle(self.url)

    def runs(self) -> None:
        self.state = "running"
        eventually(lambda: self.script.path != "", "it runs")
        self.path = self.script.path
        assert self.seen()["state"] == "running"

    def seen(self) -> Any:
        return resource(self.url, self.path)

    def ends(self, state: str, error_type: str | None = None) -> None:
        """Look at everything that says how it ended."""
        self.state = state
        if self.path and self.is_durable:
            in_state(self.url, self.path, state)  # without waiting there: that would count as coming back
            self.ended_as = self.seen()
            assert self.ended_as["response"]["error_type"] == error_type
        elif self.path:
            eventually(lambda: call(self.url, self.path, method="GET").status == 404, "a plain one is forgotten")
        connection, self.connection = self.connection, None
        if connection is not None:
            with connection:
                self.answered(connection, error_type)

    def answered(self, connection: Connection, error_type: str | None) -> None:
        status, headers = connection.read_head()
        if headers["content-type"].startswith("text/event-stream"):
            found = list(connection.events())
            chunks = [event for event in found if event.kind == "chunk"]
            if self.form != "numbered":
                last = chunks.pop().data if error_type else {}
            else:
                assert [event.event_id for event in found] == list(range(1, len(found) + 1))
                assert [event.kind for event in found[len(chunks) :]] == [FINAL[self.state]]
                last = found[-1].data
            assert [event.data for event in chunks] == list(range(1, self.script.made + 1))
        else:
            answer = Answer(status, headers, connection.read_body(headers))
            assert not self.script.made
            assert answer.status == (504 if error_type == "InvocationTimeoutError" else STATUS[self.state])
            last = answer.json
        assert last.get("error_type") == error_type


class Invocations(RuleBasedStateMachine):
    """queued -> running -> succeeded | failed | cancelled, and never anywhere else."""

    kind = ""
    invocations = Bundle("invocations")

    @initialize()
    def begin(self) -> None:
        self.url = URLS[self.kind]
        self.known: list[Known] = []

    def teardown(self) -> None:
        for known in getattr(self, "known", []):
            known.script.outcome = "succeeded"
            if known.connection is not None:
                known.connection.reset()
            elif not known.is_over:
                cancel(known.url, known.path)
        if hasattr(self, "url"):
            eventually(lambda: metric(self.url, "ppio_agent_invocations_in_flight") == 0, "nothing runs")

    def _in(self, state: str) -> list[Known]:
        return [known for known in self.known if known.state == state]

    def _fill_places(self) -> None:
        for waiting in self._in("queued")[: PLACES - len(self._in("running"))]:
            waiting.runs()

    @rule(target=invocations, form=st.sampled_from(sorted(FORMS)), streams=st.booleans())
    def ask(self, form: str, streams: bool) -> Known:
        known = Known(self.url, form, streams, None)
        known.ask()
        self.known.append(known)
        self._fill_places()
        return known

    @rule(form=st.sampled_from(sorted(FORMS)), streams=st.booleans())
    def ask_for_what_takes_too_long(self, form: str, streams: bool) -> None:
        known = Known(self.url, form, streams, 0.1)
        known.ask()
        self.known.append(known)
        if known.script.path:
            known.path = known.script.path
        known.ends("failed", "InvocationTimeoutError")

    @rule(known=invocations)
    def let_make_a_chunk(self, known: Known) -> None:
        if known.state == "running" and known.streams:
            known.script.allowed += 1
            made = known.script.allowed
            if known.is_durable:
                eventually(lambda: known.seen()["last_event_id"] == made, "the chunk")
            else:
                eventually(lambda: known.script.made == made, "the chunk")

    @rule(known=invocations, state=st.sampled_from(["succeeded", "failed"]))
    def let_end(self, known: Known, state: str) -> None:
        if known.state == "running":
            known.script.outcome = state
            known.ends(state, None if state == "succeeded" else "AgentError")
            self._fill_places()

    @rule(known=invocations)
    def cancel(self, known: Known) -> None:
        if not known.path:
            return  # waits, and nobody was told where
        answer = cancel(self.url, known.path)
        if known.is_over:
            assert answer.status == (200 if known.is_durable else 404)
            return
        assert answer.status == 202
        began = known.state == "running"
        known.ends("cancelled", "InvocationCancelledError")
        eventually(lambda: known.script.stopped or not began, "its handler is told")
        self._fill_places()

    @rule(known=invocations)
    def hang_up(self, known: Known) -> None:
        if known.connection is None:
            return
        known.connection.reset()
        known.connection = None
        if known.form not in LEAVING_CANCELS:
            return
        if known.state == "running":
            known.ends("cancelled", "InvocationCancelledError")
            eventually(lambda: known.script.stopped, "its handler is told")
        else:
            known.state = "cancelled"
            waiting = len(self._in("queued"))
            eventually(lambda: metric(self.url, "ppio_agent_invocations_queued") == waiting, "it waits no longer")
        self._fill_places()

    @rule(known=invocations, data=st.data())
    def come_back(self, known: Known, data: st.DataObject) -> None:
        if not known.path or not known.is_durable:
            return
        held: int = known.seen()["last_event_id"]
        after = data.draw(st.integers(0, held), label="after")
        if known.is_over:
            found = events(self.url, known.path, after).events
            assert [event.kind for event in found][-1:] == [FINAL[known.state]][: len(found)]
        else:
            with Connection(self.url) as connection:
                head = f"GET {known.path}/events HTTP/1.1\r\nHost: agent\r\nLast-Event-ID: {after}\r\n\r\n"
                connection.send(head.encode())
                if held > after:  # the head comes with the first event
                    connection.read_head()
                found = list(itertools.islice(connection.events(), held - after))
        assert [event.event_id for event in found] == list(range(after + 1, held + 1))

    @rule(known=invocations)
    def ask_again(self, known: Known) -> None:
        if known.form == "submitted" or (known.form == "keyed" and known.is_over and known.path):
            answer = invoke(self.url, known.payload, known.headers)
            assert answer.headers["x-ppio-invocation-id"] == known.path.rpartition("/")[2]
            assert answer.headers["idempotency-replayed"] == "true"
        if known.form == "submitted":
            other = invoke(self.url, known.payload | {"other": True}, known.headers)
            refusal(other, 422, "IdempotencyKeyReusedError")

    @invariant()
    def what_is_seen_is_what_is_known(self) -> None:
        for known in getattr(self, "known", []):
            if not known.path or (known.is_over and not known.is_durable):
                continue
            seen = known.seen()
            assert seen["state"] == known.state
            assert (seen["started_at"] is None) == (not known.script.path)
            if known.is_over:
                assert seen == known.ended_as
                assert seen["response"]["status"] == ("success" if known.state == "succeeded" else "error")
            else:
                assert seen["response"] is seen["finished_at"] is None

    @invariant()
    def places_are_kept(self) -> None:
        if hasattr(self, "url"):
            waiting = len(self._in("queued"))
            assert len(self._in("running")) <= PLACES
            eventually(lambda: metric(self.url, "ppio_agent_invocations_queued") == waiting, f"{waiting} wait")


class InvocationsInTasks(Invocations):
    kind = "tasks"


class InvocationsInThreads(Invocations):
    kind = "threads"


FEW = settings(
    max_examples=15,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a failure waits for its limit: shrinking would take hours
)
InvocationsInTasks.TestCase.settings = FEW
InvocationsInThreads.TestCase.settings = FEW
TestInvocationsInTasks = InvocationsInTasks.TestCase
TestInvocationsInThreads = InvocationsInThreads.TestCase
