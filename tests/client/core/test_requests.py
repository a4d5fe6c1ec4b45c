"""What goes over the wire."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from ppio_agent_client import ConfigurationError, InvocationRequest, SerializationError
from ppio_agent_client._core import request_body, requests
from ppio_agent_client._core.request_body import Request
from ppio_agent_client._headers import checked_session_id, checked_token, encoded_session_id, session_headers

URL = "http://127.0.0.1:8080"


def call_of(request: Request, headers: dict[str, str], *, stream: bool = False) -> requests.Call:
    return requests.invoke_call(requests.Peer(URL, headers), request, requests.call_options("k", None), stream=stream)


def body_of(request: Request) -> object:
    return json.loads(request_body.body_of(request))


def test_a_string_is_sent_as_prompt() -> None:
    assert body_of("hello") == {"prompt": "hello"}


def test_a_dict_is_sent_as_it_is() -> None:
    assert body_of({"a": [1, None]}) == {"a": [1, None]}


def test_a_model_is_sent_as_what_was_set_and_what_was_added() -> None:
    assert body_of(InvocationRequest.model_validate({"prompt": "x", "query": "y"})) == {"prompt": "x", "query": "y"}


def test_an_unsendable_value_is_named_by_path_and_type() -> None:
    with pytest.raises(SerializationError, match=r"request\.a\[1\]\.b .*_thread\.lock") as caught:
        request_body.body_of({"a": [1, {"b": __import__("threading").Lock()}]})
    assert "object at" not in str(caught.value)


def test_an_unsendable_extra_field_of_a_model_is_named_too() -> None:
    with pytest.raises(SerializationError, match=r"request\.tool "):
        request_body.body_of(InvocationRequest.model_validate({"tool": object()}))


class Question(BaseModel):
    text: str
    asked_at: datetime


@dataclass
class Order:
    number: int
    timeout: float = 4.5


MOMENT = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("request_", "sent"),
    [
        (Question(text="hi", asked_at=MOMENT), {"text": "hi", "asked_at": "2026-01-02T00:00:00Z"}),
        (Order(7), {"number": 7, "timeout": 4.5}),
        (["a", {"b": Decimal("1.5")}], ["a", {"b": "1.5"}]),
        (None, None),
        (5, 5),
        (False, False),
        ({1}, [1]),
    ],
)
def test_whatever_pydantic_serializes_is_sent_as_it_is(request_: object, sent: object) -> None:
    assert body_of(request_) == sent


@pytest.mark.parametrize("request_", [b"raw", bytearray(b"raw"), object(), Question, len])
def test_what_has_no_json_form_is_refused_by_its_type(request_: object) -> None:
    with pytest.raises(SerializationError, match="class Question" if request_ is Question else type(request_).__name__):
        request_body.body_of(request_)


def test_a_time_limit_in_any_kind_of_request_counts() -> None:
    assert call_of(Order(7), {}).headers["X-PPIO-Timeout"] == "4.5"
    assert "X-PPIO-Timeout" not in call_of(Question(text="timeout", asked_at=MOMENT), {}).headers


def test_a_call_for_a_value_accepts_json() -> None:
    call = call_of("x", {"A": "b"})
    assert (call.method, call.url) == ("POST", "http://127.0.0.1:8080/invocations")
    assert call.headers == {
        "A": "b",
        "Idempotency-Key": "k",
        "Content-Type": "application/json",
        "Accept": "application/json",
        "PPIO-Agent-Protocol": "1",
    }


def test_a_call_for_a_stream_accepts_events() -> None:
    assert call_of("x", {}, stream=True).headers["Accept"] == "text/event-stream"


def test_a_timeout_travels_as_header() -> None:
    assert call_of({"timeout": 2.5}, {}).headers["X-PPIO-Timeout"] == "2.5"


@given(st.text(st.characters(), min_size=1, max_size=256))
def test_any_session_id_can_travel_and_come_back(session_id: str) -> None:
    sent = encoded_session_id(checked_session_id(session_id))
    assert sent.isascii()
    assert sent.isprintable()
    assert " " not in sent
    assert unquote(sent, errors="surrogatepass") == session_id


@pytest.mark.parametrize("session_id", ["", "x" * 257, 7, None, b"x"])
def test_what_is_no_session_id_is_refused(session_id: object) -> None:
    with pytest.raises(ConfigurationError, match="1 to 256 characters"):
        checked_session_id(session_id)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "https://agents.example/one", "http://[::1]:80"])
def test_a_trailing_slash_of_an_address_does_not_matter(url: str) -> None:
    assert requests.checked_url(url + "/") == requests.checked_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8080",
        "ftp://x",
        "http://",
        "http://u:secret@x",
        "http://x?a=1",
        "http://x#f",
        "http://x/?",
        "http://x/#",
        "http://x:99999",
        "http://[",
    ],
)
def test_what_is_no_address_is_refused_without_showing_its_secrets(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        requests.checked_url(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("token", ["", "a b", "a\r\nX: y", "ü", "\x00"])
def test_a_token_that_no_header_can_carry_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        checked_token(token)
    assert repr(token) not in str(caught.value)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"])
def test_this_machine_is_recognised(host: str) -> None:
    assert requests.is_loopback(host)


@pytest.mark.parametrize("host", ["example.com", "10.0.0.1", "localhost.example", "0.0.0.0", "::2"])
def test_other_machines_are_not(host: str) -> None:
    assert not requests.is_loopback(host)


def test_no_secret_is_in_the_repr_of_a_call() -> None:
    headers = session_headers("s", {"X-Traffic": "sk_other"}, token="sk_secret")
    shown = repr(call_of("secret words", headers))
    assert "secret" not in shown
    assert "sk_" not in shown
