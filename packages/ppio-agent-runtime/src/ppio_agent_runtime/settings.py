"""Settings from three sources, argument > environment > default, checked on creation.

A settings class lists annotated fields, each with a default or `setting(default=...)`. A wrong value raises an error at
once, with the field's name, the value's source and the bound; for an unknown name, a similar one is suggested.

A field may be a structure, such as a rate limit: a settings class without environment variables. Its value is an
instance, a mapping, or a string with a JSON object or a shorthand. Error messages name the field, and never show the
value of a structure, because it may contain a password.
"""

from __future__ import annotations

import json
import math
import operator
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import NoneType, UnionType
from typing import Any, ClassVar, Final, Literal, Self, Union, dataclass_transform, get_args, get_origin, get_type_hints

from ppio_agent_models import ConfigurationError

Parser = Callable[[Any], Any]
"""Converts a value to the field's type; returns None if it can't."""
Source = Literal["argument", "environment", "default"]

MASK: Final = "***"
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")
_NUMBER = re.compile(r"-?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_BOOLEANS = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(("0", "false", "no", "off"), False)
_BOUNDS = {
    "above": ("more than", operator.gt),
    "at_least": ("at least", operator.ge),
    "at_most": ("at most", operator.le),
}
_KEYWORDS = {"above": "exclusiveMinimum", "at_least": "minimum", "at_most": "maximum"}
_DESCRIBED = re.compile(r"^    (\w+): (.*(?:\n        .*)*)", re.MULTILINE)
"""The description of a field in the docstring of its class."""
_URI_SECRETS = re.compile(r"(?<=://)[^/?#]*(?=@)|(?<=\?).*", re.DOTALL)


@dataclass(eq=False)
class _Setting:
    """One field: its default, its bounds, and how a string becomes a value."""

    default: Any
    secret: bool = False
    bounds: dict[str, float] = field(default_factory=dict)
    optional: bool = field(default=False, init=False)
    shows_value: bool = field(default=False, init=False)
    parse: Parser = field(init=False)
    word: str = field(init=False)
    kind: Any = field(default=None, init=False)

    def read(self, value: Any, where: str) -> Any:
        """Return `value` as the field's type.

        Raises:
            ConfigurationError: It is of another type or out of bounds.
        """
        if value is None and self.optional:
            return None
        shown = f"not {value!r}" if self.shows_value else f"not this {type(value).__name__}"
        try:
            parsed = self.parse(value)
        except ConfigurationError as error:  # from inside a structure
            raise ConfigurationError(f"{where} is wrong: {error}") from None
        if parsed is None:
            raise ConfigurationError(f"{where} must be {self.word}, {shown}.")
        for kind, bound in self.bounds.items():
            words, fits = _BOUNDS[kind]
            if not fits(parsed, bound):
                raise ConfigurationError(f"{where} must be {words} {bound}, {shown}.")
        if self.secret:
            texts = [*parsed, *parsed.values()] if isinstance(parsed, Mapping) else parsed
            if not texts or not all(text.strip() for text in texts):
                # An empty variable must not turn authentication off.
                raise ConfigurationError(f"{where} is set, but is empty or contains an empty string.")
        return parsed


def setting(*, default: Any, secret: bool = False, **bounds: float) -> Any:
    """Declare a field of a settings class.

    Args:
        default: Its value if it is not set; not checked.
        secret: Its value is never shown, and must not be empty.
        bounds: The limits of a number: `above`, `at_least`, `at_most`.
    """
    return _Setting(default, secret, bounds)


def without_password(value: Any) -> Any:
    """Return a URI with its credentials and options masked; anything else as it is."""
    return _URI_SECRETS.sub(MASK, value) if isinstance(value, str) and "://" in value else value


def _parse_bool(value: Any) -> bool | None:
    if isinstance(value, str):
        return _BOOLEANS.get(value.strip().lower())
    return value if isinstance(value, bool) else None


def _parse_int(value: Any) -> int | None:
    if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value.strip()):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _parse_float(value: Any) -> float | None:
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and -math.inf < value < math.inf else None


