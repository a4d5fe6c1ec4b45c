"""Settings that are more than one word: choices, mappings, and structures such as a rate limit.

A structure is a frozen dataclass. It is given as itself, as a mapping, or as a JSON object in a string; one that has a
shorthand reads that too, through a class method `from_text`. Error messages name the field and never show the text that
was given: it may hold a password.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ppio_agent_models import ConfigurationError

Parser = Callable[[Any], Any]
"""Returns a value of the kind, or None when what it was given is something else."""


def without_none(hint: Any) -> tuple[Any, bool]:
    """Return the type in `hint` and whether it may be None."""
    if get_origin(hint) not in (Union, UnionType):
        return hint, False
    members = [member for member in get_args(hint) if member is not type(None)]
    return members[0], len(members) < len(get_args(hint))


def suggestion(word: str, words: Iterable[str]) -> str:
    """Return a sentence with the word that was meant, when one of `words` looks like it."""
    from difflib import get_close_matches  # slow to import, and for mistakes only

    near = get_close_matches(word, list(words), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def parser_of(kind: Any, plain: Mapping[Any, Parser], words: Mapping[Any, str]) -> tuple[Parser, str]:
    """Return the parser of a kind, and how to say in a sentence what it takes.

    Args:
        plain: The parsers of simple types.
        words: What simple types are called.

    Raises:
        TypeError: No setting can be of this kind.
    """
    if kind in plain:
        return plain[kind], words[kind]
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        return lambda value: value if value in choices else None, f"one of {', '.join(map(repr, choices))}"
    if kind == dict[str, str]:
        return _parse_mapping, 'an object of texts (in the environment: JSON, as {"name": "text"})'
    if is_dataclass(kind):
        return _structure_parser(kind, plain, words), getattr(kind, "written", "a JSON object")
    raise TypeError(f"no setting can be of the type {kind!r}")


def _parse_mapping(value: Any) -> dict[str, str] | None:
    given = _json_object(value)
    if given is None or not all(isinstance(text, str) for pair in given.items() for text in pair):
        return None
    return dict(given)


def _json_object(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, Mapping) else None


def _structure_parser(kind: Any, plain: Mapping[Any, Parser], words: Mapping[Any, str]) -> Parser:
    hints = get_type_hints(kind)
    members = {field.name: parser_of(hints[field.name], plain, words) for field in fields(kind)}
    required = [field.name for field in fields(kind) if field.default is field.default_factory is MISSING]
    from_text = getattr(kind, "from_text", None)

    def parse(value: Any) -> Any:
        if isinstance(value, kind):
            return value
        if isinstance(value, str) and from_text is not None and (short := from_text(value)) is not None:
            return short
        given = _json_object(value)
        if given is None:
            return None
        if missing := [name for name in required if name not in given]:
            raise ConfigurationError(f"{kind.__name__} needs {missing[0]!r}.")
        return kind(**{name: _read_member(kind, name, part, members) for name, part in given.items()})

    return parse


def _read_member(kind: Any, name: str, value: Any, members: Mapping[str, tuple[Parser, str]]) -> Any:
    if name not in members:
        raise ConfigurationError(f"{kind.__name__} has no field {name!r}.{suggestion(name, members)}")
    parse, word = members[name]
    if (parsed := parse(value)) is None:
        raise ConfigurationError(f"{kind.__name__}.{name} must be {word}, not of type {type(value).__name__}.")
    return parsed
