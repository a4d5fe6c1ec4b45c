"""The pictures of docs/console.md: `RECORD=1 hatch run dev:test tests/console` makes them anew."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from .agents import Weather
    from .console import Console

pytestmark = pytest.mark.slow

SAMPLES = 5
NARROW: Any = {"width": 380, "height": 720}


def test_pictures_of_a_conversation(console: Console, weather: Weather, images: Path) -> None:
    turn = console.send("What is the weather in Oslo?")
    turn.get_by_role("cell").first.wait_for()
    turn.get_by_text("get_weather").click()
    turn.get_by_role("group", name="Result").locator(".hljs-attr").first.wait_for()
    console.page.screenshot(path=images / "console-conversation.png")
    console.page.emulate_media(color_scheme="dark")
    weather.gate.open()
    console.wait_for_status(turn, "done")
    turn.locator(".hljs-keyword").first.wait_for()
    console.page.screenshot(path=images / "console-dark.png")


def test_pictures_of_events_run_and_service(console: Console, weather: Weather, images: Path) -> None:
    weather.gate.open()
    console.wait_for_status(console.send("Book the trip to Oslo"), "interrupted")
    console.page.screenshot(path=images / "console-question.png")
    console.go("Events")
    rows = console.page.get_by_role("region", name="Events of the run")
    rows.get_by_role("button", name=re.compile("STATE_DELTA")).last.click()
    console.page.get_by_role("complementary").locator(".hljs-attr").first.wait_for()
    console.page.screenshot(path=images / "console-events.png")
    console.go("Run")
    console.page.get_by_role("region", name="Runs of the agent").get_by_role("row").nth(1).wait_for()
    console.page.screenshot(path=images / "console-run.png")
    console.go("Service")
    console.page.get_by_role("list", name=re.compile("Spans of run")).wait_for()
    console.page.get_by_role("img", name=re.compile(r"CPU: now \d")).wait_for()
    url = console.page.url.split("#", maxsplit=1)[0]
    samples = "performance.getEntriesByType('resource').filter(each => each.name.endsWith('/metrics')).length"
    while console.page.evaluate(samples) < SAMPLES:
        httpx.post(f"{url}invocations", json={"prompt": "the weather"}, timeout=60)
    console.page.get_by_role("img", name=re.compile(r"Mean duration: now \d")).wait_for()
    console.page.screenshot(path=images / "console-service.png")


def test_picture_of_a_phone(console: Console, weather: Weather, images: Path) -> None:
    console.page.set_viewport_size(NARROW)
    weather.gate.open()
    console.wait_for_status(console.send("Book the trip to Oslo"), "interrupted")
    console.page.screenshot(path=images / "console-phone.png")
