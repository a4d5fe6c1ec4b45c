"""The page for everybody: axe-core, keyboard, narrow windows, light and dark, Chinese; and the pictures of the docs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from .agents import Weather, plain, typed

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

    from .console import Console

pytestmark = pytest.mark.slow

STATIC = Path(__file__).parents[2] / "packages/ppio-agent-runtime/src/ppio_agent_runtime/console/static"
NARROW: Any = {"width": 380, "height": 720}
SHOWN: dict[str, Callable[[Page], Locator]] = {
    "Conversation": lambda page: page.get_by_role("article").first,
    "Events": lambda page: page.locator(".kind").first,
    "Run": lambda page: page.get_by_role("region", name="Runs of the agent").get_by_role("row").nth(1),
    "Service": lambda page: page.locator(".serviceview:has(.waterfall) canvas").nth(7),
}
"""What a view shows once it has all of its data."""
VIEWS = tuple(SHOWN)
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="module")
def axe() -> Callable[[Page], list[str]]:
    """Let axe-core look at a page, over the devtools protocol: the page's policy stays on."""
    package = pytest.importorskip("axe_playwright_python", reason="needs axe-playwright-python (test-backends)")
    source = (Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    options = json.dumps({"runOnly": RULES, "resultTypes": ["violations"]})

    def look(page: Page) -> list[str]:
        devtools = page.context.new_cdp_session(page)
        devtools.send("Runtime.evaluate", {"expression": source})
        asked = {"expression": f"axe.run({options})", "awaitPromise": True, "returnByValue": True}
        found = devtools.send("Runtime.evaluate", asked)["result"]["value"]
        devtools.detach()
        assert found["testEngine"]["name"] == "axe-core"
        return [f"{each['id']}: {node['html'][:200]}" for each in found["violations"] for node in each["nodes"]]

    return look


def words(language: str) -> dict[str, str]:
    text = (STATIC / "words" / f"{language}.js").read_text(encoding="utf-8")
    return dict(re.findall(r'^  (\w+): "(.*)",$', text, re.MULTILINE))


def test_both_languages_have_the_same_words_with_the_same_gaps() -> None:
    english, chinese = words("en"), words("zh")
    assert len(english) > 150
    assert english.keys() == chinese.keys()
    gaps = re.compile(r"\{\w+\}")
    assert {key: set(gaps.findall(english[key])) for key in english} == {
        key: set(gaps.findall(chinese[key])) for key in chinese
    }


def test_every_word_that_the_page_asks_for_is_there() -> None:
    asked = {
        word
        for path in [*STATIC.glob("*.js"), *STATIC.glob("views/*.js")]
        for word in re.findall(r'\bt\("(\w+)"', path.read_text(encoding="utf-8"))
    }
    assert asked <= words("en").keys()


def test_all_own_files_fit_into_their_share_of_the_page() -> None:
    import gzip

    own = [path for path in STATIC.rglob("*") if path.is_file() and "vendor" not in path.parts]
    assert sum(len(gzip.compress(path.read_bytes())) for path in own) <= 76 * 1024
    assert [path.name for path in own if len(path.read_text(encoding="utf-8").splitlines()) > 400] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_any_view(
    console: Console, weather: Weather, axe: Callable[[Page], list[str]], scheme: Literal["light", "dark"]
) -> None:
    console.page.emulate_media(color_scheme=scheme)
    weather.gate.open()
    console.allowed.append("503")
    console.wait_for_status(console.send("fail"), "failed")
    turn = console.send("book the weather")
    console.wait_for_status(turn, "interrupted")
    turn.get_by_text("get_weather").click()
    turn.get_by_text("Thoughts").click()
    console.wait_for_status(console.send("the same table and code again"), "done")
    found = {"Conversation": axe(console.page)}
    for view in VIEWS[1:]:
        console.go(view)
        SHOWN[view](console.page).wait_for()
        found[view] = axe(console.page)
    console.page.keyboard.press("?")
    console.page.get_by_role("dialog").wait_for()
    found["sheet"] = axe(console.page)
    assert found == {view: [] for view in (*VIEWS, "sheet")}


def test_axe_finds_nothing_in_a_form(console: Console, axe: Callable[[Page], list[str]]) -> None:
    console.serve(typed())
    console.page.get_by_role("button", name="+ address").click()
    console.page.get_by_role("button", name="+ Item").click()
    assert axe(console.page) == []


@pytest.mark.parametrize("view", VIEWS)
def test_nothing_is_wider_than_a_phone(
    console: Console, weather: Weather, axe: Callable[[Page], list[str]], view: str
) -> None:
    console.page.set_viewport_size(NARROW)
    weather.gate.open()
    console.wait_for_status(console.send("book " + "x" * 200), "interrupted")
    console.go(view)
    SHOWN[view](console.page).wait_for()
    if view == "Events":
        console.page.locator(".kind", has_text="REASONING_MESSAGE_START").click()
        console.button("Replay from here").wait_for()
    assert console.page.evaluate("document.documentElement.scrollWidth") == NARROW["width"]
    wide = console.page.evaluate("""() => [...document.querySelectorAll("body *")].filter(each => {
        const {right, width} = each.getBoundingClientRect();
        return width && right > innerWidth + 1 && !each.closest(".scroll, pre, .hidden, [aria-hidden]");
    }).map(each => each.outerHTML.slice(0, 100))""")
    assert wide == []
    broken = """() => [...document.querySelectorAll(".runs td, td.type, .buttons button")].filter(each =>
        each.getClientRects().length && each.getBoundingClientRect().height > 60).map(each => each.innerText)"""
    assert console.page.evaluate(broken) == []
    if view == "Conversation":
        box = console.box.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= NARROW["height"]
    assert axe(console.page) == []


def test_the_page_is_used_by_keyboard_alone(console: Console) -> None:
    console.serve(plain())
    keyboard = console.page.keyboard
    console.page.locator("#message:focus").wait_for()
    keyboard.press("Escape")  # leaves the box
    keyboard.press("/")
    console.page.locator("#message:focus").wait_for()
    keyboard.type("hello n ? g e")
    keyboard.press("Enter")
    console.turns.get_by_text("You said {'prompt': 'hello n ? g e'}.").wait_for()
    console.log.focus()
    for key, view in zip("ersc", ("events", "run", "service", "conversation"), strict=True):
        keyboard.press("g")
        keyboard.press(key)
        console.page.wait_for_url(f"**/#{view}")
    keyboard.press("n")
    console.page.locator("#message:focus").wait_for()
    assert console.turns.count() == 0
    console.log.focus()
    keyboard.press("]")
    console.turns.get_by_text("hello n ? g e").first.wait_for()
    keyboard.press("?")
    sheet = console.page.get_by_role("dialog", name="Keyboard shortcuts")
    sheet.get_by_role("checkbox", name="Single letters as shortcuts").uncheck()
    keyboard.press("Escape")
    sheet.wait_for(state="detached" if sheet.count() == 0 else "hidden")
    console.log.focus()
    keyboard.press("n")
    console.send("still in this session")
    assert console.turns.count() == 2
    console.button("Edit").last.click()
    keyboard.press("Escape")
    assert console.page.get_by_text("Editing").count() == 0
    assert not console.box.input_value()


def test_the_page_speaks_the_language_of_the_browser(
    browser: Browser, console: Console, weather: Weather, images: Path
) -> None:
    context = browser.new_context(locale="zh-CN", viewport={"width": 1280, "height": 800})
    try:
        page = context.new_page()
        page.goto(console.page.url)
        page.get_by_role("textbox", name="消息").fill("奥斯陆的天气 book")
        page.keyboard.press("Enter")
        page.get_by_role("log", name="对话").get_by_role("strong").filter(has_text="minus three").wait_for()
        assert page.evaluate("document.documentElement.lang") == "zh-CN"
        weather.gate.open()
        page.get_by_role("button", name="批准").wait_for()
        page.screenshot(path=images / "console-chinese.png")
    finally:
        context.close()
