"""Writes the table of all settings in docs/operate.md from `AgentConfig`: names, defaults and sentences are its own.

python scripts/settings_table.py            writes the table
python scripts/settings_table.py --check    exits with 1 when the page has another one
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from pathlib import Path

from ppio_agent_runtime import AgentConfig

PAGE = Path(__file__).resolve().parent.parent / "docs" / "operate.md"
_PLACE = re.compile(
    r"(?<=<!-- settings: written by scripts/settings_table\.py -->\n).*(?=<!-- end of settings -->)", re.DOTALL
)
_ATTRIBUTE = re.compile(r"^    (\w+): (.*(?:\n        .*)*)", re.MULTILINE)


def sentences() -> dict[str, str]:
    """Return what the docstring of `AgentConfig` says about each setting."""
    text = inspect.cleandoc(AgentConfig.__doc__ or "").partition("Attributes:")[2]
    return {name: " ".join(words.split()) for name, words in _ATTRIBUTE.findall(text)}


def table() -> str:
    """Return the table."""
    described = sentences()
    rows = ["| setting | default | |", "|---|---|---|"]
    for name, field in AgentConfig._fields.items():
        default = "none" if field.default is None else f"`{json.dumps(field.default)}`"
        rows.append(f"| `{name}` | {default} | {described[name]} |")
    return "\n".join(rows) + "\n"


def main() -> int:
    """Write or check."""
    page = PAGE.read_text(encoding="utf-8")
    wanted = _PLACE.sub(lambda _: table(), page)
    if "--check" in sys.argv[1:]:
        if page != wanted:
            print(f"{PAGE.name} has other settings than AgentConfig; run: python scripts/settings_table.py")
        return int(page != wanted)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
