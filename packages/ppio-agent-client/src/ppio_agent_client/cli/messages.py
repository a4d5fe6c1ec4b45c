"""Messages of the command line in the user's language: English is the source, `locale/` has the translations.

The first of LANGUAGE, LC_ALL, LC_MESSAGES and LANG that is set decides, as in GNU gettext. Untranslated messages stay
English. Texts of agents and of the packages, log lines and everything with `--json` are never translated.
"""

from __future__ import annotations

import gettext
import os
from itertools import takewhile
from pathlib import Path
from typing import Final

DOMAIN: Final = "ppio_agent_client"
FOLDER: Final = Path(__file__).parent / "locale"
_VARIABLES: Final = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")

_catalog = gettext.NullTranslations()


def choose_language(*, english: bool = False) -> None:
    """Set the language of all messages, Typer's included, from the environment.

    Args:
        english: Whether to use English in any case, for programs.
    """
    global _catalog  # noqa: PLW0603  # one process speaks one language
    wanted = next(filter(None, map(os.environ.get, _VARIABLES)), "")
    languages = [] if english else list(takewhile(lambda one: one[:2] != "en", wanted.split(":")))
    _catalog = gettext.translation(DOMAIN, FOLDER, languages, fallback=True)
    if isinstance(_catalog, gettext.GNUTranslations):
        gettext.bindtextdomain(DOMAIN, FOLDER)
        gettext.textdomain(DOMAIN)  # before Typer is imported


def language() -> str:
    """Return the language of the messages: `en` or `zh`."""
    return _catalog.info().get("language", "en")


def tr(message: str, /, **values: object) -> str:
    """Return a message in the user's language.

    Args:
        message: In English, with `{names}` for `str.format` if there are values.
        values: The values of the names.
    """
    text = _catalog.gettext(message)
    return text.format(**values) if values else text


def ntr(one: str, many: str, n: int, /, **values: object) -> str:
    """Return a message about a number of things, `{n}` in it, in the user's language."""
    return _catalog.ngettext(one, many, n).format(n=n, **values)


def later(message: str) -> str:
    """Mark a message that `tr` translates later, where it is shown; return it unchanged."""
    return message
