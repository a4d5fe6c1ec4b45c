"""Events: times, sizes, the state and what changed, filter, pause, raw, export, replay, and questions answered."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Locator

    from .agents import Weather
    from .console import Console

pytestmark = pytest.mark.slow


def events_of(console: Console, weather: Weather, prompt: str = "the weather?") -> Locator:
    """Run to the end and show the events; returns the list of them."""
    weather.gate.open()
    console.wait_for_status(console.send(prompt), "interrupted" if "book" in prompt else "done")
    console.turns.first.get_by_role("button", name="Events", exact=True).click()
    return console.page.get_by_role("region", name="Events of the run")


def types(rows: Locator) -> list[str]:
    return rows.locator("td.type .kind").all_inner_texts()


def figure(console: Console, name: str) -> str:
    return console.page.locator(".figures div").filter(has_text=name).locator("dd").inner_text()


def test_each_event_has_number_time_gap_size_and_type(console: Console, weather: Weather) -> None:
    rows = events_of(console, weather)
    listed = rows.get_by_role("row").all_inner_texts()
    assert re.match(r"1\t[\d.,]+ m?s\t\t\d+ B\tRUN_STARTED\t", listed[1])
    assert re.match(r"2\t[\d.,]+ m?s\t[\d.,]+ m?s\t\d+ B\tSTATE_SNAPSHOT\t", listed[2])
    told = types(rows)
    assert told[0] == "RUN_STARTED"
    assert told[-2:] == ["RUN_FINISHED", "done"]
    assert "progress" in told
    assert len(listed) - 1 == int(figure(console, "Events"))
    assert re.match(r"[\d.,]+ m?s", figure(console, "First event"))
    assert re.match(r"[\d.]+ kB", figure(console, "Size"))


def test_an_event_shows_the_state_by_then_and_what_it_changed(console: Console, weather: Weather) -> None:
    rows = events_of(console, weather)
    number = types(rows).index("STATE_DELTA") + 1
    rows.get_by_role("button", name=f"Event {number}, STATE_DELTA").click()
    beside = console.page.get_by_role("complementary", name=f"Event {number}")
    state = beside.get_by_role("list", name=f"State after event {number}")
    assert re.search(r'city: "Oslo"\s*changed', state.inner_text())
    assert "looked up" not in state.inner_text()
    rows.press("j")
    beside = console.page.get_by_role("complementary", name=f"Event {number + 1}")
    assert re.search(r'0: "looked up"\s*added', beside.get_by_role("list", name=re.compile("State after")).inner_text())
    assert beside.get_by_text("get_weather").is_visible()
    assert beside.get_by_text("minus three").count() == 0


def test_the_list_is_filtered_paused_and_raw(console: Console, weather: Weather) -> None:
    turn = console.send("the weather?")
    turn.get_by_role("strong").wait_for()
    console.page.keyboard.press("Escape")  # of the box: stops
    console.wait_for_status(turn, "stopped")
    second = console.send("the weather?")
    second.get_by_role("strong").wait_for()
    console.log.press("f")
    filter_box = console.page.get_by_role("searchbox", name="Filter")
    console.page.locator("#filter:focus").wait_for()
    rows = console.page.get_by_role("region", name="Events of the run")
    console.button("Pause").click()
    before = rows.get_by_role("row").count()
    weather.gate.open()
    console.page.get_by_role("option", name=re.compile("done")).wait_for(state="attached")
    assert rows.get_by_role("row").count() == before
    console.button("Pause").click()
    rows.locator(".kind.done").wait_for()
    filter_box.fill("tool_call")
    assert types(rows) == ["TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END", "TOOL_CALL_RESULT"]
    console.button("Raw").click()
    assert '{"type":"TOOL_CALL_END","toolCallId":"call-1"}' in rows.inner_text()


def test_events_are_exported_as_json_lines(console: Console, weather: Weather, tmp_path: Path) -> None:
    rows = events_of(console, weather)
    with console.page.expect_download() as download:
        console.button("Export JSON Lines").click()
    target = tmp_path / "events.jsonl"
    download.value.save_as(target)
    events: list[dict[str, Any]] = [json.loads(line) for line in target.read_text().splitlines()]
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert events[0]["data"]["type"] == "RUN_STARTED"
    assert events[-1]["event"] == "done"
    assert len(events) == rows.get_by_role("row").count() - 1
    assert "Idempotency-Key" not in target.read_text()


def test_a_run_is_replayed_from_any_event(console: Console, weather: Weather) -> None:
    rows = events_of(console, weather)
    count = rows.get_by_role("row").count()
    rows.get_by_role("button", name="Event 10,").click()
    console.button("Replay from here").click()
    console.page.get_by_text(re.compile(r"Replay at event \d+")).wait_for()
    assert rows.get_by_role("row").count() < count
    console.button("End the replay").click()
    assert rows.get_by_role("row").count() == count


def test_a_question_is_answered_by_button_once_and_in_all_tabs(console: Console, weather: Weather) -> None:
    events_of(console, weather, "book it")
    console.wait_until_stored("runsWith('interrupted')")
    console.page.reload()
    console.go("Conversation")
    question = console.page.get_by_role("group", name="Book the flight?")
    assert "120 EUR" in question.inner_text()
    other = console.second_tab()
    other.get_by_role("group", name="Book the flight?").wait_for()
    question.get_by_role("button", name="Approve").click()
    console.turns.get_by_text("The answer was resolved: True.").wait_for()
    question.wait_for(state="detached")
    other.get_by_role("group", name="Book the flight?").wait_for(state="detached")
    assert weather.runs.value == 2


def test_a_question_is_rejected_by_key_or_answered_with_json(console: Console, weather: Weather) -> None:
    weather.gate.open()
    console.wait_for_status(console.send("book it"), "interrupted")
    console.page.get_by_role("group", name="Book the flight?").press("x")
    console.turns.get_by_text("The answer was cancelled: None.").wait_for()
    console.wait_for_status(console.send("book again"), "interrupted")
    question = console.page.get_by_role("group", name="Book the flight?")
    question.get_by_role("button", name="Edit…").click()
    question.get_by_role("textbox", name="Answer").fill('{"seat": "12A"}')
    question.get_by_role("button", name="Send the answer").click()
    console.turns.get_by_text("The answer was resolved: {'seat': '12A'}.").wait_for()
