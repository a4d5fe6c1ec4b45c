"""Templates of the emulator, listed and built by the platform's own SDK."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from ppio_sandbox.core import AsyncSandbox, AsyncTemplate, BuildException, SandboxException

from tests.platform.conftest import Account
from tests.support.agents import write_agent
from tests.support.platform import API_KEY, FAILS

pytestmark = pytest.mark.usefixtures("official_async_pool")  # async-only

DOCKERFILE = """\
FROM python:3.11-slim
WORKDIR /app
ENV COLOUR=blue
COPY requirements.txt .
RUN pip install -r requirements.txt
COPY . .
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = write_agent(tmp_path / "context", "worker")
    (folder / "requirements.txt").write_text("ppio-agent-runtime\n", encoding="utf-8")
    (folder / "part").mkdir()
    (folder / "part" / "deep.txt").write_text("deep", encoding="utf-8")
    return folder


async def test_a_dockerfile_becomes_a_template_that_sandboxes_start_from(modern: Account, context: Path) -> None:
    template = AsyncTemplate(file_context_path=str(context)).from_dockerfile(DOCKERFILE)
    logs: list[str] = []

    built = await AsyncTemplate.build(
        template, "my-agent:v1", on_build_logs=lambda entry: logs.append(entry.message), **modern.options
    )

    assert any("COPY . ." in line for line in logs)
    assert await AsyncTemplate.exists("my-agent", **modern.options)
    assert not await AsyncTemplate.exists("other-agent", **modern.options)
    sandbox = await AsyncSandbox.create("my-agent:v1", **modern.options)
    done = await sandbox.commands.run("pwd; cat /app/part/deep.txt; echo $COLOUR; ls /app")
    lines = done.stdout.split()
    assert lines[0].endswith("/app")
    assert lines[1:] == ["deepblue", "main.py", "part", "requirements.txt"]
    assert [str(each.build_id) for each in (await AsyncTemplate.get(built.template_id, **modern.options)).builds] == [
        built.build_id
    ]
    assert [tag.tag for tag in await AsyncTemplate.get_tags(built.template_id, **modern.options)] == ["v1"]
    assert await AsyncTemplate.delete(built.template_id, **modern.options)
    assert not await AsyncTemplate.delete(built.template_id, **modern.options)


async def test_a_start_command_runs_before_create_answers_and_without_its_environment(
    modern: Account, context: Path
) -> None:
    template = AsyncTemplate(file_context_path=str(context)).from_dockerfile(DOCKERFILE + "CMD python main.py\n")
    await AsyncTemplate.build(template, "prestarted", **modern.options)

    sandbox = await AsyncSandbox.create("prestarted", envs={"SHAPE": "round"}, **modern.options)

    headers = {"PPIO-Sandbox-Id": sandbox.sandbox_id, "PPIO-Sandbox-Port": "8080"}
    answer = httpx.post(f"{modern.server.url}/invocations", json={"do": "environment"}, headers=headers).json()
    assert answer["result"]["COLOUR"] == "blue"
    assert "SHAPE" not in answer["result"]


async def test_a_second_build_reuses_the_template_and_the_files(modern: Account, context: Path) -> None:
    names = ["same", "same"]
    built = [
        await AsyncTemplate.build(
            AsyncTemplate(file_context_path=str(context)).from_dockerfile(DOCKERFILE), name, **modern.options
        )
        for name in names
    ]

    assert built[0].template_id == built[1].template_id
    assert built[0].build_id != built[1].build_id
    assert len(modern.platform.log.of("upload")) == 2


async def test_a_build_that_fails_says_which_step_and_makes_no_sandbox(modern: Account, context: Path) -> None:
    template = AsyncTemplate(file_context_path=str(context)).from_dockerfile(DOCKERFILE + f"RUN make {FAILS}\n")

    with pytest.raises(BuildException, match=f"failed to run command 'make {FAILS}'"):
        await AsyncTemplate.build(template, "broken", **modern.options)
    with pytest.raises(SandboxException, match=r"400: template .* has no ready build"):
        await AsyncSandbox.create("broken", **modern.options)


async def test_templates_are_listed_in_pages_with_their_metadata(account: Account) -> None:
    for number in range(5):
        account.platform.add_template(f"t-{number}", name=f"agent-{number}", metadata={"agent_runtime": str(number)})

    first, last = [await AsyncTemplate.list(page=page, limit=3, **account.options) for page in (1, 2)]

    assert ([each.template_id for each in first], first.total_pages) == (["t-0", "t-1", "t-2"], 2)
    assert [each.metadata for each in last] == [{"agent_runtime": "3"}, {"agent_runtime": "4"}]


@pytest.mark.parametrize("header", [{"X-API-KEY": API_KEY}, {"Authorization": f"Bearer {API_KEY}"}])
async def test_the_first_list_has_metadata_when_asked_for(account: Account, header: dict[str, str]) -> None:
    account.platform.add_template("t-1", metadata={"agent_runtime": "{}"})

    plain, full = [
        httpx.get(f"{account.server.url}/templates", params=params, headers=header).json()
        for params in ({}, {"metadata": "true"})
    ]

    assert "metadata" not in plain[0]
    assert full[0]["metadata"] == {"agent_runtime": "{}"}


async def test_the_default_domain_builds_nothing(legacy: Account, context: Path) -> None:
    template = AsyncTemplate(file_context_path=str(context)).from_dockerfile(DOCKERFILE)

    with pytest.raises(SandboxException, match="not supported on legacy domains"):
        await AsyncTemplate.build(template, "my-agent", **legacy.options)
    answer = httpx.post(f"{legacy.server.url}/v3/templates", json={"name": "x"}, headers={"X-API-KEY": API_KEY})
    assert answer.status_code == 404
