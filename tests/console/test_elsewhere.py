"""The pages of `ppio-agent console`, for an agent elsewhere whose key stays in the command line, and of `dev`."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ppio_agent_client import SyncLocalSandboxProvider
from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.cli.agents import MAIN, write_agent
from tests.support.command_line import CommandLine
from tests.support.gates import opening
from tests.support.ports import free_port

from .agents import Weather

if TYPE_CHECKING:
    from playwright.sync_api import Request, Response

    from .console import Console

pytestmark = pytest.mark.slow

KEY = "a-key-of-the-agent-elsewhere"


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[CommandLine]:
    folder, home = tmp_path / "work", tmp_path / "home"
    folder.mkdir()
    yield CommandLine(folder, home)
    provider = SyncLocalSandboxProvider(home)
    for sandbox in provider.list_sandboxes():
        provider.kill(sandbox.sandbox_id)


@pytest.fixture
def afar(console: Console, cli: CommandLine) -> Iterator[Weather]:
    """The page, open at an agent that wants a key, which only the command line has."""
    weather = Weather(PPIOAgentRuntimeApp(AgentConfig(debug=True, agent_name="weather", api_keys=[KEY])))
    with (
        running(weather.app) as agent,
        opening(weather.gate),
        cli.console("--url", agent, PPIO_TOKEN=KEY) as (url, _),
    ):
        console.open(url)
        yield weather
        console.context.close()  # before the command line, which its pages ask for the agent's health


def test_the_page_streams_stops_and_comes_back_through_the_command_line(console: Console, afar: Weather) -> None:
    console.allowed.append("net::ERR_")
    turn = console.send("the weather?")
    turn.get_by_role("strong").filter(has_text="minus three").wait_for()  # while the agent waits
    console.button("Stop").click()
    console.wait_for_status(turn, "stopped")
    afar.cancelled.wait_for(1)
    turn = console.send("and now?")
    turn.get_by_role("strong").wait_for()
    console.wait_until_stored("runsWith('streaming')")
    console.page.reload()
    console.turns.get_by_text(re.compile(r"Resumed after event \d+")).wait_for()
    afar.gate.open()
    console.wait_for_status(console.turns.nth(1), "done")
    assert console.turns.nth(1).get_by_role("cell").count() == 6
    assert afar.runs.value == 2


def test_a_call_that_is_copied_goes_to_the_agent_itself(console: Console, afar: Weather) -> None:
    afar.gate.open()
    console.wait_for_status(console.send("the weather?"), "done")
    sent = afar.runs.value
    console.go("Run")
    curl = console.page.get_by_role("group", name="Code, bash").inner_text()
    assert console.page.url.split("/#")[0] not in curl
    done = subprocess.run(["sh", "-c", curl], env={**os.environ, "PPIO_TOKEN": KEY}, capture_output=True, check=True)
    assert b"event: done" in done.stdout
    assert afar.runs.value == sent + 1


def test_the_page_shows_runs_and_service_of_an_agent_elsewhere(console: Console, afar: Weather) -> None:
    afar.gate.open()
    console.wait_for_status(console.send("book the weather"), "interrupted")
    console.page.get_by_role("group", name="Book the flight?").get_by_role("button", name="Approve").click()
    console.turns.get_by_text("The answer was resolved: True.").wait_for()
    console.go("Run")
    runs = console.page.get_by_role("region", name="Runs of the agent")
    runs.get_by_role("row").nth(2).get_by_text("succeeded").wait_for()
    console.go("Service")
    console.page.get_by_role("rowheader", name="api_keys").wait_for()
    console.page.get_by_role("list", name=re.compile("^Spans of run")).wait_for()
    console.page.get_by_role("img", name=re.compile("Invocations in flight: now 0")).wait_for()


def test_the_browser_never_sees_the_key(console: Console, afar: Weather) -> None:
    requests: list[Request] = []
    responses: list[Response] = []
    console.page.on("request", lambda request: requests.append(request))  # noqa: PLW0108  # Playwright marks it
    console.page.reload()
    console.page.on("response", lambda response: responses.append(response))  # noqa: PLW0108
    afar.gate.open()
    console.wait_for_status(console.send("the weather?"), "done")
    for view in ("Run", "Service", "Events"):
        console.go(view)
        assert KEY not in console.page.content()
    assert console.page.get_by_role("dialog").count() == 0  # nobody is asked for one
    assert len(requests) > 20
    for request in requests:
        sent = request.all_headers()
        assert "authorization" not in sent
        assert KEY not in f"{request.url} {sent} {request.post_data}"
    for response in responses:
        assert KEY not in str(response.all_headers())


def test_the_page_of_a_new_sandbox_and_of_a_running_session(console: Console, cli: CommandLine) -> None:
    console.allowed += ["404", "net::ERR_"]  # this agent has no debug, and tells less
    write_agent(cli.folder / "parrot")
    with cli.console("--local", "--template-id", "./parrot") as (url, _):
        console.open(url)
        console.wait_for_status(console.send("count 3"), "done")
        assert console.turns.first.get_by_text("0 1 2").count() == 1
        console.go("Run")
        curl = console.page.get_by_role("group", name="Code, bash").inner_text()
        done = subprocess.run(["sh", "-c", curl], capture_output=True, check=True)  # through the command's port
        assert b"event: done" in done.stdout
        console.go("Service")
        console.page.get_by_text("Settings are shown only for agents with debug on.").wait_for()
        (sandbox,) = SyncLocalSandboxProvider(cli.home).list_sandboxes()
        with cli.console("--local", "--session-id", sandbox.session_id) as (again, _):
            console.page.goto("about:blank")
            console.open(again)
            console.wait_for_status(console.send("heard"), "done")
            heard = console.turns.first.get_by_role("group", name="Value").inner_text()
            assert heard == "3"  # from the page, from curl, and this
            console.page.goto("about:blank")


def test_the_page_of_dev_goes_on_after_a_save_and_shows_what_the_agent_prints(
    console: Console, cli: CommandLine
) -> None:
    console.allowed += ["503", "net::ERR_"]  # while it starts again
    main = write_agent(cli.folder / "parrot") / "main.py"
    port = free_port()
    with cli.terminal("dev", str(main.parent), "--port", str(port)) as terminal:
        terminal.wait_for("curl -N.*\n")
        console.open(f"http://127.0.0.1:{port}")
        console.wait_for_status(console.send("say a line"), "done")
        main.write_text(MAIN.replace('return ["said"]', 'return ["said it again"]'), encoding="utf-8")
        terminal.wait_for("Running again")
        turn = console.send("say a second line")
        console.wait_for_status(turn, "done")
        turn.get_by_text("said it again").wait_for()
        console.go("Service")
        lines = console.page.get_by_role("log", name="Log")
        lines.locator(".line", has_text="a second line").wait_for()
        console.page.goto("about:blank")
        terminal.press("q")
        assert terminal.end() == 0
    told = re.findall(r"\d\d:\d\d:\d\d (\w+ /\S*)", terminal.screen)
    assert told == ["POST /invocations"] * 2  # nothing that the page asks for itself
