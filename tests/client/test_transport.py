"""The border to httpx: whatever it raises leaves as one of ours."""

from __future__ import annotations

import inspect

import httpx
import pytest
from pytest_httpx import HTTPXMock

from ppio_agent_client import (
    AgentRuntimeClient,
    ClientConfig,
    ConfigurationError,
    ConnectTimeoutError,
    FirstByteTimeoutError,
    IdleTimeoutError,
    NetworkError,
    PPIOAgentRuntimeError,
    SyncAgentRuntimeClient,
    TotalTimeoutError,
)
from ppio_agent_client._async import _through_httpx
from ppio_agent_client._io._clock import now
from ppio_agent_client._io._network import secure_context
from ppio_agent_client._rules.limits import Limits
from ppio_agent_client._rules.requests import Call

CALL = Call("POST", "http://agent.example/invocations", {})
LIMITS = Limits(connect=1, first_byte=2, idle=3)
EVERY_FAILURE = [
    kind
    for _, kind in inspect.getmembers(httpx, inspect.isclass)
    if issubclass(kind, Exception) and kind.__module__ == "httpx"
]


def made(kind: type[Exception]) -> Exception:
    error = kind.__new__(kind)
    error.args = ("the reason",)
    return error


def translated(kind: type[Exception], *, began: bool = False, limits: Limits = LIMITS) -> PPIOAgentRuntimeError:
    return _through_httpx.translated(made(kind), CALL, limits, began=began)


@pytest.mark.parametrize("kind", EVERY_FAILURE)
def test_nothing_that_httpx_raises_is_unmapped(kind: type[Exception]) -> None:
    assert issubclass(kind, _through_httpx._FAILURES)
    assert "agent.example" in str(translated(kind))


@pytest.mark.parametrize("kind", EVERY_FAILURE)
def test_only_what_was_never_sent_may_be_repeated(kind: type[Exception]) -> None:
    never_sent = {httpx.ConnectError, httpx.ProxyError, httpx.ConnectTimeout, httpx.PoolTimeout}
    assert translated(kind).retryable is (kind in never_sent)


@pytest.mark.parametrize(
    ("kind", "began", "ours"),
    [
        (httpx.ConnectTimeout, False, ConnectTimeoutError),
        (httpx.PoolTimeout, False, ConnectTimeoutError),
        (httpx.ReadTimeout, False, FirstByteTimeoutError),
        (httpx.ReadTimeout, True, IdleTimeoutError),
        (httpx.WriteTimeout, False, IdleTimeoutError),
        (httpx.ConnectError, False, NetworkError),
        (httpx.ReadError, True, NetworkError),
        (httpx.RemoteProtocolError, True, NetworkError),
        (httpx.DecodingError, True, NetworkError),
        (httpx.UnsupportedProtocol, False, ConfigurationError),
        (httpx.LocalProtocolError, False, ConfigurationError),
        (httpx.InvalidURL, False, ConfigurationError),
    ],
)
def test_each_failure_has_its_class(kind: type[Exception], began: bool, ours: type[Exception]) -> None:
    assert type(translated(kind, began=began)) is ours


@pytest.mark.parametrize("kind", [httpx.ConnectTimeout, httpx.ReadTimeout, httpx.WriteTimeout])
def test_a_timeout_behind_the_deadline_is_the_limit_of_the_whole_call(kind: type[Exception]) -> None:
    over = Limits(connect=1, first_byte=2, idle=3, total=9, deadline=now() - 1)
    assert type(translated(kind, limits=over)) is TotalTimeoutError


def test_every_httpx_failure_class_is_looked_at() -> None:
    assert len(EVERY_FAILURE) > 20


@pytest.mark.parametrize("kind", [httpx.ConnectTimeout, httpx.ConnectError])
async def test_a_connection_that_cannot_be_made_is_tried_again(kind: type[Exception], httpx_mock: HTTPXMock) -> None:
    for _ in range(3):
        httpx_mock.add_exception(made(kind))
    config = ClientConfig(max_retries=2, retry_delay=0, transport=httpx.AsyncHTTPTransport())
    async with AgentRuntimeClient(config=config) as client:
        with pytest.raises(NetworkError):
            await client.attach("http://agent.example").invoke("x")
    assert len(httpx_mock.get_requests()) == 3


def test_the_blocking_client_takes_a_transport_of_the_callers_own(httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(json={"result": 1, "status": "success", "duration": 0.1})
    with SyncAgentRuntimeClient(config=ClientConfig(transport=httpx.HTTPTransport())) as client:
        assert client.attach("https://agent.example/base").invoke("x").result == 1
    assert str(httpx_mock.get_requests()[0].url) == "https://agent.example/base/invocations"


def test_there_is_one_tls_context_per_process() -> None:
    assert secure_context() is secure_context()
