"""The code that a page shows, run as it is printed."""

import re
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.processes import run_to_the_end, serving

_FENCE = re.compile(r"^```(python|yaml)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_APP = re.compile(r"^app = \w+App\(", re.MULTILINE)
_FILE = re.compile(r"# (\S+\.(?:py|yaml))\n")


@dataclass(frozen=True)
class Snippet:
    """A fenced block: the file that its first line names, or one of its own, and what is in it."""

    file: str
    text: str

    @property
    def is_program(self) -> bool:
        return self.file.endswith(".py")

    @property
    def is_agent(self) -> bool:
        return self.is_program and _APP.search(self.text) is not None


def snippets(page: Path) -> list[Snippet]:
    """Return the Python and YAML blocks of a page, in order."""
    found = []
    for number, (language, text) in enumerate(_FENCE.findall(page.read_text(encoding="utf-8")), 1):
        named = _FILE.match(text)
        found.append(Snippet(named[1] if named else f"snippet_{number}.{language[:2]}", text))
    return found


def write(page: Path, folder: Path) -> None:
    """Write the snippets of a page into `folder`."""
    for snippet in snippets(page):
        path = folder / snippet.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(snippet.text, encoding="utf-8")


def run(snippet: Snippet, folder: Path) -> str:
    """Run a program of `folder`: an agent must start, feel well and stop; any other program must end well.

    Files of tests are run by pytest.

    A program finds the address of a running agent, that of `agent/main.py`, in `AGENT_URL`.

    Returns:
        What it printed.
    """
    if snippet.is_agent:
        with serving("-m", "ppio_agent_runtime", snippet.file, folder=folder) as url:
            assert httpx.get(f"{url}/ping").json()["status"] == "Healthy"
        return ""
    variables = {"PPIO_AGENT_HOME": str(folder / "home")}
    if snippet.file.startswith("test_"):
        # Plugins of others warn where they are not configured.
        options = {"PYTHONWARNINGS": "default"}
        finished = run_to_the_end("-m", "pytest", "-q", snippet.file, folder=folder, variables=options)
        assert finished.returncode == 0, finished.stdout
        return finished.stdout
    if "AGENT_URL" in snippet.text:
        with serving("-m", "ppio_agent_runtime", "agent/main.py", folder=folder) as url:
            finished = run_to_the_end(snippet.file, folder=folder, variables=variables | {"AGENT_URL": url})
    else:
        finished = run_to_the_end(snippet.file, folder=folder, variables=variables)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout
