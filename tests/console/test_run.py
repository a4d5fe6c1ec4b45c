"""Run: facts, headers both ways, the same call elsewhere, cut and resume, background runs, read again."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp

from .agents import Weather, failing

if TYPE_CHECKING:
    from .console import Console

pytestmark = pytest.mark.slow

PROGRAM_SECONDS = 60


def fact(console: Console, name: str) -> str:
    facts = console.page.locator(".facts-list div").filter(has=console.page.get_by_text(name, exact=True))
    return facts.locator("dd").inner_text()


def test_a_run_shows_its_facts_and_headers_both_ways(console: Console, weather: Weather) -> None:
    console.send("the weather?").get_by_role("strong").wait_for()
    console.go("Run")
    assert re.fullmatch(r"[0-9a-f]{32}", fact(console, "Run id"))
    assert fact(console, "State") == "streaming"
    console.page.get_by_text(re.compile(r"\(in \d+ min \d+ s\)")).wait_for()  # the deadline of the agent's own
    sent = console.page.get_by_role("region", name="Request headers").inner_text()
    assert "PPIO-Agent-Protocol\t1" in sent
    assert "Idempotency-Key\t" in sent
    got = console.page.get_by_role("region", name="Response headers").inner_text()
    assert f"x-ppio-invocation-id\t{fact(console, 'Run id')}" in got
    weather.gate.open()
    console.page.locator(".facts-list", has_text="done").wait_for()


def test_a_connection_that_is_cut_on_purpose_is_resumed(console: Console, weather: Weather) -> None:
    console.send("the weather?").get_by_role("strong").wait_for()
    console.go("Run")
    console.button("Cut the connection").click()
    console.page.get_by_role("status").filter(has_text="You cut the connection").wait_for()
    assert fact(console, "State") == "cut"
    weather.gate.open()
    console.button("Resume").click()
    console.page.locator(".facts-list", has_text="done").wait_for()
    console.go("Conversation")
    assert console.turns.first.get_by_role("cell").count() == 6
    console.go("Events")
    console.page.get_by_text("resumed ↓").wait_for()
    assert weather.runs.value == 1
    console.go("Run")
    console.page.get_by_role("spinbutton", name="Read again after event").fill("3")
    console.button("Read again").click()
    told = console.page.get_by_text(re.compile(r"\d+ events came again, \d+ of them the same"))
    told.wait_for()
    again, same = re.findall(r"\d+", told.inner_text())
    assert again == same
    assert int(again) == int(fact(console, "Last event").split()[0]) - 3


def test_the_same_call_runs_as_curl_python_and_javascript(console: Console, weather: Weather, tmp_path: Path) -> None:
    weather.gate.open()
    prompt = 'it\'s "so" \\ cold\n$HOME in Tromsø'
    console.box.fill(prompt)
    console.button("Send").click()
    console.wait_for_status(console.turns.first, "done")
    console.go("Run")
    same = console.page.get_by_role("region", name="The same call as")

    def program(name: str) -> str:
        same.get_by_role("button", name=name, exact=True).click()
        return same.get_by_role("group", name=re.compile("Code")).inner_text()

    programs = [["bash", "-c", program("curl")], [sys.executable, "-c", program("Python")]]
    if shutil.which("node"):
        (tmp_path / "call.mjs").write_text(program("JavaScript"))
        programs.append(["node", str(tmp_path / "call.mjs")])
    for number, command in enumerate(programs):
        said = subprocess.run(command, capture_output=True, text=True, timeout=PROGRAM_SECONDS, check=True).stdout
        assert "RUN_FINISHED" in said
        weather.runs.wait_for(number + 2)
    assert weather.prompts == [prompt] * (len(programs) + 1)


def test_a_run_in_the_background_is_listed_with_its_progress_and_cancelled(console: Console, weather: Weather) -> None:
    console.page.get_by_role("checkbox", name="In the background").check()
    turn = console.send("the weather?")
    turn.get_by_role("progressbar", name="Progress").wait_for()
    assert console.button("Send").is_enabled()  # nobody waits for it
    console.go("Run")
    runs = console.page.get_by_role("region", name="Runs of the agent")
    row = runs.get_by_role("row").nth(1)
    row.get_by_role("progressbar", name="Progress").wait_for()
    assert '{"done":1,"total":2}' in row.inner_text()
    row.get_by_role("button", name=re.compile("^Cancel")).click()
    weather.cancelled.wait_for(1)
    row.get_by_text("cancelled").wait_for()
    console.go("Conversation")
    console.wait_for_status(console.turns.first, "stopped")


def test_a_run_that_failed_before_its_first_event_keeps_its_headers(console: Console) -> None:
    console.allowed.append("500")
    console.serve(failing())
    turn = console.send("early")
    console.wait_for_status(turn, "failed")
    turn.get_by_role("button", name="Events", exact=True).click()
    console.page.get_by_text("The run failed before its first event.").wait_for()
    console.go("Run")
    assert "x-ppio-invocation-id" in console.page.get_by_role("region", name="Response headers · HTTP 500").inner_text()
    assert all(len(fact(console, name)) > 1 for name in ("Run id", "Request id", "Ended"))


def test_a_run_that_somebody_else_began_is_watched(console: Console, weather: Weather) -> None:
    url = console.page.url.split("#", maxsplit=1)[0]
    httpx.post(f"{url}invocations", json={"prompt": "from afar"}, headers={"Prefer": "respond-async"})
    console.go("Run")
    runs = console.page.get_by_role("region", name="Runs of the agent")
    runs.get_by_role("button", name="Watch").click()
    weather.gate.open()
    console.page.locator(".facts-list", has_text="done").wait_for()
    console.go("Conversation")
    console.turns.get_by_text("minus three").wait_for()


def test_a_key_is_asked_for_and_kept_in_memory_only(console: Console) -> None:
    key = "a-key-of-the-agent"
    console.allowed.append("401")
    weather = Weather(PPIOAgentRuntimeApp(AgentConfig(debug=True, api_keys=[key])))
    weather.gate.open()
    console.serve(weather.app)
    console.page.keyboard.press("Escape")
    console.go("Service")  # what it reads now and then does not ask again
    console.page.get_by_text("Settings are shown only for agents with debug on.").wait_for()
    console.button("Enter the key").click()
    console.page.get_by_label("API key").fill("wrong")
    console.button("Use this key").click()
    console.page.get_by_text("The agent refused this key.").wait_for()
    console.page.get_by_label("API key").fill(key)
    console.button("Use this key").click()
    console.page.get_by_role("region", name="Settings").get_by_text("argument").first.wait_for()
    assert console.button("Enter the key").count() == 0
    console.go("Conversation")
    console.wait_for_status(console.send("the weather?"), "done")
    console.go("Run")
    page = console.page
    curl = page.get_by_role("group", name="Code, bash")
    curl.get_by_text("$PPIO_TOKEN").wait_for()
    assert key not in page.content()
    kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, location.href])")
    assert key not in kept
    stored = """async () => {
        const [{name}] = await indexedDB.databases();
        const open = indexedDB.open(name);
        const database = await new Promise(done => open.onsuccess = () => done(open.result));
        const all = [...database.objectStoreNames].map(store => new Promise(done => {
            const asked = database.transaction(store).objectStore(store).getAll();
            asked.onsuccess = () => done(asked.result);
        }));
        return JSON.stringify(await Promise.all(all));
    }"""
    found = page.evaluate(stored)
    assert len(json.loads(found)[0]) > 1
    assert key not in found
    assert "wrong" not in found
