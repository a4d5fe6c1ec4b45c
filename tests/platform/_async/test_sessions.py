"""Sessions with real agents in sandboxes of the platform, as the emulator has it."""

from __future__ import annotations

import json
import logging
import signal
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from ppio_agent_client import (
    AgentRuntimeClient,
    AuthenticationError,
    ConfigurationError,
    PlatformError,
    PlatformSandboxProvider,
    QuotaExceededError,
    RateLimitedError,
    SandboxConfig,
    SandboxCreationError,
    SandboxGoneError,
    SandboxPausedError,
    SandboxProvider,
    SandboxSpec,
    SandboxStartTimeoutError,
    SessionNotFoundError,
    SessionStatus,
    TemplateNotFoundError,
)
from ppio_agent_client._io import _async as io
from tests.support.platform import API_KEY, Platform, serving
from tests.support.platform_agent import LEGACY, PROGRAM, agent_folder, settings, uncalled


def test_the_platform_provider_is_a_provider(url: str) -> None:
    assert isinstance(PlatformSandboxProvider(settings(url)), SandboxProvider)


async def test_an_agent_is_started_with_its_environment_and_remembers(
    platform: Platform, url: str, tmp_path: Path
) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"), name="my-agent")
    async with AgentRuntimeClient(config=settings(url)) as client:
        config = SandboxConfig(env_vars={"GREETING": "hi there, 'you'"}, metadata={"customer": "7"})
        async with await client.create_session("my-agent", 600, config) as session:
            answers = [(await session.invoke("x")).result for _ in range(2)]
            info = await session.info()
    assert [answer["turns"] for answer in answers] == [1, 2]
    assert answers[0]["greeting"] == "hi there, 'you'"
    assert (info.template_id, info.status, info.metadata) == ("t-1", SessionStatus.ACTIVE, {"customer": "7"})
    assert info.expires_at is not None
    assert info.created_at is not None
    assert info.expires_at - info.created_at > timedelta(seconds=590)
    assert len(list(platform.sandboxes)) == 0


async def test_the_key_of_the_platform_stays_with_the_platform(platform: Platform, url: str, tmp_path: Path) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    async with AgentRuntimeClient(config=settings(url)) as client:
        session = await client.create_session("t-1", session_id="secretive")
        result = (await session.invoke("x")).result
        await session.get_status()
        await session.close()
    assert result["key"] is None
    assert [call.endpoint for call in platform.log if call.target != "control" and call.mentions(API_KEY)] == []
    (start,) = platform.log.of("start")
    assert start.connect_timeout_ms is None
    token = client.auth_manager.session_token("secretive")
    assert f'"PPIO_AGENT_API_KEYS":"{token}"'.encode() in start.body
    (invocation,) = platform.log.of("agent/invocations")
    assert invocation.headers["authorization"] == f"Bearer {token}"


async def test_a_stranger_is_not_let_in(platform: Platform, url: str, tmp_path: Path) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    stranger = settings(url, session_secret="another")
    async with AgentRuntimeClient(config=settings(url)) as client, AgentRuntimeClient(config=stranger) as other:
        session = await client.create_session("t-1")
        found = await other.get_session(session.session_id)
        assert found is not None
        with pytest.raises(AuthenticationError):
            await found.invoke("x")
        await session.close()


async def test_any_client_with_the_key_joins_a_session_and_its_life_is_as_it_was(
    platform: Platform, url: str, tmp_path: Path
) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"), name="my-agent")
    name = "客户 7/_%2B\n"
    async with AgentRuntimeClient(config=settings(url)) as first, AgentRuntimeClient(config=settings(url)) as second:
        await (await first.create_session("my-agent", 600, session_id=name)).invoke("x")
        (made,) = platform.sandboxes
        ends_at = made.end_at
        found = await second.get_session(name)
        joined = await second.create_session("t-1", 10, session_id=name)
        assert found is joined
        assert joined.session_id == name
        assert (await joined.invoke("y")).result["turns"] == 2
        assert made.end_at == ends_at
        assert [session.session_id for session in await second.list_sessions()] == [name]
        assert await second.get_session("客户 7") is None
        with pytest.raises(SandboxCreationError, match="'t-1', not 'another'"):
            await second.create_session("another", session_id=name)
        assert await second.close_session(name) is True
        assert await second.close_session(name) is False
    assert len(list(platform.sandboxes)) == 0


