"""How much is told of a text that somebody else made."""

from typing import Final

MAX_MESSAGE_CHARS: Final = 8192
"""How much callers and logs are told of a message, which an exception may have made of anything."""


def cut(text: str, most: int = MAX_MESSAGE_CHARS) -> str:
    """Return beginning and end of a text that is longer than `most` characters, and how long it is."""
    if len(text) <= most:
        return text
    return f"{text[: most // 2]} ... [{len(text)} characters in all] ... {text[-most // 2 :]}"
