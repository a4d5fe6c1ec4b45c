"""Tasks of A2A: followed, cancelled, listed, found again, and whose they are; judged by a2a-sdk's client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ppio_agent_models import AgentInput, Interrupt, RunFinishedEvent, RunOutcome
from tests.protocols.a2a_client import (
    DIALECTS,
    answered,
    connected,
    deltas,
    heard,
    refusal,
    rpc,
    said,
    saying,
    state_of,
    texts,
)
from tests.protocols.agent import TEXT, Clock, serving

from a2a.types.a2a_pb2 import (  # isort: skip  # behind the importorskip in a2a_client
    CancelTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    SubscribeToTaskRequest,
    TaskPushNotificationConfig,
)
from a2a.utils.errors import (  # isort: skip
    A2AError,
    InvalidParamsError,
    PushNotificationNotSupportedError,
    TaskNotCancelableError,
    TaskNotFoundError,
    UnsupportedOperationError,
)
from ppio_agent_runtime.protocols import a2a_tasks  # isort: skip

pytestmark = pytest.mark.contract

WHOLE = ["".join(TEXT[:2]), TEXT[2]]


@pytest.mark.parametrize(("binding", "version"), DIALECTS)
@pytest.mark.slow
async def test_a_task_is_followed_again_from_its_beginning_and_cancelled(binding: str, version: str) -> None:
    clock = Clock()
    with serving(clock, ["a2a"]) as url:
        async with connected(url, binding, version) as client:
            first = aiter(client.send_message(saying("wait")))
            task = (await anext(first)).task
            begun = await anext(first)
            await first.aclose()
            running = await client.get_task(GetTaskRequest(id=task.id))
            again = aiter(client.subscribe(SubscribeToTaskRequest(id=task.id)))
            seen = [await anext(again), await anext(again)]
            cancelled = await client.cancel_task(CancelTaskRequest(id=task.id))
            last = [event async for event in again][-1]
            with pytest.raises(refusal(TaskNotCancelableError, binding, version)):
                await client.cancel_task(CancelTaskRequest(id=task.id))
            with pytest.raises(refusal(UnsupportedOperationError, binding, version)):
                await heard(client.subscribe(SubscribeToTaskRequest(id=task.id)))

    assert state_of(running) == "WORKING"
    assert seen[0].task.id == task.id
    assert begun.artifact_update == seen[1].artifact_update
    assert seen[1].artifact_update.artifact.parts[0].text == TEXT[0]
    assert state_of(cancelled) == state_of(last) == "CANCELED"
    assert clock.closed == 1


async def test_a_task_that_waits_for_an_answer_can_be_cancelled() -> None:
    with serving(Clock(), ["a2a"]) as url:
        async with connected(url, streaming=False) as client:
            task = await answered(client, saying("ask"))
            cancelled = await client.cancel_task(CancelTaskRequest(id=task.id))
            with pytest.raises(UnsupportedOperationError):
                await answered(client, saying("yes", "m2", task_id=task.id))

    assert state_of(cancelled) == "CANCELED"


async def asking(request: AgentInput) -> AsyncIterator[Any]:
    """Asks until it is told that it is done."""
    answer = request.resume[0].payload if request.resume else request.prompt
    yield f"You said {answer}."
    if answer != "done":
        yield RunFinishedEvent(outcome=RunOutcome(type="interrupt", interrupts=[Interrupt(id="q", message="And?")]))


@pytest.mark.parametrize(("binding", "version"), DIALECTS)
async def test_a_task_is_followed_over_its_questions_until_it_is_over(binding: str, version: str) -> None:
    with serving(asking, ["a2a"], heartbeat_seconds=0.1) as url:
        async with connected(url, binding, version) as client, connected(url, streaming=False) as other:
            task = await answered(other, saying("one"))
            following = aiter(client.subscribe(SubscribeToTaskRequest(id=task.id)))
            first = await anext(following)
            await answered(other, saying("two", "m2", task_id=task.id))
            events = [await anext(following)]
            while state_of(events[-1]) != "INPUT_REQUIRED":
                events.append(await anext(following))
            last = await answered(other, saying("done", "m3", task_id=task.id))
            rest = await heard(following)

    assert (state_of(first), said(first.task), texts(first.task)) == ("INPUT_REQUIRED", "And?", ["You said one."])
    assert state_of(events[0]) == "WORKING"
    assert deltas(events) == ["You said two."]
    assert said(events[-1].status_update) == "And?"
    if version == "0.3":  # where a question is told as the final event
        assert rest == []
    else:
        assert deltas(rest) == ["You said done."]
        assert [state_of(rest[0]), state_of(rest[-1])] == ["WORKING", "COMPLETED"]
        made = {each.artifact_update.artifact.artifact_id for each in rest if each.HasField("artifact_update")}
        assert made == {last.artifacts[-1].artifact_id}


async def test_a_task_that_is_followed_and_cancelled_while_it_waits_is_over() -> None:
    with serving(Clock(), ["a2a"]) as url:
        async with connected(url) as client, connected(url, streaming=False) as other:
            task = await answered(other, saying("ask"))
            following = aiter(client.subscribe(SubscribeToTaskRequest(id=task.id)))
            await anext(following)
            await other.cancel_task(CancelTaskRequest(id=task.id))
            [last] = await heard(following)

    assert state_of(last) == "CANCELED"


async def test_a_drain_lets_go_of_who_follows_a_task_that_waits() -> None:
    server = serving(Clock(), ["a2a"], shutdown_grace_seconds=0)
    url = server.__enter__()
    async with connected(url) as client:
        [*_, asked] = await heard(client.send_message(saying("ask")))
        following = aiter(client.subscribe(SubscribeToTaskRequest(id=asked.status_update.task_id)))
        await anext(following)
        ending = asyncio.create_task(asyncio.to_thread(server.__exit__, None, None, None))
        with pytest.raises(A2AError, match="shutting down"):
            await heard(following)
        await ending


async def test_a_caller_need_not_wait() -> None:
    clock = Clock()
    with serving(clock, ["a2a"]) as url:
        async with connected(url, streaming=False) as client:
            request = saying("wait")
            request.configuration.return_immediately = True
            task = await answered(client, request)
            state = state_of(task)
            await client.cancel_task(CancelTaskRequest(id=task.id))

    assert state in ("SUBMITTED", "WORKING")
    assert clock.closed <= 1


async def test_a_caller_sees_and_reaches_no_tasks_of_others() -> None:
    with serving(Clock(), ["a2a"], api_keys=["one", "two"]) as url:
        async with (
            connected(url, streaming=False, authorization="Bearer one") as client,
            connected(url, streaming=False, authorization="Bearer two") as other,
        ):
            mine = [(await answered(client, saying("time?", f"m{n}", context_id="c"))).id for n in range(3)]
            asking = await answered(client, saying("ask", context_id="d"))
            pages = [await client.list_tasks(ListTasksRequest(page_size=3))]
            pages.append(await client.list_tasks(ListTasksRequest(page_size=3, page_token=pages[0].next_page_token)))
            waiting = await client.list_tasks(ListTasksRequest(status=asking.status.state, include_artifacts=True))
            in_context = await client.list_tasks(ListTasksRequest(context_id="c"))
            theirs = await other.list_tasks(ListTasksRequest())
            for task_id in (mine[0], "none"):
                with pytest.raises(TaskNotFoundError):
                    await other.get_task(GetTaskRequest(id=task_id))

    assert {task.id for page in pages for task in page.tasks} == {*mine, asking.id}
    assert [len(page.tasks) for page in pages] == [3, 1]
    assert pages[0].total_size == 4
    assert not pages[0].tasks[0].artifacts
    assert [(task.id, texts(task)) for task in waiting.tasks] == [(asking.id, WHOLE)]
    assert {task.id for task in in_context.tasks} == set(mine)
    assert theirs.total_size == 0


@pytest.mark.parametrize("bound", ["_MAX_TASKS", "_MAX_HISTORY_BYTES"])
async def test_what_is_remembered_of_tasks_is_bounded(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(a2a_tasks, bound, {"_MAX_TASKS": 2, "_MAX_HISTORY_BYTES": 5000}[bound])
    with serving(Clock(), ["a2a"]) as url:
        async with connected(url, streaming=False) as client:
            tasks = [(await answered(client, saying("x" * 2000, f"m{n}", context_id="c"))).id for n in range(4)]
            listed = await client.list_tasks(ListTasksRequest())
            first = await client.get_task(GetTaskRequest(id=tasks[0]))

    assert {task.id for task in listed.tasks} == set(tasks[2:])
    assert (state_of(first), texts(first), list(first.history)) == ("COMPLETED", WHOLE, [])


async def test_a_message_that_comes_twice_runs_the_agent_once() -> None:
    clock = Clock()
    with serving(clock, ["a2a"]) as url:
        async with connected(url, streaming=False) as client:
            tasks = [await answered(client, saying("ask", "same", context_id="c")) for _ in range(2)]
            answers = [await answered(client, saying("yes", "too", task_id=tasks[0].id)) for _ in range(2)]
            other = await answered(client, saying("time?", "same", context_id="c"))
            answer = await answered(client, saying("ask", "same", context_id="d"))
            changed = await answered(client, saying("no", "same", task_id=answer.id))
        async with connected(url, streaming=False, **{"Idempotency-Key": "k"}) as client:
            keyed = [await answered(client, saying("time?")) for _ in range(2)]

    assert tasks[0].id == tasks[1].id != other.id
    assert [texts(each)[-1] for each in answers] == ["You said yes."] * 2
    assert len(answers[0].history) == 2
    assert texts(changed)[-1] == "You said no."  # the id came before, the content did not
    assert keyed[0].id == keyed[1].id
    assert len(clock.asked) == 6


async def test_tasks_outlive_the_process_where_invocations_do(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/events.db"
    clock = Clock()
    with serving(clock, ["a2a"], event_store=store) as url:
        async with connected(url, streaming=False) as client:
            task = await answered(client, saying("ask"))
    with serving(clock, ["a2a"], event_store=store) as url:
        async with connected(url, streaming=False) as client:
            found = await client.get_task(GetTaskRequest(id=task.id))
            await answered(client, saying("yes", "m2", task_id=task.id))
    with serving(clock, ["a2a"], event_store=store) as url:
        async with connected(url, streaming=False) as client:
            done = await client.get_task(GetTaskRequest(id=task.id))

    assert (state_of(found), texts(found), found.context_id) == ("INPUT_REQUIRED", WHOLE, task.context_id)
    assert (state_of(done), texts(done)) == ("COMPLETED", [*WHOLE, "You said yes."])
    assert len(clock.asked) == 2


async def test_what_is_not_offered_is_refused() -> None:
    with serving(Clock(), ["a2a"]) as url:
        async with connected(url, streaming=False) as client:
            task = await answered(client, saying("time?"))
            config = TaskPushNotificationConfig(task_id=task.id, id="p", url="https://e.example")
            with pytest.raises(PushNotificationNotSupportedError):
                await client.create_task_push_notification_config(config)
            request = saying("time?")
            request.configuration.task_push_notification_config.CopyFrom(config)
            with pytest.raises(PushNotificationNotSupportedError):
                await answered(client, request)
            with pytest.raises(InvalidParamsError, match="context"):
                await answered(client, saying("x", "m2", task_id=task.id, context_id="other"))
            with pytest.raises(TaskNotFoundError):
                await answered(client, saying("x", "m2", task_id="none"))
        told = rpc(url, "GetExtendedAgentCard", {}).json["error"]
    assert told["code"] == -32004
