"""What an agent is started with so that only its session is let in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from . import json_codec

KEYS_VARIABLE: Final = "PPIO_AGENT_API_KEYS"
"""Where an agent of this SDK finds the keys that open it."""


def closed_to_all_but(token: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of an agent that `token` opens, besides the keys that its owner gave it."""
    return {**variables, KEYS_VARIABLE: keys_with(token, variables.get(KEYS_VARIABLE, ""))}


def keys_with(token: str, others: str) -> str:
    """Return the keys that open the agent: the session's, and those that its owner gives it besides."""
    try:
        listed = json_codec.load(others) if others.lstrip().startswith("[") else others.split(",")
    except ValueError:
        listed = [others]
    keys = [key.strip() for key in listed if isinstance(key, str) and key.strip()]
    return ",".join([token, *keys])