async def test_a_dead_session_gets_a_new_sandbox(platform: Platform, url: str, tmp_path: Path) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    async with AgentRuntimeClient(config=settings(url)) as client:
        first = await client.create_session("t-1", session_id="s")
        async with AgentRuntimeClient(config=settings(url)) as other:
            await other.close_session("s")
        with pytest.raises(SandboxGoneError):
            await first.invoke("x")
        async with await client.create_session("t-1", session_id="s") as second:
            assert second.sandbox_id != first.sandbox_id


async def test_pause_resume_and_refresh_are_real(platform: Platform, url: str, tmp_path: Path) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    async with AgentRuntimeClient(config=settings(url)) as client:
        async with await client.create_session("t-1", 100, session_id="s") as session:
            await session.invoke("x")
            await session.pause()
            await session.pause()
            (made,) = platform.sandboxes
            assert made.state == "paused"
            assert await session.get_status() is SessionStatus.PAUSED
            assert await client.get_session("s") is session
            assert made.state == "paused"
            with pytest.raises(SandboxPausedError):
                await session.invoke("x")
            with pytest.raises(SandboxPausedError):
                await session.refresh()
            await session.resume()
            assert (await session.invoke("x")).result["turns"] == 2
            assert timedelta(seconds=90) < made.end_at - made.started_at < timedelta(seconds=200)
            await session.refresh(1000)
            assert made.end_at - made.started_at > timedelta(seconds=990)
        with pytest.raises(SandboxGoneError):
            await session.refresh()


async def test_many_who_ask_at_once_get_one_sandbox(platform: Platform, url: str, tmp_path: Path) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    async with AgentRuntimeClient(config=settings(url)) as client:
        sessions = await io.gather([partial(client.create_session, "t-1", session_id="one") for _ in range(50)])
        assert len({id(session) for session in sessions}) == 1
        assert len(platform.log.of("create")) == 1
        await client.close_all_sessions()
    assert len(list(platform.sandboxes)) == 0


async def test_of_two_who_race_from_two_clients_one_wins(platform: Platform, url: str, tmp_path: Path) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    platform.faults.add("create", "latency", times=2, seconds=0.3)  # both have looked by then, and found nobody
    async with AgentRuntimeClient(config=settings(url)) as first, AgentRuntimeClient(config=settings(url)) as second:
        clients = [first, second]
        sessions = await io.gather([partial(each.create_session, "t-1", session_id="one") for each in clients])
        assert not [each for each in sessions if isinstance(each, BaseException)]
        (living,) = platform.sandboxes
        found = {each.sandbox_id for each in await first.list_sessions()}
        assert found == {living.sandbox_id}
        await first.close_session("one")


async def test_a_crash_on_import_fails_at_once_with_its_last_words(
    platform: Platform, url: str, tmp_path: Path
) -> None:
    program = "print('about to fail')\nimport no_such_module\n"
    platform.add_template("t-1", agent_folder(tmp_path / "agent", program=program))
    async with AgentRuntimeClient(config=settings(url)) as client:
        with pytest.raises(SandboxCreationError, match=r"exit code 1(.|\n)*no_such_module") as caught:
            await client.create_session("t-1")
    assert "no_such_module" in caught.value.output
    assert len(list(platform.sandboxes)) == 0


async def test_an_agent_that_never_is_ready_fails_at_the_time_of_its_manifest(
    platform: Platform, url: str, tmp_path: Path
) -> None:
    program = "import time\nprint('loading', flush=True)\ntime.sleep(1000)\n"
    manifest = {"spec": {"entrypoint": "main.py", "runtime": {"timeout": 1}}}
    source = agent_folder(tmp_path / "agent", program=program)
    platform.add_template("t-1", source, metadata={"agent_runtime": json.dumps(manifest)})
    async with AgentRuntimeClient(config=settings(url)) as client:
        with pytest.raises(SandboxStartTimeoutError, match=r"within 1 s(.|\n)*loading"):
            await client.create_session("t-1")
    assert len(list(platform.sandboxes)) == 0


