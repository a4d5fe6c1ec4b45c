"""The emulator is honest: the platform's own SDK, which we did not write, takes it for the platform."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import httpx
import pytest
from ppio_sandbox.core import (
    AsyncSandbox,
    AuthenticationException,
    CommandExitException,
    RateLimitException,
    SandboxException,
    SandboxNotFoundException,
    SandboxQuery,
    SandboxState,
    TimeoutException,
)

from tests.platform.conftest import Account
from tests.support.agents import write_agent
from tests.support.gates import eventually

pytestmark = pytest.mark.usefixtures("official_async_pool")  # async-only


def add_template(account: Account, folder: Path) -> None:
    account.platform.add_template("t-1", write_agent(folder / "source", "worker"), name="worker")


def answers(client: httpx.Client, headers: dict[str, str]) -> bool:
    return client.get("/ping", headers=headers).status_code == 200


@pytest.fixture
def ready(account: Account, tmp_path: Path) -> Account:
    """Either flavour."""
    add_template(account, tmp_path)
    return account


@pytest.fixture
def newer(modern: Account, tmp_path: Path) -> Account:
    """The newer flavour, for what does not depend on it."""
    add_template(modern, tmp_path)
    return modern


async def test_a_command_runs_with_its_environment_where_the_template_put_the_files(ready: Account) -> None:
    sandbox = await AsyncSandbox.create("t-1", envs={"COLOUR": "blue"}, **ready.options)

    done = await sandbox.commands.run("cd /app && ls && echo $COLOUR $SHAPE", envs={"SHAPE": "round"})

    assert (done.exit_code, done.stdout.split()) == (0, ["main.py", "blue", "round"])
    assert await sandbox.kill()
    assert not await sandbox.kill()
    assert not await sandbox.is_running()


async def test_a_command_that_fails_tells_its_code_and_both_outputs(newer: Account) -> None:
    sandbox = await AsyncSandbox.create("worker", **newer.options)

    with pytest.raises(CommandExitException) as caught:
        await sandbox.commands.run("echo out; echo err >&2; exit 3")

    assert (caught.value.exit_code, caught.value.stdout, caught.value.stderr) == (3, "out\n", "err\n")


async def test_a_command_ends_at_its_deadline(newer: Account) -> None:
    sandbox = await AsyncSandbox.create("t-1", **newer.options)

    with pytest.raises(TimeoutException, match="deadline exceeded"):
        await sandbox.commands.run("while true; do echo tick; sleep 0.02; done", timeout=0.3)

    assert await sandbox.commands.list() == []
    assert [call.connect_timeout_ms for call in newer.platform.log.of("start")] == [300]


async def test_a_real_agent_answers_on_port_8080_of_its_sandbox(newer: Account) -> None:
    one, other = [await AsyncSandbox.create("t-1", **newer.options) for _ in range(2)]
    for sandbox in (one, other):
        await sandbox.commands.run("cd /app && sudo -E python main.py", background=True, timeout=0)
    with httpx.Client(base_url=newer.server.url) as client:
        for sandbox in (one, other):
            headers = {"PPIO-Sandbox-Id": sandbox.sandbox_id, "PPIO-Sandbox-Port": "8080"}
            eventually(partial(answers, client, headers), "the agent")
            answer = client.post("/invocations", json={"do": "environment"}, headers=headers).json()
            assert answer["result"]["PPIO_SANDBOX_ID"] in sandbox.sandbox_id
        host = f"8080-{one.sandbox_id}.{one.sandbox_domain}"
        assert client.get("/ping", headers={"Host": host}).json()["status"] == "Healthy"
        await one.kill()
        assert client.get("/ping", headers={"Host": host}).status_code == 502


async def test_lists_come_in_pages_and_can_be_filtered(ready: Account) -> None:
    strange = {"who": "a b/c?&=%25+ü", "kind of": "agent"}
    made = [await AsyncSandbox.create("t-1", metadata=strange | {"n": str(n)}, **ready.options) for n in range(5)]
    other = await AsyncSandbox.create("t-1", metadata={"who": "else"}, **ready.options)

    paginator = AsyncSandbox.list(query=SandboxQuery(metadata=strange), limit=2, **ready.options)
    pages = []
    while paginator.has_next:
        pages.append([each.sandbox_id for each in await paginator.next_items()])

    assert [len(page) for page in pages] == [2, 2, 1]
    assert {name for page in pages for name in page} == {each.sandbox_id for each in made}
    await other.pause()
    paginator = AsyncSandbox.list(query=SandboxQuery(state=[SandboxState.PAUSED]), **ready.options)
    assert [each.sandbox_id for each in await paginator.next_items()] == [other.sandbox_id]


def state_of(pid: int) -> str:
    """Return how a process is, as /proc has it in a letter."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]


async def test_a_paused_sandbox_stands_still_until_somebody_connects(ready: Account) -> None:
    sandbox = await AsyncSandbox.create("t-1", **ready.options)
    handle = await sandbox.commands.run("while true; do echo tick; sleep 0.02; done", background=True, timeout=0)
    await sandbox.pause()

    # A stop signal that is sent is not obeyed yet.
    eventually(lambda: state_of(handle.pid) == "T", "the standstill")
    assert (await sandbox.get_info()).state is SandboxState.PAUSED
    assert not await sandbox.is_running()
    connected = await AsyncSandbox.connect(sandbox.sandbox_id, timeout=500, **ready.options)
    assert connected.sandbox_id == sandbox.sandbox_id
    assert [each.pid for each in await connected.commands.list()] == [handle.pid]
    eventually(lambda: state_of(handle.pid) != "T", "that it goes on")


