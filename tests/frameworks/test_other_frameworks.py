"""Frameworks that another distribution brings: the entry-point group, with distributions that are really installed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from textwrap import dedent

import httpx

from tests.support.processes import run_to_the_end, serving

PAGE = (Path(__file__).parents[2] / "docs" / "frameworks.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Other frameworks")[2]
MODULE = re.findall(r"^```python\n(# parrot_agents\.py\n.*?)^```", SECTION, re.MULTILINE | re.DOTALL)[0]
PYPROJECT = tomllib.loads(re.findall(r"^```toml\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)[0])
GROUP = "ppio_agent_runtime.frameworks"
AGENT = """
    from parrot_agents import Parrot
    from ppio_agent_runtime import PPIOAgentRuntimeApp

    app = PPIOAgentRuntimeApp.from_agent(Parrot("Polly"))
"""


def install(folder: Path, module: str = MODULE) -> dict[str, str]:
    """Lay the page's distribution as pip does, and return the variables of programs that have it."""
    folder.mkdir()
    (folder / "parrot_agents.py").write_text(module, encoding="utf-8")
    (name, value), *_ = PYPROJECT["project"]["entry-points"][GROUP].items()
    metadata = folder / "parrot_agents-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: parrot-agents\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {value}\n", encoding="utf-8")
    return {"PYTHONPATH": str(folder)}


def write(folder: Path, program: str) -> Path:
    path = folder / "agent.py"
    path.write_text(dedent(program), encoding="utf-8")
    return path


def test_an_agent_of_an_installed_framework_serves(tmp_path: Path) -> None:
    variables = install(tmp_path / "site")
    write(tmp_path, AGENT)
    with serving("-m", "ppio_agent_runtime", "agent.py", folder=tmp_path, variables=variables) as url:
        answer = httpx.post(f"{url}/invocations", json={"prompt": "hi", "stream": False}, timeout=60)

    assert answer.json()["result"] == "Polly: hi"


def test_a_handler_is_made_once_for_an_agent(tmp_path: Path) -> None:
    counting = MODULE.replace("async def run", "agent.word += '!'\n\n        async def run")
    variables = install(tmp_path / "site", counting)
    write(tmp_path, AGENT)
    with serving("-m", "ppio_agent_runtime", "agent.py", folder=tmp_path, variables=variables) as url:
        asked = {"json": {"prompt": "hi", "stream": False}, "timeout": 60}
        answers = [httpx.post(f"{url}/invocations", **asked).json()["result"] for _ in range(2)]  # type: ignore[arg-type]

    assert answers == ["Polly!: hi", "Polly!: hi"]


def test_code_around_an_agent_of_an_installed_framework_runs_it(tmp_path: Path) -> None:
    variables = install(tmp_path / "site")
    program = write(
        tmp_path,
        """
        import asyncio
        from parrot_agents import Parrot
        from ppio_agent_runtime.frameworks import kind_of, run_agent

        async def main():
            parrot = Parrot("Polly")
            print(kind_of(parrot), [event.delta async for event in run_agent(parrot, "hi")])

        asyncio.run(main())
        """,
    )
    ended = run_to_the_end(program, variables=variables)

    assert ended.stdout == "parrot ['Polly: hi']\n", ended.stderr


def test_a_framework_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    variables = install(tmp_path / "site", "class Parrot:\n    def __init__(self, word): ...\n")
    ended = run_to_the_end(write(tmp_path, AGENT), variables=variables)

    assert ended.returncode != 0
    assert "The framework 'parrot' (parrot_agents:adapter) cannot be loaded: AttributeError" in ended.stderr


def test_an_object_that_nobody_claims_is_refused_with_the_names_of_all(tmp_path: Path) -> None:
    variables = install(tmp_path / "site")
    program = AGENT.replace("Parrot(", "type('Owl', (), {'__init__': lambda *_: None})(")
    ended = run_to_the_end(write(tmp_path, program), variables=variables)

    assert ended.returncode != 0
    assert "Google ADK, parrot." in ended.stderr
