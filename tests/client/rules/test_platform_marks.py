"""What stands in the metadata of our sandboxes: found exactly, read back exactly."""

from __future__ import annotations

import string
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppio_agent_client import ConfigurationError, SandboxSpec
from ppio_agent_client._rules import platform_calls, platform_marks

ANY_TEXT = st.text(st.characters(codec=None), min_size=1, max_size=256)
SAFE = set(string.ascii_letters + string.digits + "._-")


@given(text=ANY_TEXT)
def test_any_text_travels_in_safe_characters_and_comes_back(text: str) -> None:
    assert set(platform_marks.plain(text)) <= SAFE
    assert platform_marks.original(platform_marks.plain(text)) == text


@given(one=ANY_TEXT, other=ANY_TEXT)
def test_two_texts_are_never_the_same_mark(one: str, other: str) -> None:
    assert (platform_marks.plain(one) == platform_marks.plain(other)) is (one == other)


@given(text=st.text(max_size=40))
def test_a_mark_of_somebody_else_breaks_nothing(text: str) -> None:
    platform_marks.original(text)


@given(session_id=ANY_TEXT)
def test_the_filter_finds_what_was_written(session_id: str) -> None:
    wanted = {platform_marks.SESSION: platform_marks.plain(session_id)}
    query = parse_qs(urlsplit(platform_calls.listing(wanted).path).query)
    # The platform decodes the query, reads the value as a form, and unquotes names and values.
    decoded = {unquote(name): unquote(value[0]) for name, value in parse_qs(query["metadata"][0]).items()}
    assert decoded == wanted


def spec(**more: Any) -> SandboxSpec:
    return SandboxSpec(**{"session_id": "客户 7", "template_id": "t/1", "timeout_seconds": 90.5, **more})


@pytest.mark.parametrize("private", [True, False])
def test_what_is_written_is_read(private: bool) -> None:
    made = spec(metadata={"customer": "7", "created_by": "me"}, private_traffic=private)
    marks = platform_marks.read(platform_marks.written(made, "t/1", "c-1", is_legacy=False))
    assert marks is not None
    assert (marks.session_id, marks.template, marks.create_id) == ("客户 7", "t/1", "c-1")
    assert (marks.life_seconds, marks.is_private) == (90.5, private)
    assert marks.metadata == {"customer": "7", "created_by": "me"}


def test_our_names_are_not_the_callers() -> None:
    with pytest.raises(ConfigurationError, match="ppio_agent_session"):
        platform_marks.written(spec(metadata={"ppio_agent_session": "x"}), "t", "c", is_legacy=False)


@pytest.mark.parametrize("metadata", [None, [], {}, {"ppio_agent_client": "1"}, {"ppio_agent_session": "x"}, "x"])
def test_sandboxes_of_others_are_none_of_ours(metadata: object) -> None:
    assert platform_marks.read(metadata) is None


def test_odd_marks_are_read_as_far_as_they_go() -> None:
    odd = {"ppio_agent_client": "1", "ppio_agent_session": "s", "ppio_agent_life_seconds": "long", "number": 7}
    marks = platform_marks.read(odd)
    assert marks is not None
    assert (marks.session_id, marks.life_seconds, marks.metadata) == ("s", 300, {})


def test_the_older_dialect_keeps_auto_resume_in_the_metadata() -> None:
    assert platform_marks.written(spec(auto_resume=True), "t", "c", is_legacy=True)["auto_resume"] == "true"
    assert "auto_resume" not in platform_marks.written(spec(auto_resume=True), "t", "c", is_legacy=False)
