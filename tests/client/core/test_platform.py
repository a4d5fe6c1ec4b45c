"""The platform's addresses, bodies, answers, templates and starts, as pure decisions."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppio_agent_client import (
    AgentTemplate,
    AuthenticationError,
    ClientConfig,
    ConfigurationError,
    NetworkError,
    PlatformError,
    QuotaExceededError,
    RateLimitedError,
    SandboxCreationError,
    SandboxSpec,
    TotalTimeoutError,
)
from ppio_agent_client._core.credentials import KEYS_VARIABLE, with_session_key
from ppio_agent_client._core.platform import models, requests, start
from ppio_agent_client._core.platform.urls import platform_urls

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=8), each, max_size=3),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("settings", "api", "agent", "envd"),
    [
        ({}, "https://api.sandbox.ppio.cn", "https://8080-i1.sandbox.ppio.cn", "https://49983-i1.sandbox.ppio.cn"),
        ({"domain": "d.example"}, "https://api.d.example", "https://8080-i1.d.example", "https://49983-i1.d.example"),
        ({"domain": "d.example:8443"}, "https://api.d.example:8443", "https://8080-i1.d.example:8443", None),
        ({"domain": "localhost:3000"}, "http://api.localhost:3000", "http://8080-i1.localhost:3000", None),
        ({"base_url": "http://127.0.0.1:1/v/"}, "http://127.0.0.1:1/v", "https://8080-i1.sandbox.ppio.cn", None),
        ({"sandbox_url": "http://gate:9/"}, "https://api.sandbox.ppio.cn", "http://gate:9", "http://gate:9"),
    ],
)
def test_addresses_are_those_of_the_settings(settings: dict[str, str], api: str, agent: str, envd: str | None) -> None:
    urls = platform_urls(ClientConfig(**settings))  # type: ignore[arg-type]  # all of them are text
    assert urls.api == api
    assert urls.of_port("i1", 8080, None)[0] == agent
    if envd is not None:
        assert urls.of_port("i1", 49983, None)[0] == envd


def test_one_address_for_all_is_told_apart_by_headers() -> None:
    urls = platform_urls(ClientConfig(sandbox_url="http://gate"))
    assert urls.of_port("i1", 8080, "d")[1] == {"PPIO-Sandbox-Id": "i1", "PPIO-Sandbox-Port": "8080"}
    assert urls.of_port("i1", 49983, "d")[1] == {"PPIO-Sandbox-Id": "i1", "PPIO-Sandbox-Port": "49983"}


def test_the_platform_may_say_where_a_sandbox_is() -> None:
    assert platform_urls(ClientConfig()).of_port("i1", 8080, "cn-7.example") == ("https://8080-i1.cn-7.example", {})


@pytest.mark.parametrize(
    "settings", [{"domain": "a/b"}, {"domain": "https://x"}, {"base_url": "x"}, {"sandbox_url": "y"}]
)
def test_what_is_no_address_is_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        platform_urls(ClientConfig(**settings))  # type: ignore[arg-type]  # all of them are text


def spec(**more: Any) -> SandboxSpec:
    return SandboxSpec(**{"session_id": "s", "template_id": "t", "timeout_seconds": 90.2, **more})


def body(*, is_legacy: bool, **more: Any) -> dict[str, Any]:
    found = json.loads(requests.create_request(spec(**more), "t", {"a": "b"}, is_legacy=is_legacy).body)
    assert isinstance(found, dict)
    return found


def test_both_dialects_of_create() -> None:
    shared = {
        "templateID": "t",
        "timeout": 91,
        "metadata": {"a": "b"},
        "envVars": {},
        "secure": True,
        "autoPause": False,
    }
    modern = {"allow_internet_access": True, "autoResume": {"enabled": False}}
    assert body(is_legacy=False) == shared | modern
    assert body(is_legacy=True) == shared | {"allowInternetAccess": True}


def test_wishes_reach_the_body() -> None:
    wished = body(is_legacy=False, auto_resume=True, private_traffic=True, internet_access=False, env_vars={"A": "1"})
    assert (wished["autoPause"], wished["autoResume"]) == (True, {"enabled": True})
    assert wished["network"] == {"allowPublicTraffic": False}
    assert (wished["allow_internet_access"], wished["envVars"]) == (False, {"A": "1"})


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 24 * 3600 + 1])
def test_a_life_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigurationError, match="time to live"):
        requests.whole_seconds(seconds)


def test_ids_cannot_leave_their_place_in_a_path() -> None:
    assert requests.about_sandbox("../x?y", "end", "DELETE").path == "/sandboxes/..%2Fx%3Fy"


def failed(status: int, value: Any = None, **headers: str) -> Exception:
    return requests.error_of(status, headers, value, "create a sandbox", unix_now=0)


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (400, "bad body", PlatformError),
        (401, "invalid API key", AuthenticationError),
        (403, "forbidden", AuthenticationError),
        (403, "you have reached your quota", QuotaExceededError),
        (429, "you have reached the maximum number of concurrent sandboxes (100)", QuotaExceededError),
        (429, "slow down", RateLimitedError),
        (500, "internal", PlatformError),
        (500, "quota service down", PlatformError),
        (503, "unavailable", PlatformError),
    ],
)
def test_each_failure_has_its_class(status: int, message: str, kind: type[Exception]) -> None:
    error = failed(status, {"code": status, "message": message}, **{"x-request-id": "r-1", "retry-after": "7"})
    assert type(error) is kind
    assert message in str(error)
    assert getattr(error, "status_code", None) == status
    assert getattr(error, "request_id", None) == "r-1"


def test_a_gateways_page_is_not_quoted() -> None:
    assert str(failed(502, "<html>secret</html>")) == "cannot create a sandbox: the platform responded with 502"


@pytest.mark.parametrize(
    ("error", "once", "twice", "lost"),
    [
        (NetworkError("cut"), False, True, True),
        (NetworkError("never sent", retryable=True), True, True, False),
        (TotalTimeoutError("late"), False, False, True),
        (RateLimitedError("slow"), True, True, False),
        (QuotaExceededError("full"), False, False, False),
        (PlatformError("bad", status_code=400), False, False, False),
        (PlatformError("down", status_code=502), False, True, True),
        (PlatformError("no id"), False, True, True),
        (AuthenticationError("no"), False, False, False),
    ],
)
def test_only_what_cannot_happen_twice_is_repeated(error: Any, once: bool, twice: bool, lost: bool) -> None:
    assert requests.may_retry(error, is_idempotent=False) is once
    assert requests.may_retry(error, is_idempotent=True) is twice
    assert requests.is_lost(error) is lost


def test_a_refused_create_is_an_error_of_creation() -> None:
    error = requests.not_created(PlatformError("no", status_code=400, request_id="r"))
    assert type(error) is SandboxCreationError
    assert (error.status_code, error.request_id) == (400, "r")


@given(value=JSON)
def test_answers_of_any_shape_break_nothing(value: Any) -> None:
    assert models.read_sandboxes(value, is_legacy=True) == []
    models.read_templates(value)
    item = {"templateID": "t", "metadata": {"agent_runtime": value}, "aliases": value, "createdAt": value}
    assert [each.template_id for each in models.read_templates([item])] == ["t"]
    requests.error_of(500, {}, value, "x", unix_now=0)
    odd = dict.fromkeys(("templateID", "alias", "state", "startedAt", "endAt", "envdVersion", "metadata"), value)
    assert models.read_sandbox({"sandboxID": "i1", **odd}, is_legacy=True).sandbox_id == "i1"


def test_the_older_dialects_ids_have_two_parts() -> None:
    said = {"sandboxID": "i1", "clientID": "c1", "templateID": "t"}
    assert models.read_sandbox(said, is_legacy=True).sandbox_id == "i1-c1"
    assert models.read_sandbox(said, is_legacy=False).sandbox_id == "i1"
    assert models.read_sandbox(said | {"sandboxID": "i1-c1"}, is_legacy=True).sandbox_id == "i1-c1"
    with pytest.raises(PlatformError, match="sandboxID"):
        models.read_sandbox({}, is_legacy=False)


@pytest.mark.parametrize("strange", ["a/b", "x@elsewhere", "a.b", "a b", "ü", "a\n"])
@pytest.mark.parametrize("field", ["sandboxID", "domain"])
def test_no_token_goes_to_an_address_that_the_platform_cannot_have_meant(field: str, strange: str) -> None:
    said = {"sandboxID": "i1", "domain": "sandbox.example:8443"}
    assert models.read_sandbox(said, is_legacy=False).domain == "sandbox.example:8443"
    if (field, strange) != ("domain", "a.b"):
        with pytest.raises(PlatformError, match=f"has no valid {field}") as caught:
            models.read_sandbox(said | {field: strange}, is_legacy=False)
        assert strange not in f"{caught.value} {caught.value.__cause__}"


def test_tokens_are_in_no_repr() -> None:
    said = {"sandboxID": "i1", "envdAccessToken": "hush-1", "trafficAccessToken": "hush-2"}
    assert "hush" not in repr(models.read_sandbox(said, is_legacy=False))


def test_a_template_is_read_as_far_as_it_goes() -> None:
    manifest = {"metadata": {"name": "chat", "version": "2.0.0", "tags": ["a"]}, "spec": {"protocols": ["a2a"]}}
    item = {
        "templateID": "t1",
        "aliases": ["one"],
        "createdBy": {"email": "dev@example.com"},
        "createdAt": "2026-01-02T03:04:05.123456789Z",
        "buildStatus": "ready",
        "memoryMB": 512,
        "metadata": {"agent_runtime": json.dumps(manifest), "number": 7, "nested": {"a": [1]}},
    }
    [template] = models.read_templates([item, {"aliases": ["no id"]}])
    assert (template.name, template.version, template.author) == ("chat", "2.0.0", "dev@example.com")
    assert (template.tags, template.status, template.aliases) == (["a"], "deployed", ["one"])
    assert (template.memory_mb, template.cpu_count, template.protocols) == (512, None, ["a2a"])
    assert template.metadata == item["metadata"]
    assert template.created_at == datetime(2026, 1, 2, 3, 4, 5, 123456, UTC)


KNOWN = [
    AgentTemplate(template_id="123", name="other"),
    AgentTemplate(template_id="tpl7", name="my-agent", aliases=["agent-template-123"]),
]


@pytest.mark.parametrize(
    ("name", "template_id"),
    [
        ("tpl7", "tpl7"),
        ("agent-template-123", "tpl7"),
        ("my_agent-tpl7", "tpl7"),
        ("arn:ppio:agent/tpl7", "tpl7"),
        ("arn:ppio:agent/my_agent-tpl7", "tpl7"),
        ("someone-123", None),
        ("unknown", None),
        ("", None),
    ],
)
def test_a_name_means_one_template_or_none(name: str, template_id: str | None) -> None:
    found = models.find_template(name, KNOWN)
    assert (found and found.template_id) == template_id


def started_by(entrypoint: object, **spec_fields: Any) -> start.AgentStart:
    manifest = json.dumps({"spec": {"entrypoint": entrypoint, **spec_fields}})
    template = AgentTemplate(template_id="t", name="t", metadata={"agent_runtime": manifest})
    return start.agent_start(template)


def test_an_agent_without_metadata_starts_as_all_of_ours_do() -> None:
    assert start.agent_start(None) == start.AgentStart()
    assert start.AgentStart().command == "cd /app && exec python -m ppio_agent_runtime"
    assert started_by(None).command == "cd /app && exec python -m ppio_agent_runtime"
    assert started_by("agent:app").command == "cd /app && exec python -m ppio_agent_runtime agent:app"
    assert started_by("-c.py").command == "cd /app && exec python ./-c.py"


@given(name=st.text(min_size=1, max_size=30))
def test_an_entrypoint_is_one_word_to_the_shell(name: str) -> None:
    words = shlex.split(started_by(f"{name}.py").command)
    assert words[:5] == ["cd", "/app", "&&", "exec", "python"]
    assert len(words) == 6
    assert words[5].removeprefix("./") == f"{name}.py".removeprefix("./")


@pytest.mark.parametrize(("said", "seconds"), [(7, 7), (0, 60), (3601, 60), ("7", 60), (None, 60), (True, 60)])
def test_the_time_to_start_is_that_of_the_manifest(said: object, seconds: float) -> None:
    assert started_by("main.py", runtime={"timeout": said}).timeout_seconds == seconds


def test_the_session_wins_over_the_manifest_and_its_token_over_all() -> None:
    agent = started_by("main.py", envVars={"A": "1", "B": "2", "C": 3})
    request = agent.envd_request({"B": "4", "PPIO_AGENT_API_KEYS": "own"}, "token")
    assert request["process"]["envs"] == {
        "PYTHONUNBUFFERED": "1",
        "PORT": "8080",
        "A": "1",
        "B": "4",
        "PPIO_AGENT_API_KEYS": "token,own",
        "PPIO_AGENT_HOST": "0.0.0.0",
        "PPIO_AGENT_PORT": "8080",
    }
    assert request["process"]["args"] == ["-l", "-c", agent.command]


@pytest.mark.parametrize(
    ("others", "keys"), [("", "t"), ("a, b", "t,a,b"), ('["a", "b"]', "t,a,b"), ("[broken", "t,[broken")]
)
def test_keys_are_put_together(others: str, keys: str) -> None:
    assert with_session_key("t", {KEYS_VARIABLE: others}) == {KEYS_VARIABLE: keys}


@pytest.mark.parametrize(
    ("status", "answer", "is_agent"),
    [
        (200, b"{}", True),
        (503, b'{"status": "Unhealthy"}', True),
        (503, b"no upstream", False),
        (503, b'{"message": "unavailable"}', False),
        (502, b'{"status": "x"}', False),
        (404, b"", False),
        (0, b"", False),
    ],
)
def test_a_gateway_is_not_taken_for_an_agent(status: int, answer: bytes, is_agent: bool) -> None:
    assert start.is_agent(status, answer) is is_agent


@pytest.mark.parametrize(("version", "wanted"), [("0.3.9", True), ("0.4.0", False), ("1.0", False), ("", False)])
def test_an_old_envd_is_told_its_user(version: str, wanted: bool) -> None:
    assert start.needs_user(version) is wanted


@pytest.mark.parametrize(("memory", "cpu"), [("lots", None), ("9Gi", None), ("0Mi", None), (None, "9"), (None, "x")])
def test_limits_that_nobody_has_are_refused(memory: str | None, cpu: str | None) -> None:
    with pytest.raises(ConfigurationError):
        start.check_limits(memory, cpu, None)


def test_limits_are_compared_with_the_template() -> None:
    small = AgentTemplate(template_id="t", name="t", cpu_count=1, memory_mb=512)
    start.check_limits("512Mi", "1000m", small)
    start.check_limits("8Gi", "8", None)
    with pytest.raises(SandboxCreationError, match="512 MiB of memory, less than 1Gi and 1 processors, less than 2"):
        start.check_limits("1Gi", "2", small)


def entry(milliseconds: int, text: str) -> dict[str, str]:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    return {"timestamp": moment, "level": "info", "message": text}


@given(moments=st.lists(st.integers(1, 5), max_size=12), cuts=st.lists(st.integers(0, 12), max_size=4))
def test_a_log_that_grows_is_read_once(moments: list[int], cuts: list[int]) -> None:
    lines = [entry(1_700_000_000_000 + when, f"line {number}") for number, when in enumerate(sorted(moments))]
    text, cursor = "", None
    for end in [*sorted(cuts), len(lines)]:
        page = models.read_log({"logEntries": lines[:end]}, cursor)
        text, cursor = text + page.text, page.cursor
    assert text == "".join(f"line {number}\n" for number in range(len(lines)))


@given(value=JSON, cursor=st.none() | st.text(max_size=5))
def test_a_log_of_any_shape_breaks_nothing(value: Any, cursor: str | None) -> None:
    assert models.read_log(value, cursor).text == ""
    models.read_log({"logEntries": [value, {"message": value, "timestamp": value}]}, cursor)


@given(text=st.text(alphabet="ab\n", max_size=20), cuts=st.lists(st.integers(0, 20), max_size=6), older=st.booleans())
def test_a_log_is_what_processes_have_written_wherever_envd_cuts_it(text: str, cuts: list[int], older: bool) -> None:
    ends = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    pieces = [text[begin:end] for begin, end in pairwise(ends)]
    entries: list[dict[str, Any]] = [entry(1_700_000_000_000, "Streaming process event") for _ in pieces]
    for line, piece in zip(entries, pieces, strict=True):
        record = {"logger": "process", "event_type": "stdout", "data": piece}
        line.update({"line": json.dumps({"message": line.pop("message"), **record})} if older else {"fields": record})
    assert models.read_log({"logs" if older else "logEntries": entries}, None).text == text
