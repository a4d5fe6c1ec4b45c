"""Background work: busy while it runs, listed with its age, ended by the drain."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ppio_agent_runtime import AgentConfig, ConfigurationError, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.runtime.wire import post, request, serving, until
from tests.support.in_process import ping_status

pytestmark = pytest.mark.contract


def app_with(**settings: Any) -> PPIOAgentRuntimeApp:
    return PPIOAgentRuntimeApp(AgentConfig(**settings))


def ping(url: str) -> Any:
    return request(url, "GET", "/ping").json


async def answer(request: dict[str, Any]) -> str:
    return "value"


class Gate:
    """Something to wait for on any loop, opened from any thread."""

    def __init__(self) -> None:
        self.entered, self.cancelled = threading.Event(), threading.Event()
        self._open = threading.Event()

    def open(self) -> None:
        self._open.set()

    async def pass_through(self) -> None:
        self.entered.set()
        try:
            while not self._open.is_set():  # noqa: ASYNC110  # opened from another thread
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


def app_that_starts(gate: Gate, **settings: Any) -> PPIOAgentRuntimeApp:
    """Return an app whose entrypoint starts a background task and answers at once."""
    app = app_with(**settings)

    @app.background_task
    async def index() -> None:
        await gate.pass_through()

    @app.entrypoint
    async def agent(request: dict[str, Any]) -> str:
        _ = asyncio.create_task(index())  # noqa: RUF006  # the app keeps it
        return "started"

    return app


@pytest.mark.parametrize("isolate_handlers", [False, True])
def test_a_background_task_keeps_the_service_busy_until_it_ends(isolate_handlers: bool) -> None:
    gate = Gate()
    with running(app_that_starts(gate, isolate_handlers=isolate_handlers)) as url:
        assert post(url).json["result"] == "started"
        assert gate.entered.wait(30)
        busy = ping(url)
        gate.open()
        until(lambda: ping(url)["status"] == "Healthy")
        idle = ping(url)

    assert busy["status"] == "HealthyBusy"
    assert [work["name"] for work in busy["background"]] == ["index"]
    assert busy["background"][0]["age_seconds"] >= 0
    assert "background" not in idle


def test_a_block_counts_while_it_is_entered() -> None:
    gate = Gate()
    app = app_with()

    @app.entrypoint
    async def agent(request: dict[str, Any]) -> str:
        async with app.busy("first"), app.busy("second"):
            await gate.pass_through()
        return "done"

    with running(app) as url:
        stream = threading.Thread(target=post, args=(url,))
        stream.start()
        assert gate.entered.wait(30)
        names = [work["name"] for work in ping(url)["background"]]
        gate.open()
        stream.join()
        assert "background" not in ping(url)

    assert names == ["first", "second"]


def test_a_lifespan_may_be_busy_before_the_first_request() -> None:
    async def life(app: PPIOAgentRuntimeApp) -> AsyncIterator[None]:
        block = app.busy("loading")
        await block.__aenter__()
        yield
        await block.__aexit__(None, None, None)

    app = PPIOAgentRuntimeApp(AgentConfig(shutdown_grace_seconds=0), lifespan=life)
    app.entrypoint(answer)
    with running(app) as url:
        assert ping(url)["status"] == "HealthyBusy"


def test_a_failure_ends_it_too() -> None:
    app = app_with()
    app.entrypoint(answer)

    async def scene() -> None:
        with pytest.raises(ValueError, match="broken"):
            async with app.busy("job"):
                raise ValueError("broken")
        assert await ping_status(app) == "Healthy"

    asyncio.run(scene())


def test_beyond_its_maximum_age_it_is_listed_and_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    app = app_with(shutdown_grace_seconds=0)

    @app.background_task(max_age_seconds=0.05)
    async def stuck() -> None:
        await gate.pass_through()

    @app.entrypoint
    async def agent(request: dict[str, Any]) -> str:
        _ = asyncio.create_task(stuck())  # noqa: RUF006  # the app keeps it
        return "started"

    with running(app) as url:
        post(url)
        until(lambda: ping(url).get("background", [{}])[0].get("overdue"))
        status = ping(url)["status"]

    assert status == "Healthy"
    assert caplog.text.count("'stuck'") == 1
    assert "its maximum age" in caplog.text


def test_pings_own_fields_and_the_list_stand_side_by_side() -> None:
    gate = Gate()
    app = app_that_starts(gate)

    @app.ping
    def health() -> dict[str, Any]:
        return {"status": "healthy", "model": "loaded"}

    with running(app) as url:
        post(url)
        assert gate.entered.wait(30)
        body = ping(url)
        gate.open()

    assert (body["status"], body["model"], len(body["background"])) == ("HealthyBusy", "loaded", 1)


def test_a_drain_waits_for_background_tasks() -> None:
    gate = Gate()
    with serving(app_that_starts(gate)) as (url, server):
        post(url)
        assert gate.entered.wait(30)
        server.stop()
        until(lambda: request(url, "GET", "/ping").status == 503)
        gate.open()

    assert not gate.cancelled.is_set()


def test_a_drain_waits_for_work_that_ends_in_another_thread() -> None:
    app = app_with(shutdown_grace_seconds=1000)
    app.entrypoint(answer)
    work = app.busy("index").begin()
    with serving(app) as (url, server):
        assert ping(url)["background"][0]["name"] == "index"
        server.stop()
        until(lambda: request(url, "GET", "/ping").status == 503)
        assert ping(url)["background"]
        thread = threading.Thread(target=work.end)
        thread.start()
        thread.join()


@pytest.mark.parametrize("isolate_handlers", [False, True])
def test_a_drain_cancels_background_tasks_after_the_grace(
    isolate_handlers: bool, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    with running(app_that_starts(gate, shutdown_grace_seconds=0.05, isolate_handlers=isolate_handlers)) as url:
        post(url)
        assert gate.entered.wait(30)

    assert gate.cancelled.is_set()
    assert "The drain cancels background work" in caplog.text


async def test_a_task_within_a_task_is_ended_by_the_outer_one() -> None:
    app = app_with()
    inner_ended = asyncio.Event()

    @app.background_task
    async def inner() -> str:
        inner_ended.set()
        return "inner"

    @app.background_task
    async def outer() -> str:
        word = await inner()
        await asyncio.Event().wait()
        return word

    task = asyncio.create_task(outer())
    await inner_ended.wait()
    await asyncio.sleep(0)
    await app.drain(0)

    assert task.cancelled()


async def test_a_drain_leaves_the_callers_task_alone() -> None:
    app = app_with()
    entered, leave = asyncio.Event(), asyncio.Event()

    @app.background_task
    async def work() -> str:
        entered.set()
        await leave.wait()
        return "done"

    async def caller() -> str:
        return await work()

    task = asyncio.create_task(caller())
    await entered.wait()
    await app.drain(0)
    leave.set()

    assert await task == "done"


async def test_arguments_results_and_names_are_kept() -> None:
    app = app_with()

    @app.background_task
    async def add(left: int, *, right: int) -> int:
        """Add."""
        return left + right

    assert await add(1, right=2) == 3
    assert (add.__name__, add.__doc__) == ("add", "Add.")


@pytest.mark.parametrize("function", [lambda: None, 5, answer])
def test_only_async_functions_can_be_background_tasks(function: Any) -> None:
    app = app_with()
    if function is answer:
        assert app.background_task(function) is not function
        return
    with pytest.raises(ConfigurationError, match="async def"):
        app.background_task(function)


@pytest.mark.parametrize(("name", "age"), [("", None), ("a", 0), ("a", -1)])
def test_wrong_names_and_ages_are_clear_errors(name: str, age: float | None) -> None:
    with pytest.raises(ConfigurationError):
        app_with().busy(name, age)
