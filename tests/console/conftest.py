"""A real browser for the console page: Debian's Chromium, driven by Playwright; no other machine can be reached."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.gates import opening
from tests.support.raw_http import LIMIT_SECONDS

from .agents import Weather
from .console import Console

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]


@pytest.fixture(scope="module")  # while it's open an event loop runs in this thread, which other files must not find
def browser() -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright (dependency group test-backends)")
    chromium = shutil.which("chromium") or pytest.skip("needs the program chromium (apt-get install chromium)")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def console(browser: Browser) -> Iterator[Console]:
    """A page of its own, with an empty history; it fails the test when anything went to the browser's console."""
    with ExitStack() as agents:
        context = browser.new_context(viewport={"width": 1280, "height": 800}, locale="en-US", accept_downloads=True)
        context.set_default_timeout(1000 * LIMIT_SECONDS)
        console = Console(context, agents)
        yield console
        context.close()  # before the agents that its pages ask for their health
    assert console.problems == []


@pytest.fixture
def weather(console: Console) -> Iterator[Weather]:
    """The page, open at an agent that waits in mid-stream until the gate is open."""
    weather = Weather()
    console.serve(weather.app)
    with opening(weather.gate):
        yield weather


@pytest.fixture
def images(tmp_path: Path) -> Iterator[Path]:
    """Where pictures go: a folder of the test, or docs/images with RECORD, which has each of them."""
    docs = Path(__file__).parents[2] / "docs" / "images"
    folder = docs if os.environ.get("RECORD") else tmp_path
    yield folder
    assert {path.name for path in folder.glob("*.png")} <= {path.name for path in docs.glob("*.png")}
