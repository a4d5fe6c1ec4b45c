"""`/docs` without internet: Swagger UI's files from the extra, our own page without it, both in a real browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent_process import agent_process
from tests.support.raw_http import get

pytestmark = pytest.mark.contract

AGENT = """
import sys
from pydantic import BaseModel, Field
{before}
class Item(BaseModel):
    name: str

class Order(BaseModel):
    amount: int = Field(gt=0, description="How many <b>of them</b>")
    item: Item | None = None

app = PPIOAgentRuntimeApp(debug={debug})

@app.entrypoint
def handler(payload: Order) -> int:
    return payload.amount
"""
WITHOUT_EXTRA = "sys.modules['fastapi_swagger'] = None\nimport importlib.util\nfound = importlib.util.find_spec\n"
WITHOUT_EXTRA += (
    "importlib.util.find_spec = lambda name, *rest: None if name == 'fastapi_swagger' else found(name, *rest)\n"
)
OFFLINE = ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"]


@contextmanager
def page_of(url: str) -> Iterator[tuple[Any, list[str]]]:
    """Open `/docs`, and give the page and what the browser complains about."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright (dependency group test-backends)")
    chromium = shutil.which("chromium") or pytest.skip("needs the program chromium")
    told: list[str] = []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=OFFLINE)
        page = browser.new_page()
        page.on("console", lambda message: told.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("requestfailed", lambda request: told.append(request.url))
        page.goto(f"{url}/docs")
        yield page, told
        browser.close()


@pytest.mark.slow
def test_swagger_ui_shows_the_agent_without_internet(tmp_path: Path) -> None:
    pytest.importorskip("fastapi_swagger", reason="needs the extra [docs]")
    with agent_process(tmp_path, AGENT.format(before="", debug=True)) as process, page_of(process.url) as (page, told):
        page.get_by_role("button", name="POST /invocations").first.click()
        page.get_by_role("button", name="Try it out").first.click()
        page.locator("textarea").first.fill('{"amount": 7}')
        page.get_by_role("button", name="Execute").click()
        page.get_by_text('"result": 7').first.wait_for()
        assert told == []


@pytest.mark.slow
def test_own_page_shows_the_agent_where_the_extra_is_not_installed(tmp_path: Path) -> None:
    program = AGENT.format(before=WITHOUT_EXTRA, debug=True)
    with agent_process(tmp_path, program) as process, page_of(process.url) as (page, told):
        assert b"swagger" not in get(process.url, "/docs").body
        page.locator("summary", has_text="/invocations").first.click()
        told_about = page.locator("details[open]")
        told_about.get_by_text("How many <b>of them</b>").first.wait_for()
        assert told_about.get_by_text("exclusiveMinimum 0").count()
        assert told_about.locator("code", has_text="name").count()
        assert page.locator("b").count() == 0
        assert told == []


@pytest.mark.parametrize("before", ["", WITHOUT_EXTRA], ids=["with extra", "without"])
@pytest.mark.slow
def test_page_has_a_strict_policy_and_names_nobody_else(tmp_path: Path, before: str) -> None:
    with agent_process(tmp_path, AGENT.format(before=before, debug=True)) as process:
        answer = get(process.url, "/docs")
        policy = answer.headers["content-security-policy"]
        assert "script-src 'self';" in policy
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert b"http" not in answer.body
        for hostile in "/docs/../app.py", "/docs/%2e%2e/page.py", "/docs/main.py", "/docs/__init__.py":
            assert get(process.url, hostile).status == 404


def test_without_debug_there_is_none(tmp_path: Path) -> None:
    with agent_process(tmp_path, AGENT.format(before="", debug=False)) as process:
        for path in "/docs", "/docs/plain.js", "/docs/swagger-ui-bundle.js":
            assert get(process.url, path).status == 404
