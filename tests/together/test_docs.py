"""What the pages say in numbers and names is what the code says."""

import re
from pathlib import Path

from ppio_agent_client import ClientConfig
from ppio_agent_models import ERROR_TYPES
from ppio_agent_runtime.config import CLIENT_VARIABLES

DOCS = Path(__file__).parents[2] / "docs"
INNER_CLASSES = {"PPIOAgentRuntimeError", "AgentClientError"}
"""Told of in a sentence below the table."""


def rows(page: str, heading: str) -> dict[str, str]:
    """Return the first table below a heading: what its first column names, each once, with the second column."""
    section = (DOCS / page).read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found: list[tuple[str, str]] = re.findall(r"^\| `(\w+)` \|([^|]*)\|", section, re.MULTILINE)
    assert len({name for name, _ in found}) == len(found), "a row stands twice"
    return {name: value.strip("` ") for name, value in found}


def test_every_setting_of_a_client_is_documented_with_its_default() -> None:
    assert rows("client.md", "Configuration") == {
        name: str(field.default) for name, field in ClientConfig.model_fields.items()
    }


def test_every_error_is_documented_with_its_status() -> None:
    statuses = {name: str(kind.default_status or "") for name, kind in ERROR_TYPES.items() if name not in INNER_CLASSES}

    assert rows("wire.md", "Errors") == statuses
    assert rows("zh/errors.md", "列表") == statuses


def test_every_page_is_in_the_navigation() -> None:
    navigation = (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")

    assert [
        page.name for page in DOCS.rglob("*.md") if f": {page.relative_to(DOCS).as_posix()}\n" not in navigation
    ] == []


def test_what_the_client_reads_of_the_environment_does_not_puzzle_an_agent() -> None:
    ours = {variable for variable in ClientConfig.variables().values() if variable.startswith("PPIO_AGENT_")}

    assert ours <= CLIENT_VARIABLES
