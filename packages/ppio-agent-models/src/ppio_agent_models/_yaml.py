"""Reads the plain part of YAML that a manifest is written in, so that agent images need no YAML library.

Understood: nested mappings, lists of scalars or of mappings, comments, plain and quoted scalars on one line, `[]` and
`{}` in JSON spelling, and a file that is JSON altogether. Everything else (anchors, tags, block scalars, several
documents) is refused with its line number, never guessed: what this reads, a full YAML library reads the same way.
Scalars follow the YAML 1.2 core schema (section 10.3.2); keys are always text.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any, Final

from ._errors import ConfigurationError

_DOUBLE = r'"(?:[^"\\]|\\.)*"'
_SINGLE = r"'(?:[^']|'')*'"
_PLAIN_KEY = r"""(?![-?:](?: |$))[^ '"\[\]{}#&*!|>%@`,][^#]*?"""
_KEY = re.compile(rf"(?P<key>{_DOUBLE}|{_SINGLE}|{_PLAIN_KEY}) *:(?: +(?P<value>.*))?$")
_SINGLE_QUOTED = re.compile(_SINGLE)
_QUOTED = re.compile(rf"({_DOUBLE}|{_SINGLE}) *(?: #.*)?$")
_COMMENT = re.compile(r"(?:^| +)#")
_NOT_PLAIN = re.compile(r"[-?:](?: |$)|.*:(?: |$)")
_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_MARKER = re.compile(r"(---|\.\.\.)( |$)")
_REFUSED = re.compile("[^\t\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
"""What no YAML file contains (section 5.1), line breaks of YAML 1.1 only, and byte order marks inside the text."""

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_WORDS: Final[dict[str, bool | None]] = {
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
    text = text.removeprefix("\ufeff")
    try:
        if not text.lstrip().startswith("{"):
            return _Reader(text, source).read()
        return _json(text)
    except RecursionError:
        raise ConfigurationError(f"{source} is nested too deeply") from None
    except ValueError as error:
        raise ConfigurationError(f"{source} is not valid JSON: {error}") from error


class _Reader:
    def __init__(self, text: str, source: str) -> None:
        self._source = source
        self._at = 0
        self._begun = False
        self._lines: list[_Line] = []
        for number, raw in enumerate(_LINE_BREAK.split(text), 1):
            if line := self._line(number, raw):
                self._lines.append(line)

    def read(self) -> Any:
        if not self._lines:
            return None
        value = self._block(self._lines[0][1])
        if self._at < len(self._lines):
            raise self._error(self._lines[self._at][0], "does not continue the block before it")
        return value

    def _line(self, number: int, raw: str) -> _Line | None:
        if found := _REFUSED.search(raw):
            raise self._error(number, f"contains the character {found[0]!r}")
        content = raw.rstrip(" ")
        stripped = content.lstrip(" ")
        if not stripped or stripped.startswith("#"):
            return None
        if "\t" in raw:
            raise self._error(number, "contains a tab; use spaces")
        if _MARKER.match(content):
            if content == "---" and not self._begun:
                self._begun = True
                return None
            raise self._error(number, "ends the document; a manifest is one document")
        self._begun = True
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
            key = self._key(number, found["key"])
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
            if _KEY.match(rest):
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

    def _key(self, number: int, text: str) -> str:
        if text[0] in "'\"":
            return str(self._quoted(number, text))
        if text == "<<":
            raise self._error(number, "uses '<<', which manifests do without")
        return text

    def _scalar(self, number: int, text: str) -> Any:
        if text[0] in "'\"[{":
            return self._quoted(number, text)
        if text[0] in "&*!|>%@`,]}":
            raise self._error(number, f"uses {text[0]!r}, which manifests do without; quote it if it is text")
        if _NOT_PLAIN.match(text):
            raise self._error(number, f"has a value that must be quoted: {text[:20]!r}")
        if text in _WORDS:
            return _WORDS[text]
        if _LEADING_ZERO.fullmatch(text):
            raise self._error(number, f"has a number with a leading zero: {text[:20]!r}; quote it to keep the zero")
        if _INT.fullmatch(text):
            return self._integer(number, text)
        if _FLOAT.fullmatch(text):
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        return text

    def _integer(self, number: int, text: str) -> int:
        try:
            return int(text, 0)
        except ValueError:  # Python limits the digits that it reads.
            raise self._error(number, f"has a number of {len(text)} digits; quote it if it is text") from None

    def _quoted(self, number: int, text: str) -> Any:
        if text[0] == "'":
            if _SINGLE_QUOTED.fullmatch(text):
                return text[1:-1].replace("''", "'")
            raise self._error(number, f"has a single quote that does not pair up: {text[:20]!r}")
        try:
            return _json(text)
        except ValueError:
            hint = "a string in double quotes" if text[0] == '"' else "JSON, with strings in double quotes"
            raise self._error(number, f"has a value that is not {hint}, on one line: {text[:20]!r}") from None

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


def _json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_without_repetition, parse_constant=_no_constant)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        raise ValueError("a key is repeated")
    return mapping


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
