"""Limits the length of texts in messages."""

from typing import Final

MAX_MESSAGE_CHARS: Final = 8192
"""Longest message for callers and logs; an exception's message can be of any length."""


def cut(text: str, most: int = MAX_MESSAGE_CHARS) -> str:
    """Return a text, shortened to its beginning, length and end if it is longer than `most` characters."""
    if len(text) <= most:
        return text
    return f"{text[: most // 2]} ... [{len(text)} characters in all] ... {text[-most // 2 :]}"