@pytest.mark.parametrize("entrypoint", ["main.py", "my agent's $(file).py", "-c.py"])
async def test_a_template_of_the_vendor_is_started_by_its_metadata(
    platform: Platform, url: str, tmp_path: Path, entrypoint: str
) -> None:
    manifest = {"metadata": {"name": "my-agent"}, "spec": {"entrypoint": entrypoint, "envVars": {"GREETING": "hi"}}}
    source = agent_folder(tmp_path / "agent", manifest=None, file=entrypoint)
    platform.add_template("tpl7", source, name="my-agent", metadata={"agent_runtime": json.dumps(manifest)})
    async with AgentRuntimeClient(config=settings(url)) as client:
        session = await client.create_session("my_agent-tpl7")
        assert (await session.invoke("x")).result["greeting"] == "hi"
        assert session.template_id == "tpl7"


async def test_an_agent_that_runs_already_is_not_started_and_an_open_one_is_told_of_once(
    platform: Platform, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = agent_folder(tmp_path / "agent")
    platform.add_template("t-1", source, start_cmd="cd /app && exec python main.py")
    with caplog.at_level(logging.WARNING, "ppio_agent_client"):
        async with AgentRuntimeClient(config=settings(url)) as client:
            for _ in range(2):
                async with await client.create_session("t-1") as session:
                    assert (await session.invoke("x")).result["turns"] == 1
    assert platform.log.of("start") == []
    assert [record.message for record in caplog.records if "before their session" in record.message] != []
    assert len([record for record in caplog.records if "before their session" in record.message]) == 1


async def test_private_traffic_is_open_to_the_session_from_any_client(
    platform: Platform, url: str, tmp_path: Path
) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    async with AgentRuntimeClient(config=settings(url)) as first, AgentRuntimeClient(config=settings(url)) as second:
        session = await first.create_session("t-1", 600, SandboxConfig(private_traffic=True), session_id="s")
        await session.invoke("x")
        (made,) = platform.sandboxes
        ends_at = made.end_at
        (listed,) = await second.list_sessions()
        assert (await listed.invoke("x")).result["turns"] == 2
        assert made.end_at == ends_at
        await session.pause()
        async with AgentRuntimeClient(config=settings(url)) as third:
            asleep = await third.get_session("s")
            assert asleep is not None
            assert made.state == "paused"
            await asleep.resume()
            assert (await asleep.invoke("x")).result["turns"] == 3
            await asleep.close()


async def test_the_older_dialect_is_spoken_where_the_domain_wants_it(tmp_path: Path) -> None:
    platform = Platform(tmp_path / "platform", legacy=True)
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    with serving(platform) as server:
        async with AgentRuntimeClient(config=settings(server.url, domain=LEGACY)) as client:
            async with await client.create_session("t-1", session_id="s") as session:
                assert (await session.invoke("x")).result["turns"] == 1
                await session.pause()
                await session.resume()
                await session.refresh()
                assert [each.sandbox_id for each in await client.list_sessions()] == [session.sandbox_id]
            with pytest.raises(ConfigurationError, match="private_traffic"):
                await client.create_session("t-1", config=SandboxConfig(private_traffic=True))
        assert len(list(platform.sandboxes)) == 0


async def test_sandboxes_of_others_are_not_ours(platform: Platform, url: str, tmp_path: Path) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    async with AgentRuntimeClient(config=settings(url)) as client:
        session = await client.create_session("t-1", session_id="ours")
        provider = PlatformSandboxProvider(settings(url))
        (made,) = platform.sandboxes
        made.wish.metadata.clear()
        assert await client.list_sessions() == []
        assert await provider.get(made.sandbox_id) is None
        assert await client.get_session("ours") is None
        await provider.close()
        assert await session.close() is True


async def test_limits_belong_to_the_template(platform: Platform, url: str, tmp_path: Path) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    async with AgentRuntimeClient(config=settings(url)) as client:
        with pytest.raises(SandboxCreationError, match=r"1024 MiB of memory, less than 4Gi.*template"):
            await client.create_session("t-1", config=SandboxConfig(memory_limit="4Gi"))
        with pytest.raises(ConfigurationError, match="cpu_limit"):
            await client.create_session("t-1", config=SandboxConfig(cpu_limit="64"))
        async with await client.create_session("t-1", config=SandboxConfig(memory_limit="512Mi", cpu_limit="2000m")):
            assert len(platform.log.of("create")) == 1


async def test_an_unknown_template_is_told(url: str) -> None:
    async with AgentRuntimeClient(config=settings(url)) as client:
        with pytest.raises(TemplateNotFoundError, match="nobody"):
            await client.create_session("nobody")


async def test_a_wrong_key_is_told_and_not_shown(url: str) -> None:
    async with AgentRuntimeClient(config=settings(url, api_key="sk_wrong_one")) as client:
        with pytest.raises(AuthenticationError, match="PPIO_API_KEY") as caught:
            await client.create_session("t-1")
    assert "sk_wrong_one" not in str(caught.value)
    assert caught.value.status_code == 401


async def test_requests_are_signed_where_there_is_a_secret(platform: Platform, url: str, tmp_path: Path) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    async with AgentRuntimeClient(config=settings(url, api_key="ak-1", api_secret="a secret")) as client:
        session = await client.create_session("t-1", session_id="s")
        assert (await session.invoke("x")).result["turns"] == 1
    assert all("signature" in call.headers for call in platform.log.of(target="control"))
    assert not any("x-api-key" in call.headers for call in platform.log)


async def test_quota_is_told_apart_from_rate(platform: Platform, url: str, tmp_path: Path) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    async with AgentRuntimeClient(config=settings(url, max_retries=1)) as client:
        platform.faults.add("create", "quota")
        with pytest.raises(QuotaExceededError, match="maximum number of concurrent") as refused:
            await client.create_session("t-1")
        assert (refused.value.status_code, refused.value.request_id) == (429, "req-of-a-fault")
        assert len(platform.log.of("create")) == 1
        platform.faults.add("create", "429", times=2, retry_after="0")
        with pytest.raises(RateLimitedError) as limited:
            await client.create_session("t-1")
        assert (limited.value.retryable, limited.value.retry_after) == (True, 0)
        platform.faults.add("create", "429", retry_after="0")
        async with await client.create_session("t-1") as session:
            assert (await session.invoke("x")).result["turns"] == 1


@pytest.mark.parametrize(
    ("kind", "after_effect"),
    [("reset", True), ("cut", True), ("500", True), ("502", True), ("hang", True), ("500", False), ("502", False)],
)
async def test_a_lost_create_answer_leaves_nothing_behind(
    platform: Platform, url: str, tmp_path: Path, kind: str, after_effect: bool
) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    platform.faults.add("create", kind, after_effect=after_effect)
    config = settings(url, platform_timeout=1 if kind == "hang" else 60, first_byte_timeout=None)
    async with AgentRuntimeClient(config=config) as client:
        session = await client.create_session("t-1", 600)
        (made,) = platform.sandboxes
        assert made.sandbox_id == session.sandbox_id
        assert (await session.invoke("x")).result["turns"] == 1
        await session.close()
    assert len(list(platform.sandboxes)) == 0


async def test_hundreds_of_sandboxes_are_listed_page_by_page(platform: Platform, url: str) -> None:
    platform.add_template("t-1", agent=uncalled)
    provider = PlatformSandboxProvider(settings(url))
    try:
        for number in range(230):
            await provider.create(
                SandboxSpec(session_id=f"s-{number}", template_id="t-1", timeout_seconds=600, is_new=True)
            )
        sandboxes = await provider.list_sandboxes()
        assert [each.session_id for each in sandboxes] == [f"s-{number}" for number in range(230)]
        assert len(platform.log.of("list")) == 3
    finally:
        await provider.close()


async def test_templates_are_listed_with_their_manifests(platform: Platform, url: str, tmp_path: Path) -> None:
    about = {"metadata": {"name": "chat", "version": "2.0.0"}, "spec": {"entrypoint": "main.py"}}
    platform.add_template("t-1", agent_folder(tmp_path / "agent"), metadata={"agent_runtime": json.dumps(about)})
    platform.add_template("t-2", agent_folder(tmp_path / "two", program=PROGRAM), name="two")
    async with AgentRuntimeClient(config=settings(url)) as client:
        templates = {each.template_id: each for each in await client.list_templates()}
        assert (templates["t-1"].name, templates["t-1"].version) == ("chat", "2.0.0")
        assert json.loads(templates["t-1"].metadata["agent_runtime"]) == about
        assert (await client.get_template("two")).template_id == "t-2"
        with pytest.raises(TemplateNotFoundError):
            await client.get_template("three")
    (call, *_) = platform.log.of("templates")
    assert call.headers["authorization"] == f"Bearer {API_KEY}"


async def test_templates_are_paged_where_the_list_with_metadata_is_refused(platform: Platform, url: str) -> None:
    for number in range(120):
        platform.add_template(f"t-{number:03}")
    platform.faults.add("templates", "404", times=100)
    async with AgentRuntimeClient(config=settings(url)) as client:
        assert len(await client.list_templates()) == 120
        assert len(await client.list_templates(refresh=True)) == 120
    assert len(platform.log.of("templates")) == 1


async def test_a_template_is_deleted(platform: Platform, url: str) -> None:
    platform.add_template("t-1")
    provider = PlatformSandboxProvider(settings(url))
    try:
        assert await provider.delete_template("t-1") is True
        assert await provider.delete_template("t-1") is False
        assert await provider.list_templates() == []
    finally:
        await provider.close()


async def test_the_log_of_an_agent_is_read_and_read_on(platform: Platform, url: str, tmp_path: Path) -> None:
    program = PROGRAM.replace(
        'turns.append(request.get("prompt"))', 'turns.append(print(request["prompt"], flush=True))'
    )
    platform.add_template("t-1", agent_folder(tmp_path / "agent", program=program))
    async with AgentRuntimeClient(config=settings(url)) as client:
        session = await client.create_session("t-1", session_id="s")
        await session.invoke("first words")
        text, cursor = "", None
        while "first words" not in text:
            page = await client.get_logs("s", cursor)
            text, cursor = text + page.text, page.cursor
        await session.invoke("last words")
        while "last words" not in text:
            page = await client.get_logs("s", cursor)
            text, cursor = text + page.text, page.cursor
        assert text.count("first words") == 1
        await session.close()
        with pytest.raises(SessionNotFoundError):
            await client.get_logs("s")


async def test_a_sandbox_is_not_left_when_the_look_for_a_rival_fails(
    platform: Platform, url: str, tmp_path: Path
) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    provider = PlatformSandboxProvider(settings(url, max_retries=0))
    made = SandboxSpec(session_id="s", template_id="t-1", timeout_seconds=600)
    try:
        assert await provider.find("s") is None
        platform.faults.add("list", "latency")
        platform.faults.add("list", "500")
        with pytest.raises(PlatformError):
            await provider.create(made)
    finally:
        await provider.close()
    assert len(platform.log.of("create")) == 1
    assert len(list(platform.sandboxes)) == 0


async def test_a_request_wakes_a_sandbox_that_was_made_so(platform: Platform, url: str, tmp_path: Path) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    async with AgentRuntimeClient(config=settings(url)) as client:
        session = await client.create_session("t-1", 600, SandboxConfig(auto_resume=True), session_id="s")
        await session.pause()
        (made,) = platform.sandboxes
        assert made.state == "paused"
        async with AgentRuntimeClient(config=settings(url)) as other:
            found = await other.get_session("s")
            assert found is not None
            assert made.state == "paused"
            assert (await found.invoke("x")).result["turns"] == 1
            assert await found.get_status() is SessionStatus.ACTIVE
        await session.close()


async def test_an_agent_that_has_ended_is_started_again_by_who_joins(
    platform: Platform, url: str, tmp_path: Path
) -> None:
    platform.add_template("t-1", agent_folder(tmp_path / "agent"))
    async with AgentRuntimeClient(config=settings(url)) as client:
        session = await client.create_session("t-1", 600, SandboxConfig(env_vars={"GREETING": "hi"}), session_id="s")
        assert (await session.invoke("x")).result["turns"] == 1
        (made,) = platform.sandboxes
        for process in list(made.processes.values()):
            process.signal(signal.SIGKILL)
        while await session.get_status() is not SessionStatus.INACTIVE:
            await io.sleep(0.01)
        again = await client.create_session("t-1", session_id="s")
        assert again.sandbox_id == session.sandbox_id
        result = (await again.invoke("x")).result
        assert (result["turns"], result["greeting"]) == (1, "hi")
        await again.close()
