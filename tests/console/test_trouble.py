"""When things go wrong: cut connections, an agent that is away, a stop that fails, much of everything."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from ppio_agent_models import StateDeltaEvent, StateSnapshotEvent
from ppio_agent_runtime import PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.gates import Gate, opening

from .agents import pieces, plain
from .relay import relay_to

if TYPE_CHECKING:
    from .agents import Weather
    from .console import Console

pytestmark = pytest.mark.slow

CHUNKS = 400
MARKDOWN = """# Title

paragraph

- a
- b

  more

1. x
2. y

> q
> r

| a | b |
|---|---|
| 1 | 2 |

```py
x = 1

y = 2
```

[ref] and *em*

[ref]: https://r.example
"""


def test_a_run_whose_connection_is_cut_comes_back_by_itself_and_ran_once(console: Console, weather: Weather) -> None:
    console.allowed.append("net::ERR_")
    with relay_to(console.page.url.split("/#", maxsplit=1)[0]) as relay:
        turn = console.open(relay.url).send("the weather?")
        turn.get_by_role("cell").first.wait_for()
        for number in range(2):
            relay.cut()
            turn.get_by_text(re.compile(r"Resumed after event \d+")).wait_for()
            console.go("Events")
            resumed = console.page.get_by_text("resumed ↓")
            resumed.first.wait_for()
            assert resumed.count() == 1  # both after the same event
            console.go("Conversation")
            assert turn.get_by_role("cell").count() == 3, number
        weather.gate.open()
        console.wait_for_status(turn, "done")
        assert turn.get_by_role("cell").count() == 6
        assert turn.get_by_text("minus three").count() == 1
        assert weather.runs.value == 1
        console.page.goto("about:blank")


def test_a_message_waits_until_the_agent_is_back(console: Console) -> None:
    console.allowed.append("net::ERR_INTERNET_DISCONNECTED")
    console.serve(plain())
    console.context.set_offline(True)
    console.page.get_by_role("status").filter(has_text="Unreachable").wait_for()
    console.page.get_by_text("The agent can't be reached").wait_for()
    turn = console.send("are you there?")
    console.wait_for_status(turn, "connecting")
    console.context.set_offline(False)
    console.wait_for_status(turn, "done")
    assert "are you there?" in turn.inner_text()


def test_a_stop_that_the_agent_does_not_confirm_is_not_claimed(console: Console, weather: Weather) -> None:
    console.allowed.append("500")

    def refuse(route: Any) -> None:
        route.fulfill(status=500) if route.request.method == "DELETE" else route.continue_()

    console.page.route(re.compile("/invocations/"), refuse)
    turn = console.send("the weather?")
    turn.get_by_role("strong").wait_for()
    console.button("Stop").click()
    turn.get_by_role("alert").filter(has_text="Stop not confirmed").wait_for()
    assert console.button("Stop").is_enabled()
    weather.gate.open()
    console.wait_for_status(turn, "done")


def test_a_run_that_the_agent_has_forgotten_says_so(console: Console) -> None:
    console.allowed += ["404", "net::ERR_"]
    gate = Gate()
    app = PPIOAgentRuntimeApp(debug=True)

    @app.entrypoint
    async def wait(payload: dict[str, Any]) -> Any:
        yield "so far"
        await gate.passed()

    with opening(gate):
        console.serve(app)
        turn = console.send("x")
        turn.get_by_text("so far").wait_for()
        console.wait_until_stored("runsWith('streaming')")
        console.page.route(re.compile("/invocations/.*/events"), lambda route: route.fulfill(status=404))
        console.page.reload()
        turn = console.turns.first
        console.wait_for_status(turn, "failed")
        assert "so far" in turn.inner_text()
        assert "HTTP 404" in turn.get_by_role("alert").inner_text()


def test_many_events_are_listed_without_a_row_for_each(console: Console) -> None:
    app = PPIOAgentRuntimeApp(debug=True)

    @app.entrypoint
    def much(payload: dict[str, Any]) -> Any:
        for number in range(CHUNKS):
            yield f"word {number}\n\n"

    console.serve(app)
    turn = console.send("much")
    console.wait_for_status(turn, "done")
    assert turn.get_by_text(f"word {CHUNKS - 1}", exact=True).count() == 1
    console.go("Events")
    rows = console.page.get_by_role("region", name="Events of the run")
    rows.get_by_role("button", name="Event 1,").wait_for()
    assert rows.get_by_role("row").count() < 200
    rows.evaluate("box => box.scrollTop = box.scrollHeight")
    rows.locator(".kind.done").wait_for()


def test_hostile_state_and_odd_events_are_shown_and_change_nothing_else(console: Console) -> None:
    app = PPIOAgentRuntimeApp(debug=True)

    @app.entrypoint
    def odd(payload: dict[str, Any]) -> Any:
        yield StateSnapshotEvent(snapshot={"a": 1})
        for path in ("/__proto__/hacked", "/constructor/prototype/hacked", "/missing/b"):
            yield StateDeltaEvent(delta=[{"op": "add", "path": path, "value": True}])
        yield {"type": "CUSTOM", "name": "<b>mine</b>", "value": {"x": 1}}
        yield from pieces("the end")

    console.serve(app)
    turn = console.send("x")
    console.wait_for_status(turn, "done")
    assert console.page.evaluate("({}).hacked") is None
    assert turn.get_by_text("There is nothing at /__proto__/hacked.").or_(turn.get_by_text("STATE_DELTA")).count() >= 3
    assert turn.get_by_text("<b>mine</b>", exact=True).count() == 1
    assert turn.get_by_text("the end").count() == 1


def test_the_history_is_bounded_and_a_browser_without_one_still_converses(console: Console) -> None:
    console.serve(plain())
    kept = console.page.evaluate("""async () => {
        const store = await import("./console/static/store.js");
        const session = at => ({id: `s${at}`, title: `t${at}`, createdAt: at, updatedAt: at});
        for (let at = 0; at < 60; at++) await store.saveSession(session(at));
        const bytes = 2 * 1024 * 1024;
        const run = at => ({key: `r${at}`, session: "s59", createdAt: at, status: "done", body: "", bytes});
        for (let at = 0; at < 4; at++) await store.saveRun(run(at));
        await store.prune("s59");
        return [(await store.loadSessions()).length, (await store.loadRuns("s59")).map(each => each.key)];
    }""")
    assert kept == [50, ["r2", "r3"]]
    with running(plain()) as url:
        page = console.context.new_page()
        page.add_init_script("indexedDB.open = () => { throw new Error('There is no room.') }")
        page.goto(url)
        page.get_by_role("textbox", name="Message").fill("hello")
        page.keyboard.press("Enter")
        page.get_by_text("You said {'prompt': 'hello'}.").wait_for()
        page.get_by_text("The history can't be saved: There is no room.").wait_for()
        page.close()


def test_markdown_in_pieces_is_the_same_as_the_whole(console: Console) -> None:
    console.serve(plain())
    text = MARKDOWN
    made = console.page.evaluate(
        """async text => {
        const {Markdown} = await import("./console/static/markdown.js");
        const {html} = await import("./console/static/html.js");
        const {render} = await import("preact");
        const draw = (place, upTo, isOver) =>
            render(html`<${Markdown} text=${text.slice(0, upTo)} isOver=${isOver} />`, place);
        const [pieces, whole] = [document.createElement("div"), document.createElement("div")];
        for (let upTo = 1; upTo < text.length; upTo++) draw(pieces, upTo, false);
        draw(pieces, text.length, true);
        draw(whole, text.length, true);
        return [pieces.innerText, whole.innerText, whole.querySelectorAll("li").length];
    }""",
        text,
    )
    assert re.sub(r"\s+", "", made[0]) == re.sub(r"\s+", "", made[1])
    assert made[2] == 4
