"""The public names: which there are, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys
from typing import get_type_hints

import pytest

import ppio_agent_client
from tests.support.public_names import names_at_run_time, names_for_type_checkers


def loaded_by(code: str) -> set[str]:
    """Return the modules that a fresh interpreter has after running `code`."""
    program = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.contract
@pytest.mark.parametrize("name", vars(ppio_agent_client)["__all__"])
def test_every_name_is_there(name: str) -> None:
    assert getattr(ppio_agent_client, name).__name__ == name


def test_type_checkers_see_the_names_that_exist_at_run_time() -> None:
    assert names_for_type_checkers(ppio_agent_client) == names_at_run_time(ppio_agent_client)


@pytest.mark.contract
def test_the_package_itself_loads_nothing_heavy() -> None:
    loaded = loaded_by("import ppio_agent_client") - loaded_by("pass")
    assert loaded.isdisjoint({"typing", "re", "enum", "functools", "collections"})  # what all the heavy ones begin with


@pytest.mark.contract
@pytest.mark.parametrize("client", ["AgentRuntimeClient", "SyncAgentRuntimeClient"])
def test_the_client_comes_without_what_only_calls_need(client: str) -> None:
    loaded = loaded_by(f"from ppio_agent_client import {client}") - loaded_by("pass")
    assert loaded.isdisjoint({"pydantic_core", "httpx", "httpcore", "importlib.metadata", "email", "uuid", "rich"})


def test_making_a_client_loads_the_models_so_that_no_call_waits_for_them() -> None:
    loaded = loaded_by("from ppio_agent_client import AgentRuntimeClient\nAgentRuntimeClient().attach('http://a')")
    assert loaded >= {"ppio_agent_models._invocation", "ppio_agent_models._health", "ppio_agent_models._session"}
    assert loaded.isdisjoint({"httpx", "httpcore", "rich", "typer"})


def test_annotations_can_be_resolved_although_the_models_come_late() -> None:
    hints = get_type_hints(ppio_agent_client.AgentRuntimeClient.invoke_agent)
    assert hints["return"] is ppio_agent_client.InvocationResponse


def test_the_client_never_loads_a_server() -> None:
    loaded = loaded_by("from ppio_agent_client import *\nimport ppio_agent_client._async.transport")
    assert loaded.isdisjoint({"ppio_agent_runtime", "fastapi", "starlette", "uvicorn"})


@pytest.mark.contract
def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'Nothing'"):
        ppio_agent_client.Nothing  # type: ignore[attr-defined]  # noqa: B018  # the access is the test