async def test_a_life_can_be_made_longer_and_shorter_and_ends_everything(newer: Account) -> None:
    sandbox = await AsyncSandbox.create("t-1", timeout=100, **newer.options)
    handle = await sandbox.commands.run("setsid sleep 3600 & exec sleep 3600", background=True, timeout=0)
    await AsyncSandbox.connect(sandbox.sandbox_id, timeout=1000, **newer.options)
    assert 900 < ((await sandbox.get_info()).end_at - datetime.now(UTC)).total_seconds() < 1001
    await AsyncSandbox.connect(sandbox.sandbox_id, timeout=10, **newer.options)
    assert ((await sandbox.get_info()).end_at - datetime.now(UTC)).total_seconds() > 900

    await sandbox.set_timeout(1)

    eventually(lambda: not len(newer.platform.sandboxes), "the end of the sandbox")
    eventually(lambda: not os.path.exists(f"/proc/{handle.pid}"), "the end of its process")
    with pytest.raises(SandboxNotFoundException):
        await sandbox.get_info()
    with pytest.raises(SandboxNotFoundException):
        await sandbox.set_timeout(10)


async def test_a_sandbox_may_pause_instead_of_ending(newer: Account) -> None:
    sandbox = await AsyncSandbox.create("t-1", timeout=1, auto_pause=True, **newer.options)

    eventually(lambda: newer.platform.sandboxes.find(sandbox.sandbox_id).state == "paused", "the pause")

    assert (await sandbox.get_info()).state is SandboxState.PAUSED


async def test_files_are_written_and_read(ready: Account) -> None:
    sandbox = await AsyncSandbox.create("t-1", **ready.options)
    data = bytes(range(256)) + b"\r\n--boundary\r\n"

    written = await sandbox.files.write("data/ü.bin", data)

    assert (written.path, written.name) == ("/home/user/data/ü.bin", "ü.bin")
    assert await sandbox.files.read("/home/user/data/ü.bin", format="bytes") == data
    assert (await sandbox.commands.run("wc -c < /home/user/data/ü.bin")).stdout.strip() == str(len(data))
    with pytest.raises(SandboxException):
        await sandbox.files.read("nowhere")


async def test_strangers_stay_out(ready: Account) -> None:
    options = ready.options | {"api_key": "sk_wrong"}

    with pytest.raises(AuthenticationException):
        await AsyncSandbox.create("t-1", **options)

    sandbox = await AsyncSandbox.create("t-1", secure=True, **ready.options)
    headers = {"PPIO-Sandbox-Id": sandbox.sandbox_id, "PPIO-Sandbox-Port": "49983"}
    for path in ("/process.Process/List", "/files?path=x"):
        assert httpx.post(ready.server.url + path, headers=headers, json={}).status_code == 401


async def test_refusals_have_the_classes_that_the_sdk_knows(ready: Account) -> None:
    with pytest.raises(SandboxException, match="404: template 't-2' not found"):
        await AsyncSandbox.create("t-2", **ready.options)
    with pytest.raises(SandboxException, match="400: Timeout cannot be greater than 24 hours"):
        await AsyncSandbox.create("t-1", timeout=86401, **ready.options)
    ready.platform.sandboxes.most = 0
    with pytest.raises(RateLimitException, match="maximum number of concurrent sandboxes"):
        await AsyncSandbox.create("t-1", **ready.options)
    assert len(ready.platform.sandboxes) == 0


async def test_private_traffic_needs_its_token(modern: Account, tmp_path: Path) -> None:
    add_template(modern, tmp_path)
    sandbox = await AsyncSandbox.create("t-1", network={"allow_public_traffic": False}, **modern.options)
    headers = {"PPIO-Sandbox-Id": sandbox.sandbox_id, "PPIO-Sandbox-Port": "8080"}

    def ask(**more: str) -> int:
        return httpx.get(f"{modern.server.url}/ping", headers=headers | more).status_code

    assert ask() == 403
    assert ask(**{"E2B-Traffic-Access-Token": "guess"}) == 403
    assert ask(**{"E2B-Traffic-Access-Token": sandbox.traffic_access_token or ""}) == 502  # nobody listens


async def test_traffic_wakes_a_sandbox_that_wants_it(modern: Account, tmp_path: Path) -> None:
    add_template(modern, tmp_path)
    lifecycle = {"on_timeout": "pause", "auto_resume": True}
    sandbox = await AsyncSandbox.create("t-1", lifecycle=lifecycle, **modern.options)
    await sandbox.commands.run("cd /app && exec python main.py", background=True, timeout=0)
    headers = {"PPIO-Sandbox-Id": sandbox.sandbox_id, "PPIO-Sandbox-Port": "8080"}
    url = f"{modern.server.url}/ping"
    eventually(lambda: httpx.get(url, headers=headers).status_code == 200, "the agent")
    await sandbox.pause()

    assert httpx.get(url, headers=headers).status_code == 200
    assert (await sandbox.get_info()).state is SandboxState.RUNNING