def _parse_str(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _parse_list(value: Any) -> list[str] | None:
    if isinstance(value, str) and not value.lstrip().startswith("["):
        return [item.strip() for item in value.split(",") if item.strip()]
    items = _from_json(value)
    is_list = isinstance(items, list | tuple) and all(isinstance(item, str) for item in items)
    return list(items) if is_list else None


def _parse_mapping(value: Any) -> dict[str, str] | None:
    given = _from_json(value)
    is_mapping = isinstance(given, Mapping) and all(isinstance(text, str) for pair in given.items() for text in pair)
    return dict(given) if is_mapping else None


def _from_json(value: Any) -> Any:
    """Return a string decoded from JSON, None if it isn't JSON; other values unchanged."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return None


_PARSERS: dict[Any, tuple[Parser, str]] = {
    bool: (_parse_bool, "true or false"),
    int: (_parse_int, "a whole number"),
    float: (_parse_float, "a finite number"),
    str: (_parse_str, "a string that is not empty"),
    list[str]: (_parse_list, "a list of strings (in the environment: separated by commas, or JSON)"),
    dict[str, str]: (_parse_mapping, 'an object of strings (in the environment: JSON, as {"name": "text"})'),
}


def _suggestion(word: str, words: Iterable[str]) -> str:
    """Return a sentence that suggests the most similar of `words`, or "" if none is similar."""
    from difflib import get_close_matches  # slow to import, and only needed for errors

    near = get_close_matches(word, list(words), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _parser_of(kind: Any) -> tuple[Parser, str]:
    """Return the parser of a type, and a description of valid values for messages.

    Raises:
        TypeError: The type is not supported.
    """
    if kind in _PARSERS:
        return _PARSERS[kind]
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        return lambda value: value if value in choices else None, f"one of {', '.join(map(repr, choices))}"
    if _is_structure(kind):
        return kind.parse, kind.written
    raise TypeError(f"no setting can be of the type {kind!r}")


def _schema_of(kind: Any) -> dict[str, Any]:
    if get_origin(kind) is Literal:
        return {"enum": list(get_args(kind))}
    if _is_structure(kind):
        schema: dict[str, Any] = kind.json_schema()
        return schema
    types = {bool: "boolean", int: "integer", float: "number", str: "string"}
    if kind in types:
        return {"type": types[kind]}
    text = {"type": "string"}
    return {"type": "array", "items": text} if kind == list[str] else {"type": "object", "additionalProperties": text}


def _is_structure(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Settings)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(setting,))
class Settings:
    """Base class of settings; see the module's docstring. Instances are immutable.

    A subclass has the fields of its base and its own.

    Attributes:
        written: Description of a valid value for a field of this class, as part of a sentence.
    """

    written: ClassVar[str] = "a JSON object"
    _prefix: ClassVar[str | None] = None
    _by_position: ClassVar[bool] = False
    _fields: ClassVar[dict[str, _Setting]] = {}
    _sources: dict[str, Source]

    def __init_subclass__(cls, *, env_prefix: str | None = None, kw_only: bool = True) -> None:
        """Collect the fields.

        Args:
            env_prefix: Prefix of the environment variables; by default that of the base class. A class without one is
                a structure, and has no variables.
            kw_only: False allows positional arguments too.
        """
        cls._by_position = not kw_only
        cls._prefix = env_prefix or cls._prefix
        cls._fields = dict(cls._fields)
        for name, hint in get_type_hints(cls).items():
            if name.startswith("_") or get_origin(hint) is ClassVar or hint is ClassVar:
                continue
            if name not in vars(cls):
                if name not in cls._fields:
                    raise ConfigurationError(
                        f"{cls.__name__}.{name} needs a default, such as None; or is it a ClassVar?"
                    )
                continue
            default = vars(cls)[name]
            own = default if isinstance(default, _Setting) else _Setting(default)
            kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
            own.optional = NoneType in kinds
            kind = next(each for each in kinds if each is not NoneType)
            own.kind = kind
            own.parse, own.word = _parser_of(kind)
            holds_texts = own.secret or kind == dict[str, str] or _is_structure(kind)
            own.shows_value = cls._prefix is not None and not holds_texts
            cls._fields[name] = own
            delattr(cls, name)

    def __init__(self, *values: Any, **given: Any) -> None:
        kind = type(self).__name__
        if len(values) > (len(self._fields) if self._by_position else 0):
            raise ConfigurationError(f"{kind} takes settings by name, as in port=8080.")
        given |= zip(self._fields, values, strict=False)
        if unknown := [name for name in given if name not in self._fields]:
            raise ConfigurationError(f"{kind} has no setting {unknown[0]!r}.{_suggestion(unknown[0], self._fields)}")
        self._sources = {}
        source: Source
        for name, own in self._fields.items():
            variable = self.variable_of(name)
            if name in given:
                source, value = "argument", own.read(given[name], f"{kind}.{name}")
            elif variable is not None and variable in os.environ:
                source, value = "environment", own.read(os.environ[variable], f"The variable {variable}")
            else:
                source, value = "default", list(own.default) if isinstance(own.default, list) else own.default
            self._sources[name] = source
            super().__setattr__(name, value)
        self._prepare()

    def _prepare(self) -> None:
        """Called when all fields are set: check conditions on several fields, or compute what depends on them.

        Raises:
            ConfigurationError: The fields are not valid together.
        """

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._fields:
            raise ConfigurationError(
                f"{type(self).__name__} cannot be changed; use replace({name}=...) to get a changed copy."
            )
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{name}={MASK if self._fields[name].secret else repr(without_password(value))}"
            for name, (value, source) in self.explain().items()
            if source != "default"
        )
        return f"{type(self).__name__}({shown})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and all(getattr(other, name) == getattr(self, name) for name in self._fields)

    __hash__: ClassVar[None] = None  # type: ignore[assignment]  # holds lists, compared by value

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, checked like new ones; the environment is not read again."""
        copy = type(self)(**{name: getattr(self, name) for name in self._fields} | changes)
        copy._sources = self._sources | dict.fromkeys(changes, "argument")
        return copy

    def explain(self) -> Mapping[str, tuple[Any, Source]]:
        """Return each field's value and where it came from."""
        return {name: (getattr(self, name), source) for name, source in self._sources.items()}

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> Self:
        """Return settings from a mapping, such as the content of a file; the same as `cls(**given)`.

        Raises:
            ConfigurationError: A field is unknown or wrong, or it is not a mapping.
        """
        if not isinstance(given, Mapping):
            raise ConfigurationError(f"{cls.__name__}.from_mapping takes a mapping, not this {type(given).__name__}.")
        return cls(**given)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain data for `from_mapping`, without secrets."""
        values = {name: getattr(self, name) for name, own in self._fields.items() if not own.secret}
        return {name: value.as_dict() if isinstance(value, Settings) else value for name, value in values.items()}

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """Return the JSON Schema (2020-12) for `from_mapping`, for editors and checks of files."""
        from inspect import getdoc  # only for tools

        described = dict(_DESCRIBED.findall(getdoc(cls) or ""))
        properties = {}
        for name, own in cls._fields.items():
            schema = _schema_of(own.kind) | {_KEYWORDS[kind]: bound for kind, bound in own.bounds.items()}
            if own.optional:
                schema = {"anyOf": [schema, {"type": "null"}]}
            if name in described:
                schema["description"] = " ".join(described[name].split())
            properties[name] = schema | ({} if isinstance(own.default, Settings) else {"default": own.default})
        return {"title": cls.__name__, "type": "object", "additionalProperties": False, "properties": properties}

    @classmethod
    def parse(cls, value: Any) -> Self | None:
        """Return a structure from an instance, a mapping or JSON; None if `value` is something else.

        Raises:
            ConfigurationError: One of its fields is wrong.
        """
        given = _from_json(value)
        return given if isinstance(given, cls) else cls(**given) if isinstance(given, Mapping) else None

    @classmethod
    def variable_of(cls, name: str) -> str | None:
        """Return the name of the environment variable of a field, or None if the class has no variables."""
        return None if cls._prefix is None else cls._prefix + name.upper()

    @classmethod
    def secret_names(cls) -> frozenset[str]:
        """Return the names of the secret fields."""
        return frozenset(name for name, own in cls._fields.items() if own.secret)

    @classmethod
    def unknown_variables(cls, known_elsewhere: frozenset[str]) -> list[str]:
        """Return a warning for each environment variable with our prefix that is unknown."""
        prefix = cls._prefix or ""
        known = {prefix + name.upper() for name in cls._fields}
        return [
            f"The environment variable {name} is unknown, and ignored.{_suggestion(name, known)}"
            for name in sorted(os.environ)
            if name.startswith(prefix) and name not in known | known_elsewhere
        ]
