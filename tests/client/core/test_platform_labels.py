"""What stands in the metadata of our sandboxes: found exactly, read back exactly."""

from __future__ import annotations

import string
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppio_agent_client import ConfigurationError, SandboxSpec
from ppio_agent_client._core.platform import labels
from ppio_agent_client._core.platform.requests import list_request

ANY_TEXT = st.text(st.characters(codec=None), min_size=1, max_size=256)
SAFE = set(string.ascii_letters + string.digits + "._-")


@given(text=ANY_TEXT)
def test_any_text_travels_in_safe_characters_and_comes_back(text: str) -> None:
    assert set(labels.escape(text)) <= SAFE
    assert labels.unescape(labels.escape(text)) == text


@given(one=ANY_TEXT, other=ANY_TEXT)
def test_two_texts_are_never_the_same_mark(one: str, other: str) -> None:
    assert (labels.escape(one) == labels.escape(other)) is (one == other)


@given(text=st.text(max_size=40))
def test_a_mark_of_somebody_else_breaks_nothing(text: str) -> None:
    labels.unescape(text)


@given(session_id=ANY_TEXT)
def test_the_filter_finds_what_was_written(session_id: str) -> None:
    wanted = labels.session_label(session_id)
    query = parse_qs(urlsplit(list_request(wanted, None).path).query)
    # The platform decodes the query, reads the value as a form, and unquotes names and values.
    decoded = {unquote(name): unquote(value[0]) for name, value in parse_qs(query["metadata"][0]).items()}
    assert decoded == wanted


def spec(**more: Any) -> SandboxSpec:
    return SandboxSpec(**{"session_id": "客户 7", "template_id": "t/1", "timeout_seconds": 90.5, **more})


@pytest.mark.parametrize("private", [True, False])
def test_what_is_written_is_read(private: bool) -> None:
    made = spec(metadata={"customer": "7", "created_by": "me"}, private_traffic=private)
    read = labels.read_labels(labels.labels_for(made, "c-1", is_legacy=False))
    assert read is not None
    assert (read.session_id, read.template, read.create_id) == ("客户 7", "t/1", "c-1")
    assert (read.life_seconds, read.is_private) == (90.5, private)
    assert read.metadata == {"customer": "7", "created_by": "me"}


def test_our_names_are_not_the_callers() -> None:
    with pytest.raises(ConfigurationError, match="ppio_agent_session"):
        labels.labels_for(spec(metadata={"ppio_agent_session": "x"}), "c", is_legacy=False)


@pytest.mark.parametrize("metadata", [None, [], {}, {"ppio_agent_client": "1"}, {"ppio_agent_session": "x"}, "x"])
def test_sandboxes_of_others_are_none_of_ours(metadata: object) -> None:
    assert labels.read_labels(metadata) is None


def test_odd_marks_are_read_as_far_as_they_go() -> None:
    odd = {"ppio_agent_client": "1", "ppio_agent_session": "s", "ppio_agent_life_seconds": "long", "number": 7}
    read = labels.read_labels(odd)
    assert read is not None
    assert (read.session_id, read.life_seconds, read.metadata) == ("s", 300, {})


def test_the_older_dialect_keeps_auto_resume_in_the_metadata() -> None:
    assert labels.labels_for(spec(auto_resume=True), "c", is_legacy=True)["auto_resume"] == "true"
    assert "auto_resume" not in labels.labels_for(spec(auto_resume=True), "c", is_legacy=False)
