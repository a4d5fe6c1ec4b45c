"""Structured fields (RFC 8941), against an independent implementation."""

import datetime as dt
import string
from contextlib import suppress
from decimal import Decimal
from typing import Any

import http_sf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppio_agent_runtime._door.structured_fields import (
    InnerList,
    Item,
    Member,
    Token,
    parse_dictionary,
    serialize_dictionary,
)

keys = st.from_regex(r"[a-z*][a-z0-9_\-.*]{0,8}", fullmatch=True)
bare_items = st.one_of(
    st.integers(-(10**15) + 1, 10**15 - 1),
    st.decimals(-(10**9), 10**9, allow_nan=False, places=3),
    st.text(string.printable[:95], max_size=20),
    st.from_regex(r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]{0,8}", fullmatch=True).map(Token),
    st.binary(max_size=40),
    st.booleans(),
)
parameters = st.dictionaries(keys, bare_items, max_size=3)
items = st.builds(Item, bare_items, parameters)
members: st.SearchStrategy[Member] = st.one_of(items, st.builds(InnerList, st.lists(items, max_size=4), parameters))
dictionaries = st.dictionaries(keys, members, max_size=4)


def plain(value: Any) -> Any:
    """Return a member in the terms of http_sf, with the types of its values."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, InnerList):
        return [plain(item) for item in value.items], plain(value.parameters)
    if isinstance(value, Item):
        return plain(value.value), plain(value.parameters)
    if isinstance(value, tuple | list):
        return type(value)(plain(inner) for inner in value)
    if isinstance(value, Decimal | float):
        return "decimal", float(value)
    return type(value).__name__, value


@given(dictionaries)
def test_a_dictionary_survives_writing_and_reading(dictionary: dict[str, Member]) -> None:
    assert plain(parse_dictionary(serialize_dictionary(dictionary))) == plain(dictionary)


@given(dictionaries)
def test_dictionaries_are_written_as_the_other_implementation_reads_them(dictionary: dict[str, Member]) -> None:
    assert plain(http_sf.parse(serialize_dictionary(dictionary).encode(), tltype="dictionary")) == plain(dictionary)


def only_rfc_8941(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(only_rfc_8941, value.values()))
    if isinstance(value, tuple | list):
        return all(map(only_rfc_8941, value))
    return not isinstance(value, dt.datetime | http_sf.DisplayString)


@given(
    st.one_of(
        st.text(alphabet='ab*-_.=;:,()" \\?01239\t@%\x7f\xe9', max_size=12),
        st.tuples(dictionaries.map(serialize_dictionary), st.integers(0, 60), st.sampled_from('",;=:() \t?x9\\')).map(
            lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] :]
        ),
        st.tuples(dictionaries.map(serialize_dictionary), st.integers(0, 60)).map(lambda parts: parts[0][: parts[1]]),
    )
)
def test_what_is_no_dictionary_is_refused_just_as_the_other_implementation_does(text: str) -> None:
    try:
        theirs = http_sf.parse(text.encode("latin-1"), tltype="dictionary")
    except ValueError:
        theirs = None
    if theirs is not None and not only_rfc_8941(theirs):
        return  # dates and display strings came with RFC 9651
    if theirs is None:
        with pytest.raises(ValueError, match="at position"):
            parse_dictionary(text)
    else:
        assert plain(parse_dictionary(text)) == plain(theirs)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(ValueError):
        assert parse_dictionary(serialize_dictionary(parse_dictionary(text))) == parse_dictionary(text)
