"""What README and docs print, runs."""

import re
from pathlib import Path

import pytest

from tests.support.snippets import Snippet, run, snippets, write

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
QUICKSTART = ROOT / "docs/quickstart.md"
DEMONSTRATION = ROOT / "docs/operate.md"
"""Its programs need each other, and are run together by tests/runtime/test_operate_page.py."""
TRANSLATIONS = [ROOT / "README.zh-CN.md", *sorted(ROOT.glob("docs/zh/*.md"))]
PAGES = [README, *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("packages/*/README.md"))]
PROGRAMS = [
    pytest.param(page, snippet, id=f"{page.relative_to(ROOT)}:{snippet.file}")
    for page in PAGES
    if page != DEMONSTRATION
    for snippet in snippets(page)
    if snippet.is_program
]


@pytest.mark.parametrize(("page", "snippet"), PROGRAMS)
@pytest.mark.slow
def test_a_program_on_a_page_runs_as_it_is_printed(page: Path, snippet: Snippet, tmp_path: Path) -> None:
    write(QUICKSTART, tmp_path)  # pages speak of the agent that the quickstart makes
    write(page, tmp_path)

    run(snippet, tmp_path)


@pytest.mark.slow
def test_the_readmes_caller_prints_what_the_readme_says(tmp_path: Path) -> None:
    write(README, tmp_path)
    (backend,) = (snippet for snippet in snippets(README) if snippet.file == "backend.py")

    assert run(backend, tmp_path).splitlines() == ["1. My name is Ada.", "2. I live in Lisbon."]


def test_the_readmes_programs_are_as_short_as_promised() -> None:
    lines = {
        snippet.file: len([line for line in snippet.text.splitlines() if line.strip() and line[0] != "#"])
        for snippet in snippets(README)
    }

    assert lines["agent/main.py"] <= 12
    assert lines["backend.py"] <= 12
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 180


@pytest.mark.parametrize("page", PAGES + TRANSLATIONS, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))

    assert [link for link in links if not (page.parent / link).exists()] == []
