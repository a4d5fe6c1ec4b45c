"""The conversation: it streams, stops, comes back, is kept; sessions; what an agent says cannot run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from .agents import drawing, failing, plain

if TYPE_CHECKING:
    from .agents import Weather
    from .console import Console

pytestmark = pytest.mark.slow


def test_text_is_shown_as_it_comes_and_rendered_as_markdown(console: Console, weather: Weather) -> None:
    turn = console.send("the weather in Oslo?")
    turn.get_by_role("strong").filter(has_text="minus three").wait_for()
    assert console.log.get_attribute("aria-busy") == "true"
    assert turn.get_by_role("group", name="Code, python").count() == 0  # that comes behind the gate
    weather.gate.open()
    console.wait_for_status(turn, "done")
    assert console.log.get_attribute("aria-busy") == "false"
    assert turn.get_by_role("cell").all_inner_texts() == ["09:00", "-4", "3 m/s", "12:00", "-3", "5 m/s"]
    code = turn.get_by_role("group", name="Code, python")
    code.locator(".hljs-keyword").first.wait_for()
    assert code.inner_text().startswith("def celsius(fahrenheit: float)")
    link = turn.get_by_role("link", name="forecast (weather.example)")
    assert link.get_attribute("rel") == "noopener noreferrer"
    assert link.get_attribute("target") == "_blank"


def test_reasoning_and_tool_calls_are_folded_and_open(console: Console, weather: Weather) -> None:
    weather.gate.open()
    turn = console.send("the weather?")
    console.wait_for_status(turn, "done")
    assert "I look up the weather" not in turn.inner_text()
    turn.get_by_text("Thoughts").click()
    turn.get_by_text("I look up the weather of the city first.").wait_for()
    turn.get_by_text("get_weather").click()
    assert '"city": "Oslo"' in turn.get_by_role("group", name="Arguments").inner_text()
    assert '"sky": "snow"' in turn.get_by_role("group", name="Result").inner_text()
    console.log.press("t")
    turn.get_by_role("group", name="Arguments").wait_for(state="detached")


def test_stop_cancels_the_run_at_the_agent_and_says_so(console: Console, weather: Weather) -> None:
    turn = console.send("the weather?")
    turn.get_by_role("strong").wait_for()
    console.button("Stop").click()
    console.wait_for_status(turn, "stopped")
    weather.cancelled.wait_for(1)
    assert turn.get_by_text("Stopped", exact=True).is_visible()
    assert console.page.evaluate("document.activeElement.id") == "message"
    assert console.button("Send").is_visible()


def test_a_run_that_has_said_nothing_yet_can_be_stopped_with_escape(console: Console, weather: Weather) -> None:
    console.allowed.append("409")
    turn = console.send("slow")
    weather.runs.wait_for(1)
    console.box.press("Escape")
    console.wait_for_status(turn, "stopped")
    weather.cancelled.wait_for(1)


def test_a_reload_in_mid_stream_goes_on_where_it_was_and_nothing_runs_twice(console: Console, weather: Weather) -> None:
    turn = console.send("the weather?")
    turn.get_by_role("strong").wait_for()
    console.wait_until_stored("runsWith('streaming')")
    console.page.reload()
    turn = console.turns.first
    turn.get_by_role("strong").filter(has_text="minus three").wait_for()
    turn.get_by_text(re.compile(r"Resumed after event \d+")).wait_for()
    weather.gate.open()
    console.wait_for_status(turn, "done")
    assert turn.get_by_role("cell").count() == 6
    assert turn.get_by_text("minus three").count() == 1
    assert weather.runs.value == 1


def test_a_reload_before_the_first_event_joins_the_run_by_its_key(console: Console, weather: Weather) -> None:
    console.send("slow")
    weather.runs.wait_for(1)
    console.wait_until_stored("runsWith('connecting')")
    console.page.reload()
    weather.gate.open()
    turn = console.turns.first
    console.wait_for_status(turn, "done")
    assert weather.runs.value == 1


def test_the_history_is_kept_in_sessions_that_can_be_renamed_and_deleted(console: Console) -> None:
    console.serve(plain())
    console.wait_for_status(console.send("first question"), "done")
    console.button("+ New").click()
    console.wait_for_status(console.send("second question"), "done")
    names = console.sessions.get_by_role("listitem").get_by_role("button")
    assert "second question" in names.nth(0).inner_text()
    console.sessions.get_by_role("button", name="Rename first question").click()
    console.page.get_by_role("textbox", name="Name of the session").fill("Renamed")
    console.page.keyboard.press("Enter")
    console.wait_until_stored("loadSessions().then(all => all.filter(each => each.title === 'Renamed'))")
    console.page.reload()
    console.sessions.get_by_role("button", name="Renamed", exact=False).first.click()
    console.turns.get_by_text("You said {'prompt': 'first question'}.").wait_for()
    assert console.turns.count() == 1
    console.sessions.get_by_role("button", name="Delete second question").click()
    console.sessions.get_by_role("button", name="Delete", exact=True).click()
    console.sessions.get_by_text("second question").wait_for(state="detached")
    console.wait_until_stored("loadSessions().then(all => all.length === 1 ? all : [])")
    console.page.reload()
    console.sessions.get_by_text("Renamed").wait_for()
    assert console.sessions.get_by_text("second question").count() == 0


def test_sessions_stream_side_by_side(console: Console, weather: Weather) -> None:
    console.send("first").get_by_role("strong").wait_for()
    console.button("+ New").click()
    second = console.send("second")
    second.get_by_role("strong").wait_for()
    assert console.sessions.get_by_role("img", name="Running").count() == 2
    weather.gate.open()
    console.wait_for_status(second, "done")
    console.sessions.get_by_role("button", name="first").first.click()
    console.wait_for_status(console.turns.first, "done")
    assert "first" in console.turns.first.inner_text()


def test_a_message_is_sent_again_and_edited(console: Console) -> None:
    console.serve(plain())
    console.wait_for_status(console.send("one"), "done")
    console.turns.first.get_by_role("button", name="Resend").click()
    console.wait_for_status(console.turns.nth(1), "done")
    assert "'prompt': 'one'" in console.turns.nth(1).inner_text()
    console.box.press("ArrowUp")
    assert console.box.input_value() == "one"
    console.box.fill("two")
    console.box.press("Enter")
    console.turns.get_by_text("You said {'prompt': 'two'}.").wait_for()
    assert console.turns.count() == 2
    console.turns.first.get_by_role("button", name="Edit").click()
    console.box.fill("three")
    console.box.press("Enter")
    console.turns.get_by_text("You said {'prompt': 'three'}.").wait_for()
    assert console.turns.count() == 1


def test_raw_json_is_sent_as_it_is_and_refused_when_it_is_none(console: Console) -> None:
    console.serve(plain())
    console.box.fill("hello")
    console.button("JSON").click()
    box = console.page.get_by_role("textbox", name="Message as JSON")
    assert box.input_value() == '{\n  "prompt": "hello"\n}'
    box.fill('{"a": ')
    console.button("Send").click()
    console.page.get_by_role("alert").filter(has_text="This is not JSON").wait_for()
    box.fill('{"a": [1, null]}')
    box.press("Control+Enter")
    console.turns.get_by_text("You said {'a': [1, None]}.").wait_for()


def test_a_failure_says_what_failed_and_can_be_sent_again(console: Console) -> None:
    console.allowed.append("500")
    console.serve(failing())
    turn = console.send("now")
    console.wait_for_status(turn, "failed")
    said = turn.get_by_role("alert").inner_text()
    assert "ValueError" in said
    assert "The cupboard is bare." in said
    assert "HTTP 500" in said
    assert "Request id" in said
    frames = turn.get_by_role("list", name="Where the agent's code failed").get_by_role("listitem")
    frames.filter(has_text='raise ValueError("The cupboard is bare.")').wait_for()
    assert re.match(r"tests/console/agents.py:\d+ fail\n", frames.first.inner_text())
    assert frames.count() == 1  # none of the runtime's or of Python's
    turn.get_by_role("alert").get_by_role("button", name="Resend").click()
    console.wait_for_status(console.turns.nth(1), "failed")
    late = console.send("late")
    console.wait_for_status(late, "failed")
    assert "So far, so good." in late.inner_text()


def test_nothing_that_an_agent_says_can_run_or_reach_another_host(console: Console) -> None:
    console.serve(plain())
    turn = console.send("hostile")
    console.wait_for_status(turn, "done")
    page = console.page
    for link in turn.locator("a").all():
        assert re.match("https?://|$", link.get_attribute("href") or ""), link.evaluate("a => a.outerHTML")
    assert turn.locator("img, svg, iframe, form, input, style, script").count() == 0
    assert turn.get_by_role("link", name="leak (evil.example)").count() == 1
    assert page.locator("#message").count() == 1
    assert "<script>window.hacked = 1</script>" in turn.inner_text()
    assert page.evaluate("window.hacked") is None


def test_hostile_svg_is_an_image_of_a_tool_or_text_and_runs_nothing(console: Console) -> None:
    console.serve(drawing())
    turn = console.send("draw")
    console.wait_for_status(turn, "done")
    assert turn.locator("img, svg, iframe, object, embed").count() == 0  # none of the text became one
    assert turn.get_by_text("picture 0").count() == 1
    assert [link.get_attribute("href") for link in turn.locator(".markdown a").all()] == [None] * 10
    turn.locator("summary, button").filter(has_text="draw").first.click()
    image = turn.get_by_role("img", name="Image")
    assert image.count() == 1  # HTML, a type that is none and an address of another host are text
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 40  # it was drawn
    turn.get_by_text("https://evil.example/26.png").first.wait_for()
    turn.locator("summary").filter(has_text="<svg").last.click()
    turn.get_by_role("group", name="<svg").get_by_text("foreignObject").wait_for()
    assert turn.locator("svg, iframe, object, embed").count() == 0
    console.go("Events")
    console.page.get_by_role("region", name="Events of the run").press("j")
    console.page.get_by_role("complementary", name=re.compile("^Event")).wait_for()
    assert console.page.evaluate("window.hacked") is None  # requests to other hosts fail the fixture


def test_hostile_names_of_sessions_and_messages_are_text(console: Console) -> None:
    name = "<img src=x onerror=window.hacked=1>"
    console.serve(plain())
    console.wait_for_status(console.send(name), "done")
    assert console.sessions.get_by_text(name).count() == 1
    assert console.page.evaluate("window.hacked") is None


def test_enter_does_nothing_while_an_input_method_composes(console: Console) -> None:
    console.serve(plain())
    console.box.fill("nihao")
    console.box.dispatch_event("keydown", {"key": "Enter", "isComposing": True, "bubbles": True})
    console.box.dispatch_event("keydown", {"key": "Enter", "keyCode": 229, "bubbles": True})
    console.box.press("Shift+Enter")
    console.box.press("Enter")
    console.turns.get_by_text("You said {'prompt': 'nihao").wait_for()
    assert console.turns.count() == 1


def test_the_log_follows_its_end_until_the_reader_scrolls_up(console: Console, weather: Weather) -> None:
    console.page.set_viewport_size({"width": 700, "height": 330})
    turn = console.send("the weather?")
    turn.get_by_role("strong").wait_for()
    console.log.hover()
    console.page.mouse.wheel(0, -400)
    to_end = console.page.get_by_role("button", name=re.compile("↓"))
    to_end.wait_for()
    weather.gate.open()
    console.page.get_by_role("button", name=re.compile(r"↓ \d+ new")).click()
    console.wait_for_status(turn, "done")
    to_end.wait_for(state="detached")
    assert console.log.evaluate("log => log.scrollHeight - log.scrollTop - log.clientHeight") < 40
