"""Secrets in a manifest, which becomes part of a template. A finding names the key and never the value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from .findings import Finding, error, warning

_VALUES: Final = {
    "a key of a model service": re.compile(r"\bsk[-_][A-Za-z0-9_-]{16,}"),
    "a key of AWS": re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a token of GitHub": re.compile(r"\b(gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,})"),
    "a token of Slack": re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
    "a key of Google": re.compile(r"\bAIza[0-9A-Za-z_-]{35}"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a signed token": re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\."),
    "a password in an address": re.compile(r"://[^/\s:@]*:[^/\s@]+@"),
}
_ENTRY: Final = re.compile(r"""^\s*(?:- )?["']?(?P<key>[\w.-]+)["']?\s*:\s+(?P<value>[^#\s].*)$""")
_WORDS: Final = {"apikey", "credential", "credentials", "key", "passphrase", "passwd", "password", "secret", "token"}
_HARMLESS: Final = {"public", "name", "file", "path", "id", "max", "limit", "count"}
_PLACEHOLDER: Final = re.compile(
    r"""["']?(\$\{.*|<.*>|\d+|true|false|null|~|\{\}|\[\]|)["']?\s*(#.*)?""", re.IGNORECASE
)
_BETWEEN_WORDS: Final = re.compile(r"[_.-]|(?<=[a-z])(?=[A-Z])")
_ADVICE: Final = "; give it with --env instead"


def check_secrets(file: str, text: str) -> Iterator[Finding]:
    """Yield each line of a manifest that has a secret in it, or has the look of it."""
    for number, line in enumerate(text.splitlines(), 1):
        kinds = [kind for kind, pattern in _VALUES.items() if pattern.search(line)]
        entry = _ENTRY.match(line)
        where = f"{entry['key']} is" if entry else "this line has"
        if kinds:
            yield error("secret", file, number, f"{where} {kinds[0]}{_ADVICE}")
        elif entry and _has_the_name_of_one(entry["key"]) and not _PLACEHOLDER.fullmatch(entry["value"]):
            yield warning("secret", file, number, f"{entry['key']} looks like a secret{_ADVICE}")


def _has_the_name_of_one(key: str) -> bool:
    words = {word.lower() for word in _BETWEEN_WORDS.split(key)}
    return bool(words & _WORDS) and not words & _HARMLESS
