"""The exception tree: it travels between processes, is drawn as it is, and hides nothing of Python's own."""

import builtins
import copy
import pickle
import re

import pytest

import ppio_agent_models
from ppio_agent_models import (
    ERROR_TYPES,
    AgentClientError,
    AgentError,
    PPIOAgentRuntimeError,
    SandboxCreationError,
    SandboxGoneError,
    StreamInterruptedError,
    _errors,
)

every_error = pytest.mark.parametrize("kind", ERROR_TYPES.values(), ids=ERROR_TYPES.keys())


def drawn_tree(docstring: str) -> dict[str, str]:
    """Read the tree in a docstring: each name with the name above it."""
    above: dict[str, str] = {}
    path: list[tuple[int, str]] = []
    for line in docstring.splitlines():
        found = re.match(r"^([ │├└─]+)(\w+Error)\b", line)
        if found is None:
            continue
        depth, name = len(found[1]), found[2]
        while path and path[-1][0] >= depth:
            path.pop()
        above[name] = path[-1][1] if path else ""
        path.append((depth, name))
    return above


def test_the_tree_in_the_docstring_is_the_real_tree() -> None:
    real = {kind.__name__: kind.__base__.__name__ for kind in ERROR_TYPES.values() if kind.__base__}
    real["PPIOAgentRuntimeError"] = ""

    assert drawn_tree(_errors.__doc__ or "") == real


def test_every_error_class_is_found_by_its_name_on_the_wire() -> None:
    defined = {
        name: value
        for name, value in vars(_errors).items()
        if isinstance(value, type) and issubclass(value, PPIOAgentRuntimeError)
    }

    assert defined == ERROR_TYPES


@every_error
def test_an_error_is_called_in_tracebacks_as_it_is_imported(kind: type[PPIOAgentRuntimeError]) -> None:
    assert kind.__module__ == "ppio_agent_models"
    assert getattr(ppio_agent_models, kind.__name__) is kind


@every_error
def test_an_error_survives_pickling_with_every_fact(kind: type[PPIOAgentRuntimeError]) -> None:
    error = kind(
        "The agent said no",
        status_code=418,
        error_type="Teapot",
        request_id="r-1",
        retry_after=1.5,
        retryable=True,
    )
    error.add_note("seen while brewing")

    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        twin = pickle.loads(pickle.dumps(error, protocol))

        assert type(twin) is kind
        assert twin.args == error.args
        assert vars(twin) == vars(error)
        assert str(twin) == "The agent said no"


@every_error
def test_a_copied_error_shares_nothing_that_can_change(kind: type[PPIOAgentRuntimeError]) -> None:
    error = kind("first")
    twin = copy.copy(error)
    twin.request_id = "r-2"

    assert error.request_id is None


@pytest.mark.parametrize(
    "error",
    [
        SandboxCreationError("no start", output="Traceback ..."),
        SandboxGoneError("gone", output="Killed"),
        StreamInterruptedError("cut", last_event_id=7, received=6),
    ],
    ids=lambda error: type(error).__name__,
)
def test_facts_of_one_class_only_survive_pickling(error: PPIOAgentRuntimeError) -> None:
    assert vars(pickle.loads(pickle.dumps(error))) == vars(error)


def test_a_subclass_with_arguments_of_its_own_survives_pickling() -> None:
    assert vars(pickle.loads(pickle.dumps(QuotaError("alice", used=3)))) == vars(QuotaError("alice", used=3))


class QuotaError(AgentError):
    """What an agent's author may write: other arguments than the root's."""

    def __init__(self, user: str, *, used: int) -> None:
        super().__init__(f"{user} has used {used} calls", status_code=402)
        self.used = used


@every_error
def test_an_error_says_what_it_is_without_being_told(kind: type[PPIOAgentRuntimeError]) -> None:
    error = kind("why")

    assert error.error_type == kind.__name__
    assert error.status_code == kind.default_status
    assert error.retryable is kind.default_retryable
    assert error.request_id is None
    assert error.retry_after is None


@every_error
def test_facts_are_given_by_keyword_only(kind: type[PPIOAgentRuntimeError]) -> None:
    with pytest.raises(TypeError):
        kind("why", 500)  # type: ignore[call-arg]


def test_a_status_is_an_http_status() -> None:
    statuses = {kind.default_status for kind in ERROR_TYPES.values()} - {None}

    assert all(isinstance(status, int) and 400 <= status <= 599 for status in statuses)


def test_no_public_name_shadows_a_builtin() -> None:
    assert set(vars(ppio_agent_models)["__all__"]).isdisjoint(dir(builtins))


@every_error
def test_no_error_is_caught_by_a_builtin_by_accident(kind: type[PPIOAgentRuntimeError]) -> None:
    foreign = [base for base in kind.__mro__ if not issubclass(base, PPIOAgentRuntimeError)]

    assert foreign == [Exception, BaseException, object]


def test_one_except_catches_what_a_client_raises() -> None:
    outside = {"PPIOAgentRuntimeError", "ConfigurationError", "SerializationError"}

    assert {name for name, kind in ERROR_TYPES.items() if not issubclass(kind, AgentClientError)} == outside


@every_error
def test_every_error_says_in_words_what_it_means(kind: type[PPIOAgentRuntimeError]) -> None:
    assert kind.__doc__
    assert kind.__doc__ != (kind.__base__ or object).__doc__
