"""The agent's function, inspected once: kind, parameters, payload type. Nothing is inspected per request."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any, Protocol, get_type_hints

from ppio_agent_models import ConfigurationError, PayloadValidationError

from .context import RequestContext

_CONTEXT_NAMES = frozenset({"context", "ctx"})
_CONTEXT_TYPE = re.compile(rf"\b{RequestContext.__name__}\b")
_P = inspect.Parameter
_PLACED = frozenset({_P.POSITIONAL_ONLY, _P.POSITIONAL_OR_KEYWORD, _P.VAR_POSITIONAL})
"""Kinds of parameters that get their value by position."""


class Handler:
    """A registered function and how to call it.

    Attributes:
        name: `module.qualname`, for logs and messages.
        in_thread: It is called in a worker thread; otherwise on the event loop, because the call itself doesn't run any
            of its code yet (a coroutine or generator function).
        generates: It is a generator function, so its result streams.
        call: `call(payload, context)`, whatever the function's own parameters are.
        load: Makes the payload from the body's bytes and the JSON value decoded from them.
        yields_events: It yields a run of typed events, which include its text; callers that don't ask for events get
            the text. Without it, a run is typed if the first value that is not text is an event object.
    """

    __slots__ = ("call", "generates", "in_thread", "load", "name", "payload_type", "yields_events")

    def __init__(self, function: Callable[..., Any], *, yields_events: bool = False) -> None:
        if function is None:
            raise ConfigurationError("Write @app.entrypoint without parentheses, above the agent's function.")
        if not callable(function):
            raise ConfigurationError(f"@app.entrypoint needs a function; {function!r} cannot be called.")
        if inspect.isclass(function):
            raise ConfigurationError(
                f"@app.entrypoint needs a function, and {function.__qualname__} is a class: register a callable object "
                f"of it, app.entrypoint({function.__name__}(...))."
            )
        code = code_of(function)
        self.yields_events: bool = yields_events
        self.name: str = f"{code.__module__}.{code.__qualname__}"
        self.generates: bool = inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code)
        self.in_thread: bool = not (self.generates or inspect.iscoroutinefunction(code))
        payload, context = _roles(function, self.name)
        self.call: Callable[[Any, Any], Any] = _caller(function, payload, context)
        self.payload_type: Any = dict if payload is None else _payload_type(code, payload, self.name)
        self.load: Callable[[bytes, Any], Any] = _loader(self.payload_type) if payload is not None else _load_nothing

    def schema(self) -> dict[str, Any] | None:
        """Return the JSON Schema of the payload, or None if it accepts any object or is an `AgentInput`.

        Raises:
            ConfigurationError: The type has none.
        """
        from ppio_agent_models import AgentInput, InvocationRequest  # not needed by plain agents

        if self.payload_type in (Any, object, dict, dict[str, Any], InvocationRequest, AgentInput):
            return None
        from pydantic import PydanticUserError, TypeAdapter  # already imported, for the payload

        try:
            return TypeAdapter(self.payload_type).json_schema()
        except PydanticUserError as error:
            raise ConfigurationError(f"The payload type of {self.name} has no JSON Schema: {error}") from error


def code_of(function: Callable[..., Any]) -> Any:
    """Return the function behind partials and callable objects."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif not (inspect.isroutine(function) or inspect.isclass(function)):
            function = type(function).__call__
        else:
            return function


class Callee(Protocol):
    """What an invocation calls: `call(subject, context)`, in a worker thread or on the loop."""

    in_thread: bool

    @property
    def call(self) -> Callable[[Any, Any], Any]:
        """Call it with subject and context."""


def call_of(function: Callable[..., Any]) -> tuple[str, Callable[[Any, Any], Any]]:
    """Return the name of a function that takes a subject first, and how to call it with subject and context.

    Raises:
        ConfigurationError: It requires a parameter that would get no value.
    """
    code = code_of(function)
    name = f"{code.__module__}.{code.__qualname__}"
    return name, _caller(function, *_roles(function, name))


