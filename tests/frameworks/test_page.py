"""The programs of docs/frameworks.md, and its examples, run as they are printed."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent

import httpx
import pytest

from tests.support.processes import serving

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "frameworks.md").read_text(encoding="utf-8")
PROGRAMS = {
    re.findall(r"# (\S+\.py)", text)[0]: dedent(text)
    for text in re.findall(r"^    ```python\n(.*?)^    ```", PAGE, re.MULTILINE | re.DOTALL)
}
PACKAGES = ("langgraph", "langchain_core", "agents", "pydantic_ai", "strands", "google.adk")


def skip_without(text: str) -> None:
    """Skip a program whose framework is in another environment."""
    wanted = [name for name in PACKAGES if re.search(rf"from {name}[. ]", text)]
    assert wanted
    for name in wanted:
        if find_spec(name.partition(".")[0]) is None or find_spec(name) is None:
            pytest.skip(f"{name} is in an environment of its own: hatch run frameworks:test")


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_of_the_page_serves(name: str, tmp_path: Path) -> None:
    skip_without(PROGRAMS[name])
    (tmp_path / name).write_text(PROGRAMS[name], encoding="utf-8")
    theirs = {"PYTHONWARNINGS": "default"}  # old versions warn of what they import
    with serving("-m", "ppio_agent_runtime", name, folder=tmp_path, variables=theirs) as url:
        assert httpx.get(f"{url}/ping").json()["status"] == "Healthy"
        if "TestModel" in PROGRAMS[name]:
            answer = httpx.post(f"{url}/invocations", json={"prompt": "hi", "stream": False}, timeout=60)
            assert answer.status_code == 200, answer.text


def test_the_example_of_langgraph_asks_before_it_buys() -> None:
    skip_without("from langgraph import")
    with serving(ROOT / "examples/frameworks/langgraph_shop.py") as url, httpx.Client(base_url=url, timeout=60) as http:
        headers = {"X-PPIO-Session-Id": "ada", "Accept": "application/json"}
        asked = http.post("/invocations", json={"prompt": "tea"}, headers=headers).json()["result"]
        resume = [{"interrupt_id": asked["interrupts"][0]["id"], "payload": True}]
        answer = http.post("/invocations", json={"resume": resume}, headers=headers).json()

    assert asked["interrupts"][0]["message"] == "Buy tea?"
    assert answer["result"] == "I bought tea."


def test_the_example_of_pydantic_ai_calls_its_tool() -> None:
    skip_without("from pydantic_ai import")
    with serving(ROOT / "examples/frameworks/pydantic_ai_clock.py") as url:
        answer = httpx.post(f"{url}/invocations", json={"prompt": "time?"}, headers={"Accept": "application/json"})

    assert "12:00 in zone a" in answer.json()["result"]
