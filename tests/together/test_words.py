"""Pages and sources have none of the words that were corrected before; CONTRIBUTING.md, *Words*, has those to use."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted(ROOT.glob("packages/*/README.md")),
    *sorted(ROOT.glob("docs/*.md")),
]
SOURCES = [path for path in sorted(ROOT.glob("packages/*/src/**/*.py")) if "_sync" not in path.parts]
INSTEAD = {
    r"(a|any|from|its|the) begin|begin of": "beginning or start",
    r"feels?": "what is meant, such as 'returns the agent's health'",
    r"(say|says|said|saying) goodbye|goodbyes?": "close or end",
    r"nobody reads ['`]\w+['`]": "unknown, ignored",
    r"repetitions?": "retry or retries",
    r"by (force|habit)": "what is meant, such as 'not a security boundary'",
    r"(ids?|none|sessions?)( that)? lives?": "running",
    r"(version|message|help) and end": "and exit",
    r"(by|for|to) who": "for callers that, or whom",
    r"(allow|enable|permit)s? to": "lets you, or allows you to",
    "anew": "again",
    r"lives? on": "keeps running, or continues",
    r"go(es)? on with": "continues",
    r"living (sandbox|session)s?": "running",
    "held any more": "no longer kept",
    r"(advice|feedback|information|software)s": "the word without s",
    r"(is|are|was|were) told|tells? (of|whether)": "reported or sent, or reports or returns whether",
    r"whoever (has|comes|answers|asks|reads|wrote|waits)": "the caller, client or process that is meant",
    r"somebody|(by|of|to) nobody|nobody (asks|answers|hears|learns|listens|takes|else has)": (
        "the user, caller or process that is meant"
    ),
    "any more": "no longer",
    r"(it|that|which|stream|session|run|process|build) (goes|went) on": "continues",
    r"is (asked|had) of": "requested or obtained",
    r"(puts?|putting) away|lets? go of": "remove, release",
    r"what (it|that|this|he|she)? ?says? of|says? of the|said of": "what it reports about",
    r"what comes of|whatever comes of|became? of (it|them)": "result or outcome",
    r"cannot be had|mended|are they who": "what is meant, such as 'is not available'",
}
"""What to write instead of the words that a pattern matches, in upper or lower case."""


def offences(text: str) -> list[str]:
    """Return the sentences, or cells of a table, that have such words, with what to write instead."""
    return [
        f"{' '.join(sentence.split())!r}: instead of {found[0]!r} write {instead}"
        for sentence in re.split(r"(?<=[.!?:])\s+|\n\n|\|", text)
        for pattern, instead in INSTEAD.items()
        if (found := re.search(rf"\b({pattern})(?!\w)", sentence, re.IGNORECASE))
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_has_no_word_that_was_corrected_before(page: Path) -> None:
    found = offences(page.read_text(encoding="utf-8"))

    assert not found, "\n".join(found)


@pytest.mark.slow
def test_docstrings_messages_and_comments_have_none_either() -> None:
    found = [f"{path.name}: {offence}" for path in SOURCES for offence in offences(path.read_text(encoding="utf-8"))]

    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("It starts. Events are read\nfrom the begin of the stream. It ends.", "the begin"),
        ("| status | says how the agent feels |", "feels"),
        ("Warning: nobody reads 'timeuot'.", "nobody reads 'timeuot'"),
        ("None lives. Open one:", "None lives"),
        ("OpenMetrics for who asks.", "for who"),
        ("Show the version and end.", "version and end"),
        ("Session s lives on:", "lives on"),
        ("The caller is told of the end.", "is told"),
        ("Whoever asks, gets the events that are kept.", "Whoever asks"),
        ("It is not kept any more.", "any more"),
        ("After a save the stream goes on.", "stream goes on"),
    ],
)
def test_a_corrected_word_is_found_with_its_sentence(text: str, word: str) -> None:
    (offence,) = offences(text)

    assert f"instead of {word!r}" in offence or f"instead of {word}" in offence
    assert "It starts" not in offence
    assert "It ends" not in offence


@pytest.mark.parametrize(
    "text",
    [
        "Names that begin with `ppio_` are the SDK's.",
        "A sandbox has a time to live, and nobody reads another's answers.",
        "Ask those who know to whom it belongs.",
        "`allow_origins` lets pages call it.",
    ],
)
def test_words_that_are_right_are_left_alone(text: str) -> None:
    assert offences(text) == []
