"""The console page as its users and their screen readers find it: by roles and names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ppio_agent_runtime.testing import running
from tests.support.gates import eventually

if TYPE_CHECKING:
    from contextlib import ExitStack

    from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, Request

    from ppio_agent_runtime import PPIOAgentRuntimeApp


class Console:
    """One tab with the page.

    Attributes:
        problems: What the browser complained about, and requests that left the page's own origin.
        allowed: Parts of complaints that a test causes on purpose: browsers tell each status of 400 and more.
    """

    def __init__(self, context: BrowserContext, agents: ExitStack) -> None:
        self.context = context
        self._agents = agents
        self.allowed: list[str] = ["/console/log"]
        self._said: list[str] = []
        self._url = ""
        self.page: Page = self._watched(context.new_page())

    @property
    def problems(self) -> list[str]:
        return [said for said in self._said if not any(allowed in said for allowed in self.allowed)]

    def _watched(self, page: Page) -> Page:
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self._said.append(f"error: {error}"))
        page.on("request", self._see)
        return page

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._said.append(f"{message.type}: {message.text} {message.location.get('url', '')}")

    def _see(self, request: Request) -> None:
        if not request.url.startswith((self._url, "data:", "blob:")):
            self._said.append(f"foreign request: {request.url}")

    def serve(self, app: PPIOAgentRuntimeApp, view: str = "conversation") -> Console:
        """Start an agent and open its page; both end with the test."""
        return self.open(self._agents.enter_context(running(app)), view)

    def open(self, url: str, view: str = "conversation") -> Console:
        self._url = url
        self.page.goto(f"{url}/#{view}")
        status = self.page.get_by_role("status").filter(has_text=re.compile("Healthy|Busy"))
        status.or_(self.page.get_by_role("dialog")).first.wait_for()
        return self

    def second_tab(self) -> Page:
        page = self._watched(self.context.new_page())
        page.goto(self.page.url)
        return page

    def go(self, view: str) -> None:
        self.page.get_by_role("navigation", name="Views").get_by_role("link", name=view, exact=True).click()

    @property
    def box(self) -> Locator:
        return self.page.get_by_role("textbox", name="Message")

    @property
    def log(self) -> Locator:
        return self.page.get_by_role("log", name="Conversation")

    @property
    def turns(self) -> Locator:
        return self.log.get_by_role("article")

    @property
    def sessions(self) -> Locator:
        return self.page.get_by_role("complementary", name="Sessions")

    def send(self, text: str) -> Locator:
        """Send a message; returns its turn."""
        turns = self.turns.count()
        self.box.fill(text)
        self.box.press("Enter")
        turn = self.turns.nth(turns)
        turn.wait_for()
        return turn

    def wait_until_stored(self, found: str) -> None:
        """Wait until the browser's store has something: `found` is a call of `store.js` that returns a list of it."""
        ask = f"async () => (await (await import('./console/static/store.js')).{found}).length > 0"
        eventually(lambda: bool(self.page.evaluate(ask)), found)

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def wait_for_status(self, turn: Locator, status: str) -> None:
        turn.and_(self.page.locator(f'[data-status="{status}"]')).wait_for()
