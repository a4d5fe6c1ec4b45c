"""Service: health and its history, work in flight, plots, settings and their origin, the live log, traces."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import pytest

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp

from .agents import Weather, plain

if TYPE_CHECKING:
    from .console import Console

pytestmark = pytest.mark.slow

logger = logging.getLogger("agent")


def section(console: Console, name: str) -> str:
    return console.page.get_by_role("region", name=name, exact=True).inner_text()


def test_health_and_its_history_are_shown(console: Console) -> None:
    health = ["Healthy"]
    app = plain()
    app.ping(lambda: health[0])
    console.serve(app, "service")
    console.page.get_by_role("img", name=re.compile(r"^\d+ checks, 0 not healthy")).wait_for()
    health[0] = "Unhealthy"
    console.allowed.append("503")
    console.page.get_by_role("status").filter(has_text="Unhealthy").wait_for()
    console.page.get_by_role("img", name=re.compile(r"^\d+ checks, [1-9]\d* not healthy")).wait_for()


def test_work_in_flight_and_its_numbers_are_shown(console: Console, weather: Weather) -> None:
    console.send("the weather?").get_by_role("strong").wait_for()
    console.page.get_by_role("status").filter(has_text="Busy · 1 running").wait_for()
    console.go("Service")
    in_flight = console.page.get_by_role("region", name="In flight")
    in_flight.get_by_role("listitem").filter(has_text="running").wait_for()
    console.page.get_by_role("img", name=re.compile("Invocations in flight: now 1, ")).wait_for()
    weather.gate.open()
    console.page.get_by_role("img", name=re.compile("Invocations in flight: now 0, lowest 0, highest 1")).wait_for()
    duration = console.page.get_by_role("img", name=re.compile(r"Mean duration: now [\d.]+ m?s"))
    duration.wait_for()
    assert duration.locator("canvas").count() == 1


def test_the_library_of_the_plots_is_loaded_when_they_are_first_shown(console: Console, weather: Weather) -> None:
    weather.gate.open()
    loaded = "performance.getEntriesByType('resource').filter(each => each.name.includes('uPlot')).length"
    console.wait_for_status(console.send("the weather?"), "done")
    assert console.page.evaluate(loaded) == 0
    for _ in range(2):
        console.go("Service")
        console.page.locator("canvas").nth(7).wait_for()
        console.go("Conversation")
        console.turns.first.wait_for()
    assert console.page.evaluate(loaded) == 2  # the script and its style


def test_settings_say_where_they_come_from(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPIO_AGENT_TIMEOUT", "77")
    app = PPIOAgentRuntimeApp(AgentConfig(debug=True, max_queue=7))
    app.entrypoint(lambda payload: payload)
    console.serve(app, "service")
    console.page.get_by_role("cell", name="environment PPIO_AGENT_TIMEOUT").wait_for()
    settings = section(console, "Settings")
    assert "timeout\t77\tenvironment PPIO_AGENT_TIMEOUT" in settings
    assert "max_queue\t7\targument" in settings
    assert "keep_alive_seconds\t75\tdefault" in settings


def test_the_log_is_shown_live_with_the_colours_of_terminals_as_text(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PPIO_AGENT_CONSOLE_LOG", "1")
    app = PPIOAgentRuntimeApp(debug=True)

    @app.entrypoint
    def log(payload: dict[str, str]) -> str:
        logger.warning("\x1b[31mred\x1b[0m and <b>%s</b>", payload["prompt"])
        return "logged"

    console.serve(app)
    console.wait_for_status(console.send("first"), "done")
    console.go("Service")
    lines = console.page.get_by_role("log", name="Log")
    line = lines.locator(".line", has_text="red and <b>first</b>")
    line.wait_for()
    assert line.locator(".ansi-red").inner_text() == "red"
    console.go("Conversation")
    console.wait_for_status(console.send("second"), "done")
    console.go("Service")
    lines.locator(".line", has_text="<b>second</b>").wait_for()
    assert lines.locator(".line", has_text="<b>first</b>").count() == 1
    console.page.get_by_role("combobox", name="Minimum level").select_option("ERROR")
    lines.locator(".line", has_text="<b>second</b>").wait_for(state="detached")


def test_the_last_runs_are_traced_as_a_waterfall(console: Console, weather: Weather) -> None:
    weather.gate.open()
    console.wait_for_status(console.send("the weather?"), "done")
    console.go("Service")
    waterfall = console.page.get_by_role("list", name=re.compile("^Spans of run"))
    tool = waterfall.get_by_role("button").filter(has_text="get_weather")
    tool.click()
    assert "tool" in waterfall.get_by_role("group", name="get_weather").inner_text()
    root = waterfall.get_by_role("button").first.locator(".bar").bounding_box()
    inner = tool.locator(".bar").bounding_box()
    assert root is not None
    assert inner is not None
    assert root["x"] <= inner["x"]
    assert inner["width"] < root["width"]


def test_an_agent_elsewhere_without_debug_data_is_told_as_such(console: Console) -> None:
    console.allowed += ["404", "/console/"]
    console.page.route(
        re.compile("/console/(settings|runs|spans|log)|/metrics$"), lambda route: route.fulfill(status=404)
    )
    console.serve(plain(), "service")
    console.page.get_by_text("Settings are shown only for agents with debug on.").wait_for()
    console.page.get_by_text("This agent has no metrics").wait_for()
    console.page.get_by_text("Traces are shown only for agents with debug on.").wait_for()
    console.page.get_by_text("The log is shown only for agents that run in ppio-agent dev.").wait_for()
