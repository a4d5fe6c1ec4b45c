"""The states of an invocation over the real HTTP surface, whatever callers do in whatever order."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from ppio_agent_runtime import AgentConfig, AgentError, PPIOAgentRuntimeApp, RequestContext
from ppio_agent_runtime.testing import running
from tests.support.durable import cancel, events, in_state, resource, submit
from tests.support.gates import Gate
from tests.support.raw_http import invoke

pytestmark = pytest.mark.contract

PLACES = 2
FINAL = {"succeeded": "done", "failed": "error", "cancelled": "error"}


@dataclass
class Known:
    """What the model knows of one invocation."""

    name: str
    path: str
    state: str
    go_on: Gate = field(default_factory=Gate)
    fails: bool = False
    ended_as: Any = None


class Invocations(RuleBasedStateMachine):
    """queued -> running -> succeeded | failed | cancelled, and never anywhere else."""

    invocations = Bundle("invocations")

    @initialize()
    def serve(self) -> None:
        self.known: dict[str, Known] = {}
        self.gates: dict[str, Gate] = {}
        app = PPIOAgentRuntimeApp(AgentConfig(max_concurrency=PLACES, when_busy="queue"))

        @app.entrypoint
        async def handler(payload: dict[str, Any], context: RequestContext) -> str:
            name = str(payload["name"])
            context.progress("begun")
            await self.gates[name].passed()
            if self.known[name].fails:
                raise AgentError("told to")
            return "result of " + name

        self.stack = ExitStack()
        self.url = self.stack.enter_context(running(app))

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            for gate in self.gates.values():
                gate.open()
            self.stack.close()

    def _with(self, state: str) -> list[Known]:
        return [known for known in self.known.values() if known.state == state]

    def _moves_to(self, known: Known, state: str) -> None:
        known.state = state
        if state in FINAL:
            in_state(self.url, known.path, state)
            known.ended_as = resource(self.url, known.path)
        free = PLACES - len(self._with("running"))
        for waiting in self._with("queued")[:free]:
            waiting.state = "running"
        for each in self._with("running"):
            in_state(self.url, each.path, "running")

    @rule(target=invocations)
    def submit(self) -> str:
        name = str(len(self.known))
        gate = self.gates[name] = Gate()
        self.known[name] = known = Known(name, "", "queued", gate)
        known.path = submit(self.url, {"name": name}, {"Idempotency-Key": name})
        self._moves_to(known, "queued")
        return name

    @rule(name=invocations, fails=st.booleans())
    def let_end(self, name: str, fails: bool) -> None:
        known = self.known[name]
        if known.state == "running":
            known.fails = fails
            known.go_on.open()
            self._moves_to(known, "failed" if fails else "succeeded")

    @rule(name=invocations)
    def cancel(self, name: str) -> None:
        known = self.known[name]
        assert cancel(self.url, known.path).status == (200 if known.state in FINAL else 202)
        if known.state not in FINAL:
            self._moves_to(known, "cancelled")

    @rule(name=invocations)
    def ask_again(self, name: str) -> None:
        known = self.known[name]
        headers = {"Idempotency-Key": name, "Prefer": "respond-async"}
        answer = invoke(self.url, {"name": name}, headers)
        assert (answer.status, answer.json["invocation_id"]) == (202, known.path.rpartition("/")[2])
        assert answer.headers["idempotency-replayed"] == "true"

    @rule(name=invocations)
    def read_the_log(self, name: str) -> None:
        known = self.known[name]
        if known.state in FINAL:
            found = events(self.url, known.path).events
            assert [event.event_id for event in found] == list(range(1, len(found) + 1))
            assert [event.kind for event in found][-1] == FINAL[known.state]
            assert len(found) == known.ended_as["last_event_id"]

    @invariant()
    def what_is_seen_is_what_is_known(self) -> None:
        for known in getattr(self, "known", {}).values():
            seen = resource(self.url, known.path)
            assert seen["state"] == known.state
            if known.state in FINAL:
                assert seen == known.ended_as
                assert seen["response"]["status"] == ("success" if known.state == "succeeded" else "error")
                assert seen["finished_at"] is not None
            else:
                assert seen["response"] is seen["finished_at"] is None
                assert (seen["started_at"] is None) == (known.state == "queued")


Invocations.TestCase.settings = settings(
    max_examples=40, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestInvocationStates = Invocations.TestCase
