"""Messages of the command line and their translations: `python scripts/messages.py` brings both files up to date.

`locale/zh/LC_MESSAGES/ppio_agent_client.po` is what people edit: every message of the sources, with its translation.
The `.mo` beside it is compiled from it and is what the program reads. With `--check` nothing is written; the exit code
is 1 if a message has no translation, placeholders differ, or a file is not up to date.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import string
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from ppio_agent_client.cli.app import build
from ppio_agent_client.cli.commands import COMMANDS
from ppio_agent_client.cli.help_texts import translate
from ppio_agent_client.cli.messages import DOMAIN, FOLDER

SOURCES: Final = FOLDER.parent
PO_FILE: Final = FOLDER / "zh" / "LC_MESSAGES" / f"{DOMAIN}.po"
MO_FILE: Final = PO_FILE.with_suffix(".mo")
_KEYWORDS: Final = {"tr": 1, "ntr": 2, "later": 1}
"""How many arguments of a function are texts."""
_HEADER: Final = "# Chinese messages of ppio-agent. Edit the translations, then run: python scripts/messages.py"
_DATE: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""Two runs give the same bytes."""


def messages() -> Iterator[tuple[str | tuple[str, ...], str]]:
    """Yield every message of the command line with the file that says it: of its sources, and of its help."""
    for path in sorted(SOURCES.rglob("*.py")):
        name = path.relative_to(SOURCES).as_posix()
        if name.startswith(("_templates/", "subprocesses/")):
            continue  # what runs in an agent's own Python
        calls = (node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.Call))
        for call in sorted(calls, key=lambda node: (node.lineno, node.col_offset)):
            count = _KEYWORDS.get(ast.unparse(call.func), 0)
            texts = [one.value for one in call.args[:count] if isinstance(one, ast.Constant)]
            if texts:  # a variable holds what `later` has marked
                yield tuple(map(str, texts)) if count > 1 else str(texts[0]), name
    for name in COMMANDS:
        yield from ((text, f"commands/{name}.py") for text in help_of(name))


def help_of(name: str) -> list[str]:
    """Return what the help of a command says, apart from what all commands say."""
    group: Any = build()
    texts: list[str] = []

    def seen(text: str) -> str:
        texts.append(text)
        return text

    translate(group, seen)
    command = group.resolve_command(group.make_context("ppio-agent", [name], resilient_parsing=True), [name])[1]
    for one in [command, *getattr(command, "commands", {}).values()]:
        translate(one, seen)
    return texts


def current(old: Catalog) -> Catalog:
    """Return the catalog of all messages, with the translations that `old` has."""
    catalog = Catalog(
        "zh", header_comment=_HEADER, project=DOMAIN, creation_date=_DATE, revision_date=_DATE, fuzzy=False
    )
    for text, file in messages():
        known = old.get(text[0] if isinstance(text, tuple) else text)
        catalog.add(text, known.string if known else "", locations=[(file, 0)])
    return catalog


def problems(catalog: Catalog) -> list[str]:
    """Return what is wrong with the translations, a line each."""
    found = []
    for message in catalog:
        if not message.id:
            continue
        english, translated = _texts(message.id), _texts(message.string or "")
        if not all(translated):
            found.append(f"{english[0]!r} has no translation")
        elif {placeholders(text) for text in translated} != {placeholders(english[-1])}:
            found.append(f"{english[0]!r} and {translated[0]!r} have different placeholders")
    return found


def _texts(one_or_more: str | Iterable[str]) -> list[str]:
    return [one_or_more] if isinstance(one_or_more, str) else list(one_or_more)


def placeholders(text: str) -> frozenset[str]:
    """Return the fields of a message, with their formats; what is no format string has none."""
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError:
        return frozenset(re.findall(r"[{}]", text))
    return frozenset(f"{name}!{conversion}:{form}" for _, name, form, conversion in parts if name is not None)


def po_bytes(catalog: Catalog) -> bytes:
    """Return the file that people edit."""
    file = io.BytesIO()
    write_po(file, catalog, width=120, include_lineno=False, sort_by_file=True)
    return file.getvalue()


def mo_bytes(catalog: Catalog) -> bytes:
    """Return the file that the program reads."""
    file = io.BytesIO()
    write_mo(file, catalog)
    return file.getvalue()


def read(path: Path = PO_FILE) -> Catalog:
    """Return what is in a `.po` file."""
    with path.open("rb") as file:
        return read_po(file, locale="zh")


def main() -> int:
    """Write or check the two files; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    catalog = current(read())
    found = problems(catalog)
    for path, content in ((PO_FILE, po_bytes(catalog)), (MO_FILE, mo_bytes(catalog))):
        if path.is_file() and path.read_bytes() == content:
            continue
        if check:
            found.append(f"{path.name} is not up to date; run: python scripts/messages.py")
        else:
            path.write_bytes(content)
    sys.stderr.writelines(f"{line}\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
