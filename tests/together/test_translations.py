"""Every Chinese page, and file of `ppio-agent init`, has the sections, code, tables and names of its English source."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.snippets import snippets

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "packages/ppio-agent-client/src/ppio_agent_client/cli/_templates/common"
CHINESE = sorted((ROOT / "docs" / "zh").glob("*.md"))
OF_TWO_SOURCES = "errors.md"
"""From the sections *Errors* of client.md and wire.md; `test_docs.py` compares its table with the code."""
PAIRS = [
    (ROOT / "README.zh-CN.md", ROOT / "README.md"),
    *((page, ROOT / "docs" / page.name) for page in CHINESE if page.name != OF_TWO_SOURCES),
    *((page, page.with_name(page.name.replace(".zh", ""))) for page in sorted(TEMPLATES.glob("*.zh.md"))),
]
TEXTS = [
    ROOT / "README.zh-CN.md",
    *CHINESE,
    *sorted(TEMPLATES.glob("*.zh.*")),
    *ROOT.glob("packages/*/src/**/zh.js"),
    *ROOT.glob("packages/*/src/**/zh/**/*.po"),
]
INSTEAD = {
    "账户|帐号|帐户": "账号",
    "文件夹": "目录",
    "应答|回应": "响应，智能体对人为回答",
    "返回码": "退出码",
    "跨度": "span",
    "(?<!链路)追踪": "链路追踪，异常的为调用栈",
    "回合": "轮次",
    "智能代理|代理程序": "智能体",
    "生存期|存活期|生存时间": "存活时间",
    "关机|关停": "停机",
    "消息体|报文": "请求体，响应体",
}
"""One word for each thing, as CONTRIBUTING.md has them: what to write instead of what a pattern matches."""
_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```\n", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"\s+#.*|(?<=\S) {2,}.*|(?<=<)[^>]+(?=>)")
"""What is translated in commands and in the layout of the repository: what a line is, and what to put in a place."""
_NO_PROSE = re.compile(r"\0\d+|`[^`]+`|\]\([^)]*\)")


class Section(NamedTuple):
    """What a section must have in any language."""

    level: int
    code: list[str]
    rows: int
    items: int
    pictures: int
    numbers: set[str]
    names: set[str]


def sections(page: Path) -> dict[str, Section]:
    """Return the sections of a page by their headings, in order."""
    found = {}
    code: list[str] = []

    def remember(block: re.Match[str]) -> str:
        code.append(_without_words(block[2], block[3]))
        return f"\0{len(code) - 1}\n"

    text = _FENCE.sub(remember, page.read_text(encoding="utf-8"))
    for part in re.split(r"^(?=#+ )", text, flags=re.MULTILINE):
        heading, _, body = part.partition("\n")
        found[heading] = Section(
            level=len(heading) - len(heading.lstrip("#")),
            code=[code[int(number)] for number in re.findall(r"\0(\d+)", body)],
            rows=len(re.findall(r"^\|", body, re.MULTILINE)),
            items=len(re.findall(r"^(?:-|\d+\.) ", body, re.MULTILINE)),
            pictures=body.count("!["),
            numbers=set(re.findall(r"\d[\d,.]*(?<=\d)", _NO_PROSE.sub("", body))),
            names={" ".join(name.split()) for name in re.findall(r"`([^`]+)`", body)},
        )
    return found


def _without_words(language: str, text: str) -> str:
    if language == "text":
        return ""  # a recording, which tests/cli/test_recordings.py compares
    lines = text.replace("你好", "Hello").splitlines()
    return "\n".join(_COMMENT.sub("", line) if language in {"", "sh"} else line for line in lines)


@pytest.mark.parametrize(("page", "source"), PAIRS, ids=[page.name for page, _ in PAIRS])
def test_a_translation_has_every_section_of_its_source_with_the_same_code_tables_and_names(
    page: Path, source: Path
) -> None:
    translated, original = sections(page), sections(source)

    assert [one.level for one in translated.values()] == [one.level for one in original.values()]
    for (heading, ours), (its_heading, its) in zip(translated.items(), original.items(), strict=True):
        where = f"{heading} of {page.name}, {its_heading} of {source.name}"
        names = {name for name in ours.names if name.isascii() or name in its.names}  # others are Chinese messages
        assert sorted(names ^ its.names) == [], where
        assert ours._replace(names=its.names) == its, where


@pytest.mark.parametrize("page", CHINESE, ids=lambda page: page.name)
def test_a_translation_and_its_source_link_to_each_other(page: Path) -> None:
    of_wire = page.name == OF_TWO_SOURCES
    source = ROOT / "docs" / ("wire.md" if of_wire else page.name)

    assert f"\n[English](../{source.name}{'#errors' if of_wire else ''}) | 简体中文\n" in page.read_text("utf-8")
    assert of_wire or f"\nEnglish | [简体中文](zh/{page.name})\n" in source.read_text("utf-8")


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_chinese_has_one_word_for_each_thing(text: Path) -> None:
    found = [
        f"{line}: instead of {offence[0]} write {instead}"
        for line in text.read_text(encoding="utf-8").splitlines()
        for pattern, instead in INSTEAD.items()
        if (offence := re.search(pattern, line))
    ]

    assert not found, "\n".join(found)


def test_the_drawing_has_the_same_shapes_in_both_languages() -> None:
    english, chinese = (
        (ROOT / "docs" / name).read_text("utf-8") for name in ("images/concepts.svg", "zh/concepts.svg")
    )
    words = re.compile(r"(?<=>)[^<]+")

    assert words.sub("", chinese) == words.sub("", english)


def test_the_search_finds_words_that_the_index_has_apart() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    (separator,) = re.findall(r"separator: '(.*)'", navigation)

    assert re.split(separator, "部署\u200b到\u200b沙箱，retry-after") == ["部署", "到", "沙箱", "retry", "after"]


def test_the_page_of_errors_has_a_program_of_the_client_page() -> None:
    (program,) = snippets(ROOT / "docs" / "zh" / OF_TWO_SOURCES)

    assert program in snippets(ROOT / "docs" / "client.md")
