"""Structured field values for HTTP (RFC 8941): dictionaries, parsed strictly and written canonically, and no more.

Dictionaries are what `Signature-Input`, `Signature` and `Content-Digest` are made of. A field that breaks the grammar
anywhere is refused as a whole (section 4.2).
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final


class Token(str):
    """A word without quotes, as in `sha=yes`."""

    __slots__ = ()


BareItem = int | Decimal | str | Token | bytes | bool
Parameters = dict[str, BareItem]


@dataclass(slots=True)
class Item:
    """One value with parameters."""

    value: BareItem
    parameters: Parameters = field(default_factory=dict)


@dataclass(slots=True)
class InnerList:
    """Several items with parameters of the whole."""

    items: list[Item]
    parameters: Parameters = field(default_factory=dict)


Member = Item | InnerList
Dictionary = dict[str, Member]

_KEY: Final = re.compile(r"[a-z*][a-z0-9_\-.*]*")
_NUMBER: Final = re.compile(r"(-?)([0-9]+)(?:\.([0-9]*))?")
_STRING: Final = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_TOKEN: Final = re.compile(r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*")
_BYTES: Final = re.compile(r":([A-Za-z0-9+/]*={0,2}):")
_BOOLEAN: Final = re.compile(r"\?([01])")
_SPACES: Final = re.compile(r" *")
_OPTIONAL_WHITESPACE: Final = re.compile(r"[ \t]*")
_ESCAPED: Final = re.compile(r"\\(.)")


def parse_dictionary(text: str) -> Dictionary:
    """Return the members of a dictionary in order; of repeated keys the last counts (section 4.2.2).

    Raises:
        ValueError: It is no dictionary; the message says where it stops being one, without showing the text.
    """
    parser = _Parser(text)
    parser.skip(_SPACES)
    members: Dictionary = {}
    while not parser.at_end():
        key = parser.take(_KEY, "a key")[0]
        if parser.follows("="):
            members[key] = parser.member()
        else:
            members[key] = Item(True, parser.parameters())
        parser.skip(_OPTIONAL_WHITESPACE)
        if parser.at_end():
            break
        if not parser.follows(","):
            raise parser.error("a comma")
        parser.skip(_OPTIONAL_WHITESPACE)
        if parser.at_end():
            raise parser.error("a member after the comma")
    return members


def serialize_dictionary(members: Dictionary) -> str:
    """Return the canonical form of a dictionary (section 4.1.2)."""
    return ", ".join(_serialize_pair(key, member) for key, member in members.items())


def serialize_member(member: Member) -> str:
    """Return the canonical form of one member's value: an item (section 4.1.3) or an inner list (4.1.1.1)."""
    if isinstance(member, InnerList):
        inner = " ".join(serialize_member(item) for item in member.items)
        return f"({inner}){_serialize_parameters(member.parameters)}"
    return _serialize_bare(member.value) + _serialize_parameters(member.parameters)


class _Parser:
    """A position in a text, moved forward by what is there."""

    __slots__ = ("_position", "_text")

    def __init__(self, text: str) -> None:
        # Spaces around the whole field are dropped before anything else; tabs are not (section 4.2, steps 2 and 6).
        self._text = text.rstrip(" ")
        self._position = 0

    def at_end(self) -> bool:
        return self._position >= len(self._text)

    def error(self, wanted: str) -> ValueError:
        return ValueError(f"there should be {wanted} at position {self._position}")

    def skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self._text, self._position)
        assert found is not None
        self._position = found.end()

    def follows(self, character: str) -> bool:
        if self._text.startswith(character, self._position):
            self._position += 1
            return True
        return False

    def take(self, pattern: re.Pattern[str], wanted: str) -> re.Match[str]:
        found = pattern.match(self._text, self._position)
        if found is None:
            raise self.error(wanted)
        self._position = found.end()
        return found

    def member(self) -> Member:
        return self._inner_list() if self.follows("(") else self._item()

    def parameters(self) -> Parameters:
        parameters: Parameters = {}
        while self.follows(";"):
            self.skip(_SPACES)
            key = self.take(_KEY, "a parameter's key")[0]
            parameters[key] = self._bare_item() if self.follows("=") else True
        return parameters

    def _item(self) -> Item:
        return Item(self._bare_item(), self.parameters())

    def _inner_list(self) -> InnerList:
        items: list[Item] = []
        while True:
            self.skip(_SPACES)
            if self.follows(")"):
                return InnerList(items, self.parameters())
            items.append(self._item())
            if self._text[self._position : self._position + 1] not in (" ", ")"):
                raise self.error("a space or the end of the inner list")

    def _bare_item(self) -> BareItem:
        first = self._text[self._position : self._position + 1]
        if first == '"':
            return _ESCAPED.sub(r"\1", self.take(_STRING, "a string")[1])
        if first == ":":
            return self._byte_sequence()
        if first == "?":
            return self.take(_BOOLEAN, "a boolean")[1] == "1"
        if first == "-" or first.isdigit():
            return self._number()
        return Token(self.take(_TOKEN, "a value")[0])

    def _byte_sequence(self) -> bytes:
        digits = self.take(_BYTES, "a byte sequence")[1].rstrip("=")
        try:
            return b64decode(digits + "=" * (-len(digits) % 4), validate=True)  # padding is optional (section 4.2.7)
        except Base64Error:
            raise self.error("base64 before this") from None

    def _number(self) -> int | Decimal:
        found = self.take(_NUMBER, "a number")
        sign, digits, fraction = found.groups()
        if fraction is None:
            if len(digits) > 15:
                raise self.error("at most 15 digits before this")
            return int(sign + digits)
        if not 1 <= len(fraction) <= 3 or len(digits) > 12:
            raise self.error("at most 12 digits, a point and 1 to 3 digits before this")
        return Decimal(f"{sign}{digits}.{fraction}")


def _serialize_pair(key: str, member: Member) -> str:
    if isinstance(member, Item) and member.value is True:
        return key + _serialize_parameters(member.parameters)
    return f"{key}={serialize_member(member)}"


def _serialize_parameters(parameters: Parameters) -> str:
    return "".join(
        f";{key}" if value is True else f";{key}={_serialize_bare(value)}" for key, value in parameters.items()
    )


def _serialize_bare(value: BareItem) -> str:
    if isinstance(value, bool):
        return "?1" if value else "?0"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Decimal):
        text = f"{value.quantize(Decimal('0.001'), ROUND_HALF_EVEN):f}".rstrip("0")
        return f"{text}0" if text.endswith(".") else text
    if isinstance(value, bytes):
        return f":{b64encode(value).decode()}:"
    if isinstance(value, Token):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
