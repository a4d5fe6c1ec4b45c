"""Reads the plain part of YAML that a manifest is written in, so that agent images need no YAML library.

Understood: nested mappings, lists of scalars or of mappings, comments, plain and quoted scalars, `[]`/`{}` in JSON
spelling, and a file that is JSON altogether. Everything else (anchors, tags, block scalars, several documents) is
refused with its line number, never guessed. Scalars follow the YAML 1.2 core schema (section 10.3.2).
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

from ._errors import ConfigurationError

_KEY = re.compile(
    r"""(?P<key>"(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s'"\[\]{}#&*!|>%@`,][^#]*?)\s*:(?:\s+(?P<value>.*))?$"""
)
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_QUOTED = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*')\s*(?:\s#.*)?$""")
_COMMENT = re.compile(r"(?:^|\s+)#")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}

_Line = tuple[int, int, str]
"""Line number from 1, indentation in spaces, content."""


def read_yaml(text: str, *, source: str = "the file") -> Any:
    """Return the document in `text` as dicts, lists, strings, numbers, booleans and None.

    Raises:
        ConfigurationError: The text is outside the plain part of YAML; the message has source and line.
    """
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except ValueError as error:
            raise ConfigurationError(f"{source} is not valid JSON: {error}") from error
    return _Reader(text, source).read()


class _Reader:
    def __init__(self, text: str, source: str) -> None:
        self._source = source
        self._lines = [line for number, raw in enumerate(text.splitlines(), 1) if (line := self._line(number, raw))]
        self._at = 0

    def read(self) -> Any:
        if not self._lines:
            return None
        value = self._block(self._lines[0][1])
        if self._at < len(self._lines):
            raise self._error(self._lines[self._at][0], "does not continue the block before it")
        return value

    def _line(self, number: int, raw: str) -> _Line | None:
        content = raw.rstrip()
        stripped = content.lstrip(" ")
        if not stripped or stripped.startswith("#") or (number == 1 and stripped == "---"):
            return None
        if stripped.startswith("\t"):
            raise self._error(number, "is indented with a tab; use spaces")
        return number, len(content) - len(stripped), stripped

    def _block(self, indent: int) -> Any:
        content = self._lines[self._at][2]
        return self._list(indent) if _is_item(content) else self._mapping(indent)

    def _mapping(self, indent: int) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while (line := self._line_at(indent)) is not None:
            number, _, content = line
            if _is_item(content):
                break
            found = _KEY.match(content)
            if found is None:
                raise self._error(number, "is not 'key: value'")
            key = str(self._scalar(number, found["key"], plain_is_text=True))
            if key in mapping:
                raise self._error(number, f"repeats the key {key!r}")
            self._at += 1
            mapping[key] = self._value(number, _without_comment(found["value"] or ""), indent, lists_may_align=True)
        return mapping

    def _list(self, indent: int) -> list[Any]:
        items: list[Any] = []
        while (line := self._line_at(indent)) is not None:
            number, _, content = line
            if not _is_item(content):
                break
            rest = content[1:].lstrip(" ")
            if _KEY.match(rest) and not rest.startswith(("'", '"')):
                # A mapping that begins on the dash's own line: read it as if it stood on a line of its own.
                inner = indent + len(content) - len(rest)
                self._lines[self._at] = (number, inner, rest)
                items.append(self._mapping(inner))
                continue
            self._at += 1
            items.append(self._value(number, _without_comment(rest), indent, lists_may_align=False))
        return items

    def _value(self, number: int, text: str, indent: int, *, lists_may_align: bool) -> Any:
        if text:
            return self._scalar(number, text)
        if self._at == len(self._lines):
            return None
        _, next_indent, content = self._lines[self._at]
        aligned_list = lists_may_align and next_indent == indent and _is_item(content)
        return self._block(next_indent) if next_indent > indent or aligned_list else None

    def _line_at(self, indent: int) -> _Line | None:
        if self._at == len(self._lines):
            return None
        line = self._lines[self._at]
        if line[1] > indent:
            raise self._error(line[0], "is indented more than the lines before it")
        return line if line[1] == indent else None

    def _scalar(self, number: int, text: str, *, plain_is_text: bool = False) -> Any:
        if text[0] == "'" and text[-1] == "'" and len(text) > 1:
            return text[1:-1].replace("''", "'")
        if text[0] in '"[{':
            try:
                return json.loads(text)
            except ValueError:
                raise self._error(number, f"has a value that does not end or is not JSON: {text[:20]!r}") from None
        if text[0] in "&*!|>%@`'":
            raise self._error(number, f"uses {text[0]!r}, which manifests do without")
        if plain_is_text:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INT.fullmatch(text):
            return int(text)
        return float(text) if _FLOAT.fullmatch(text) else text

    def _error(self, number: int, problem: str) -> ConfigurationError:
        return ConfigurationError(f"{self._source}, line {number} {problem}")


def _is_item(content: str) -> bool:
    return content == "-" or content.startswith("- ")


def _without_comment(text: str) -> str:
    """Return `text` without a trailing comment: a `#` after a space, outside quotes and JSON."""
    if quoted := _QUOTED.match(text):
        return quoted[1]
    start = 0
    if text.startswith(("[", "{")):
        with suppress(ValueError):
            start = json.JSONDecoder().raw_decode(text)[1]
    comment = _COMMENT.search(text, start)
    return text[: comment.start()] if comment else text
