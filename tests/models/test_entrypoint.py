"""The entrypoint of a manifest, read in two ways that agree."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ppio_agent_models import AgentManifest, ConfigurationError
from ppio_agent_models._entrypoint import written_entrypoint

PARTS = st.lists(st.sampled_from(["main", "app", "a_b", ".py", ":", ".", "..", "/", " ", "-", "1", "é"]), max_size=6)


@given(PARTS.map("".join))
@example("main.py")
@example("pack.age:app")
@example("../main.py")
@example("/main.py")
@example(".py")
def test_the_fast_way_takes_what_the_model_takes(entrypoint: str) -> None:
    text = f"metadata:\n  name: agent\nspec:\n  entrypoint: '{entrypoint}'\n"
    try:
        wanted = AgentManifest.from_yaml(text).spec.entrypoint
    except ConfigurationError:
        wanted = None

    assert written_entrypoint(text, source="it") == wanted


@pytest.mark.parametrize("text", ["", "spec: main.py", "spec:\n  entrypoint: [a]", "metadata:\n  name: agent"])
def test_a_manifest_without_an_entrypoint_has_none(text: str) -> None:
    assert written_entrypoint(text, source="it") is None


def test_what_cannot_be_read_is_refused_with_its_line() -> None:
    with pytest.raises(ConfigurationError, match="it, line 1, column 1"):
        written_entrypoint("&anchor a: 1", source="it")