def _roles(function: Callable[..., Any], name: str) -> tuple[_P | None, _P | None]:
    """Return the parameters that take the payload and the context."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"The parameters of {name} cannot be read: {error}.") from error
    if isinstance(function, functools.partial):  # bound keywords are not the payload
        parameters = [parameter for parameter in parameters if parameter.name not in function.keywords]
    payload = context = None
    for position, parameter in enumerate(parameters):
        if parameter.kind is _P.VAR_KEYWORD:
            continue
        if context is None and _takes_context(parameter):
            context = parameter
        elif payload is None and position == (1 if context is not None else 0):
            payload = parameter
        elif parameter.default is _P.empty and parameter.kind is not _P.VAR_POSITIONAL:
            raise ConfigurationError(
                f"{name} requires the parameter {parameter.name!r}, which would get no value. An entrypoint takes the "
                "payload first, and the context in a parameter named 'context' or 'ctx' or annotated RequestContext; "
                "give any other parameter a default."
            )
    return payload, context


def _takes_context(parameter: _P) -> bool:
    if parameter.kind is _P.VAR_POSITIONAL:
        return False
    annotation = parameter.annotation
    if isinstance(annotation, str):
        named = _CONTEXT_TYPE.search(annotation) is not None
    else:
        named = annotation is RequestContext or RequestContext in getattr(annotation, "__args__", ())
    return named or parameter.name in _CONTEXT_NAMES


def _caller(function: Callable[..., Any], payload: _P | None, context: _P | None) -> Callable[[Any, Any], Any]:
    """Return `call(payload, context)` that fills the function's own parameters."""
    roles = [role for role in (payload, context) if role is not None]
    named = [role.name for role in roles if role.kind is _P.KEYWORD_ONLY]
    placed = [each for each in inspect.signature(function).parameters.values() if each.kind in _PLACED]
    while placed and placed[-1] not in roles:
        placed.pop()
    if not named and placed == [payload, context]:
        return function
    if not named and placed == [payload]:
        return lambda value, _context: function(value)
    payload_name, context_name = (None if role is None else role.name for role in (payload, context))

    def call(value: Any, ctx: Any) -> Any:
        given = {payload_name: value, context_name: ctx}
        return function(
            *[given.get(each.name, each.default) for each in placed], **{name: given[name] for name in named}
        )

    return call


def _payload_type(code: Any, parameter: _P, name: str) -> Any:
    """Return the payload's annotation as a type; `dict` when there is none."""
    annotation = parameter.annotation
    if parameter.kind is _P.VAR_POSITIONAL or annotation is _P.empty:
        return dict
    if isinstance(annotation, str):
        try:
            annotation = _resolved(annotation, code)
        except Exception as error:
            raise ConfigurationError(
                f"The annotation {annotation!r} of {name}'s parameter {parameter.name!r} cannot be resolved: {error}. "
                "Import the type where the module can see it at run time, outside 'if TYPE_CHECKING'."
            ) from error
    return annotation


def _resolved(annotation: str, code: Any) -> Any:
    """Return the type that `annotation` names in the module of `code`, without resolving other annotations."""

    def only() -> None: ...

    only.__annotations__ = {"payload": annotation}
    names = getattr(inspect.unwrap(code), "__globals__", {})
    return get_type_hints(only, globalns=names, include_extras=True)["payload"]


def _loader(payload_type: Any) -> Callable[[bytes, Any], Any]:
    """Return a function from the body's bytes and decoded value to the payload."""
    if payload_type is Any or payload_type is object:
        return lambda _body, value: value
    if payload_type is dict or payload_type == dict[str, Any]:
        return _load_object
    from pydantic import TypeAdapter, ValidationError  # not needed by plain agents, and slow to import

    try:
        adapter = TypeAdapter(payload_type)
    except Exception as error:
        raise ConfigurationError(f"The payload type {payload_type!r} is not supported by pydantic: {error}") from error
    validate = adapter.validate_json

    def load(body: bytes, _value: Any) -> Any:
        try:
            # From the bytes, not the decoded value: pydantic's JSON mode takes dates, enums and sets as JSON has them.
            return validate(body)
        except ValidationError as error:
            raise PayloadValidationError(explain(error)) from None
        except Exception as error:  # a validator of the agent's own model broke
            from .errors import handler_failure  # already loaded when an app serves

            raise handler_failure(error) from error

    return load


def _load_object(_body: bytes, value: Any) -> Any:
    if type(value) is not dict:
        raise PayloadValidationError(f"The body must be a JSON object, not {_json_name(value)}.")
    return value


def _load_nothing(_body: bytes, _value: Any) -> None:
    return None


def _json_name(value: Any) -> str:
    names = {list: "an array", str: "a string", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def explain(error: Any) -> str:
    """Return one sentence that names each wrong field, without the values that were sent."""
    problems = error.errors(include_url=False, include_input=False)
    shown = [f"{'.'.join(map(str, problem['loc'])) or 'the body'}: {_message(problem)}" for problem in problems[:20]]
    more = f"; and {len(problems) - 20} more" if len(problems) > 20 else ""
    return f"The body does not fit the agent's payload type: {'; '.join(shown)}{more}."


def _message(problem: Any) -> str:
    if problem["type"] == "union_tag_invalid":  # pydantic's message includes the tag that was sent
        return f"The tag {problem['ctx']['discriminator']} must be one of {problem['ctx']['expected_tags']}"
    return str(problem["msg"])
