"""What the official SDK does not show of the emulator: refused bodies, signatures, faults, and true streaming."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from ppio_agent_client._core.signing import HmacSigner
from tests.platform.conftest import Account
from tests.support.agents import write_agent
from tests.support.gates import eventually
from tests.support.platform import API_KEY
from tests.support.platform.control import metadata_filter

texts = st.text(min_size=1, max_size=12)


@given(st.dictionaries(texts, texts, max_size=4))
def test_a_metadata_filter_is_read_as_the_official_sdk_writes_it(wanted: dict[str, str]) -> None:
    written = urlencode({quote(name): quote(value) for name, value in wanted.items()})

    assert metadata_filter(written) == wanted


@pytest.fixture
def control(account: Account) -> Iterator[httpx.Client]:
    account.platform.add_template("t-1")
    with httpx.Client(base_url=account.server.url, headers={"X-API-KEY": API_KEY}) as client:
        yield client


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({}, "the field 'templateID' is missing"),
        ({"templateID": 1}, "the field 'templateID' must be of the type text"),
        ({"templateID": "t-1", "timeout": "60"}, "the field 'timeout' must be of the type seconds"),
        ({"templateID": "t-1", "timeout": True}, "the field 'timeout' must be of the type seconds"),
        ({"templateID": "t-1", "metadata": {"n": 1}}, "the field 'metadata' must be of the type pairs"),
        ({"templateID": "t-1", "envs": {}}, "the field 'envs' is unknown"),
        ([], "the body is not an object"),
    ],
)
def test_a_wrong_body_is_refused_by_field(control: httpx.Client, body: Any, problem: str) -> None:
    answer = control.post("/sandboxes", json=body)

    assert (answer.status_code, answer.json()) == (400, {"code": 400, "message": problem})


def test_each_flavour_refuses_the_words_of_the_other(account: Account, control: httpx.Client) -> None:
    is_legacy = account.platform.legacy
    words = {"allowInternetAccess": is_legacy, "allow_internet_access": not is_legacy, "autoResume": not is_legacy}
    for word, is_known in words.items():
        value = {"enabled": True} if word == "autoResume" else True
        answer = control.post("/sandboxes", json={"templateID": "t-1", word: value})
        assert answer.status_code == (201 if is_known else 400), (word, answer.text)
    made = control.post("/sandboxes", json={"templateID": "t-1"}).json()
    long_id = f"{made['sandboxID']}-{made['clientID']}"
    assert control.get(f"/sandboxes/{long_id}").status_code == (200 if is_legacy else 404)


def test_a_signed_request_is_let_in_once(modern: Account) -> None:
    modern.platform.add_template("t-1")
    body = json.dumps({"templateID": "t-1"}).encode()
    url = f"{modern.server.url}/sandboxes"

    def ask(secret: str, sent: bytes = body, nonce: str = "n" * 22) -> httpx.Response:
        signer = HmacSigner("ak-1", secret)
        headers = signer.sign("POST", url, {}, body, created=int(time.time()), nonce=nonce)
        return httpx.post(url, content=sent, headers=headers)

    assert ask("a secret").status_code == 201
    assert ask("a secret").status_code == 401  # the nonce again
    assert ask("another secret", nonce="m" * 22).status_code == 401
    assert ask("a secret", sent=body.replace(b"t-1", b"t-2"), nonce="k" * 22).status_code == 401
    assert httpx.post(url, content=body, headers={"X-API-KEY": "ak-1"}).status_code == 401
    assert len(modern.platform.sandboxes) == 1


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("401", 401),
        ("404", 404),
        ("quota", 429),
        ("503", 503),
        ("reset", httpx.ReadError),
        ("cut", httpx.RemoteProtocolError),
        ("hang", httpx.ReadTimeout),
    ],
)
@pytest.mark.parametrize("after_effect", [False, True])
def test_a_fault_happens_as_often_as_asked_for(
    account: Account, control: httpx.Client, kind: str, outcome: Any, after_effect: bool
) -> None:
    account.platform.faults.add("create", kind, retry_after="2", after_effect=after_effect)

    if isinstance(outcome, int):
        answer = control.post("/sandboxes", json={"templateID": "t-1"})
        assert (answer.status_code, answer.headers["retry-after"], answer.json()["code"]) == (outcome, "2", outcome)
    else:
        with pytest.raises(outcome):
            control.post("/sandboxes", json={"templateID": "t-1"}, timeout=0.3)

    assert len(account.platform.sandboxes) == after_effect
    assert control.post("/sandboxes", json={"templateID": "t-1"}).status_code == 201


def test_an_unknown_fault_is_an_error(account: Account) -> None:
    with pytest.raises(ValueError, match="no fault 'fire'"):
        account.platform.faults.add("create", "fire")


def test_the_log_has_each_request_with_its_secrets(account: Account, control: httpx.Client) -> None:
    control.post("/sandboxes", json={"templateID": "t-1", "metadata": {"a": "b"}})
    control.get("/nowhere", headers={"X-API-KEY": "sk_wrong"})

    made, lost = account.platform.log
    assert (made.target, made.endpoint, made.method, made.status) == ("control", "create", "POST", 201)
    assert made.mentions(API_KEY)
    assert made.mentions('"a":"b"')
    assert not lost.mentions(API_KEY)
    assert lost.status == 401
    assert account.platform.log.of("create") == [made]


def test_an_answer_streams_through_and_a_hang_up_reaches_the_agent(modern: Account, tmp_path: Path) -> None:
    modern.platform.add_template("t-1", write_agent(tmp_path / "source", "streamer"), start_cmd="python main.py")
    made = httpx.post(
        f"{modern.server.url}/sandboxes", json={"templateID": "t-1", "timeout": 100}, headers={"X-API-KEY": API_KEY}
    ).json()
    headers = {"PPIO-Sandbox-Id": made["sandboxID"], "PPIO-Sandbox-Port": "8080"}
    note = tmp_path / "note"

    url = f"{modern.server.url}/invocations"
    with httpx.stream("POST", url, json={"note": str(note), "stream": True}, headers=headers) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("data: ")
        assert not note.exists()

    eventually(note.exists, "the note of the agent that its caller has gone")


def test_an_agent_in_this_process_gets_what_the_sandbox_was_made_with(modern: Account) -> None:
    seen: list[Any] = []

    async def agent(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["state"])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    modern.platform.add_template("t-1", agent=agent)
    body = {"templateID": "t-1", "envVars": {"A": "1"}}
    made = httpx.post(f"{modern.server.url}/sandboxes", json=body, headers={"X-API-KEY": API_KEY}).json()
    headers = {"PPIO-Sandbox-Id": made["sandboxID"], "PPIO-Sandbox-Port": "8080"}

    assert httpx.get(f"{modern.server.url}/ping", headers=headers).status_code == 204
    assert seen == [{"sandbox_id": made["sandboxID"], "env_vars": {"A": "1"}}]
