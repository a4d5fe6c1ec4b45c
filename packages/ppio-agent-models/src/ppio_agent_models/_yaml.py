"""Reads the YAML of a manifest: every scalar is text, and anything ambiguous is refused with its line and column.

PyYAML parses, with its C parser if available. The values are built here from its events and not by one of its
loaders, which resolve tags and aliases, keep the last of two equal keys, and recurse as deep as a file is nested.
As text, values stay as people wrote them: `version: 1.10` is not a number, and `country: NO` is not a boolean.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NoReturn

import yaml

from ._errors import ConfigurationError

MAX_YAML_BYTES: Final = 64 * 1024
MAX_YAML_DEPTH: Final = 32
"""How many mappings and lists may enclose a value."""

_NO_LINE_BREAK = re.compile("[\x85\u2028\u2029]")
"""Characters that break a line in YAML 1.1, but not in 1.2."""
_SURROGATE = re.compile("[\ud800-\udfff]")

Lines = dict[tuple[str, ...], int]
"""The line, from 1, of every key by its path: `("spec", "entrypoint")`; items of lists count as keys, from 0."""


def read_yaml(text: str, *, source: str = "the file") -> tuple[Any, Lines]:
    """Return the document in `text` as dicts, lists and strings, and the lines of its keys.

    An empty value (`key:`) is None. So is a text without a document.

    Raises:
        ConfigurationError: It is not valid YAML, larger than 64 KiB, nested deeper than 32, repeats a key, or has
            anchors, aliases, merge keys, tags or several documents; the message has source, line and column.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_YAML_BYTES:
        raise ConfigurationError(f"{source} is larger than {MAX_YAML_BYTES // 1024} KiB")
    text = text.removeprefix("\ufeff")
    if text.lstrip().startswith("{"):
        text = text.replace("\t", " ")  # In JSON a tab can only be between values, and one of the parsers refuses it.
    if found := yaml.reader.Reader.NON_PRINTABLE.search(text) or _NO_LINE_BREAK.search(text):
        line, column = text.count("\n", 0, found.start()) + 1, found.start() - text.rfind("\n", 0, found.start())
        raise ConfigurationError(f"{source}, line {line}, column {column}: has the character {found[0]!r}")
    reader = _Reader(yaml.parse(text, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader)), source)
    try:
        return reader.read(), reader.lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reader.refuse(mark, error.problem or error.context or "is not valid YAML")


class _Reader:
    def __init__(self, events: Iterator[Any], source: str) -> None:
        self._events = events
        self._source = source
        self.lines: Lines = {(): 1}

    def read(self) -> Any:
        value = None
        documents = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self.refuse(event.start_mark, "begins a second document; a manifest has only one")
            elif isinstance(event, yaml.NodeEvent):
                value = self._value(event, ())
        return value

    def refuse(self, mark: Any, problem: str) -> NoReturn:
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigurationError(f"{self._source}{place}: {problem}")

    def _value(self, event: Any, path: tuple[str, ...]) -> Any:
        if event.anchor is not None:
            self.refuse(event.start_mark, f"uses the anchor {event.anchor!r}; write the value where it is meant")
        if event.tag is not None:
            self.refuse(event.start_mark, f"uses the tag {event.tag!r}, which manifests don't support")
        if isinstance(event, yaml.ScalarEvent):
            if _SURROGATE.search(event.value):  # How JSON escapes emoji; the C parser refuses it itself.
                self.refuse(event.start_mark, "escapes half a character; write the whole character instead")
            return event.value if event.value or not event.implicit[0] else None
        if len(path) >= MAX_YAML_DEPTH:
            self.refuse(event.start_mark, f"is nested deeper than {MAX_YAML_DEPTH}")
        return self._list(path) if isinstance(event, yaml.SequenceStartEvent) else self._mapping(path)

    def _list(self, path: tuple[str, ...]) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            here = (*path, str(len(items)))
            self.lines[here] = event.start_mark.line + 1
            items.append(self._value(event, here))
        return items

    def _mapping(self, path: tuple[str, ...]) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._value(event, path) if isinstance(event, yaml.ScalarEvent | yaml.AliasEvent) else None
            if not isinstance(key, str):
                self.refuse(event.start_mark, "has a key that is not text")
            if key == "<<" and event.implicit[0]:
                self.refuse(event.start_mark, "uses the merge key '<<', which manifests don't support")
            if key in mapping:
                self.refuse(event.start_mark, f"repeats the key {key!r}")
            self.lines[*path, key] = event.start_mark.line + 1
            mapping[key] = self._value(next(self._events), (*path, key))
        return mapping
