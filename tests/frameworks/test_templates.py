"""The agents that `ppio-agent init` writes for frameworks, as processes that talk with a model over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement

from ppio_agent_models import AgentInput
from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.processes import run_to_the_end, serving
from tests.support.raw_http import LIMIT_SECONDS

KINDS = {
    "langgraph": "langchain_openai",
    "openai-agents": "agents",
    "pydantic-ai": "pydantic_ai",
    "strands": "strands",
    "adk": "google.adk",
}


@pytest.fixture(scope="module")
def model_url() -> Iterator[str]:
    """A language model behind OpenAI's API: an agent of ours that says what it heard."""
    app = PPIOAgentRuntimeApp(AgentConfig(protocols=["openai"]))

    @app.entrypoint
    async def model(request: AgentInput) -> AsyncIterator[str]:
        texts = [each["content"] for each in request.messages if each["role"] == "user"]
        heard = [text if isinstance(text, str) else "".join(part["text"] for part in text) for text in texts]
        for word in ("I ", "heard ", "/".join(heard)):
            yield word

    with running(app) as url:
        yield url


def written(kind: str, folder: Path) -> Path:
    """Return the folder of a new agent; skip where its framework is in another environment."""
    module = KINDS[kind]
    if find_spec(module.partition(".")[0]) is None or find_spec(module) is None:
        pytest.skip(f"{module} is in an environment of its own: hatch run frameworks:test")
    ended = run_to_the_end("-m", "ppio_agent_client.cli", "init", folder, "--name", "a", "--template", kind, "--json")
    assert ended.returncode == 0, ended.stderr
    for line in (folder / "requirements.txt").read_text(encoding="utf-8").split():
        required = Requirement(line)
        assert required.specifier.contains(version(required.name), prereleases=True), line
    return folder


def ask(url: str, prompt: str, **headers: str) -> httpx.Response:
    headers |= {"X-PPIO-Session-Id": "ada"}
    return httpx.post(f"{url}/invocations", json={"prompt": prompt}, headers=headers, timeout=LIMIT_SECONDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_agent_streams_and_remembers(kind: str, tmp_path: Path, model_url: str) -> None:
    folder = written(kind, tmp_path / "agent")
    # Libraries of others warn of each other; that of ours do not is tested elsewhere.
    variables = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"{model_url}/v1", "PYTHONWARNINGS": "ignore"}
    with serving("-m", "ppio_agent_runtime", folder=folder, variables=variables) as url:
        first = ask(url, "one", Accept="text/event-stream")
        second = ask(url, "two", Accept="application/json")

    data = [line.removeprefix("data: ") for line in first.text.splitlines() if line.startswith("data: ")]
    assert [json.loads(each) for each in data] == ["I ", "heard ", "one"], first.text
    assert second.json()["result"] == "I heard one/two", second.text
