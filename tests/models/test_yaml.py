"""The small YAML reader against a full one: what it reads, both read alike; what it does not read, it refuses."""

import io
import json
import math
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from ppio_agent_models import ConfigurationError
from ppio_agent_models._yaml import read_yaml

# Written plain, the full reader reads these differently, by habits of YAML 1.1: dates, `=`, `<<`, `1_000`.
_HABITS_OF_YAML_1_1 = re.compile(r"=|<<|[-+]?[0-9][0-9_.]*_[0-9_.eE+-]*|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}.*|[-+]?0b[01_]+")


def full_yaml(text: str) -> Any:
    """Read `text` with a full YAML 1.2 reader; keys stay the text that was written, as they do in a manifest."""
    reader = YAML(typ="safe", pure=True)
    reader.version = (1, 2)
    node = reader.compose(io.StringIO(text))
    return None if node is None else meaning_of(reader.constructor, node)


def meaning_of(constructor: Any, node: Node) -> Any:
    if isinstance(node, MappingNode):
        pairs = [(key.value, meaning_of(constructor, value)) for key, value in node.value]
        assert len(pairs) == len(dict(pairs)), "a key is repeated"
        return dict(pairs)
    if isinstance(node, SequenceNode):
        return [meaning_of(constructor, item) for item in node.value]
    return constructor.construct_object(node, deep=True)


# --- documents in the subset, written by a small writer -----------------------------------------------------------

printable = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn"], exclude_characters="\ufeff\u2028\u2029")
)
words = st.from_regex(r"[a-zA-Z_/][a-zA-Z0-9_./-]{0,12}( [a-zA-Z0-9_./#-]{1,8})?", fullmatch=True).filter(
    lambda word: not re.search(r"\s#", word)
)
plain_text = words.filter(lambda word: word.lower() not in {"null", "true", "false"})
integers = st.integers(-(10**20), 10**20)
floats = st.floats(allow_nan=False, allow_infinity=False)
comments = st.sampled_from(["", "  # a comment: with 'everything' [in] it", " #"])
keys = words.filter(lambda word: word.lower() not in {"null", "true", "false"} and " " not in word)


@st.composite
def scalars(draw: st.DrawFn) -> tuple[str, Any]:
    """Draw a scalar: as it is written, and what it means."""
    value = draw(st.none() | st.booleans() | integers | floats | plain_text | printable)
    if isinstance(value, str):
        writings = ['"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"', "'" + value.replace("'", "''") + "'"]
        if re.fullmatch(r"[a-zA-Z_/][a-zA-Z0-9_./ #-]*", value) and not re.search(r"\s#|\s$", value):
            writings += [value] if value.lower() not in {"null", "true", "false"} else []
        return draw(st.sampled_from(writings)), value
    if value is None:
        return draw(st.sampled_from(["null", "~", "Null", "NULL"])), None
    if isinstance(value, bool):
        return draw(st.sampled_from([str(value), str(value).lower(), str(value).upper()])), value
    return repr(value), value


@st.composite
def flows(draw: st.DrawFn) -> tuple[str, Any]:
    leaves = st.none() | st.booleans() | integers | plain_text
    value = draw(st.lists(leaves, max_size=3) | st.dictionaries(plain_text, leaves, max_size=3))
    return json.dumps(value), value


Written = tuple[list[str], Any]
"""Lines without indentation of their own, and what they mean."""


@st.composite
def mappings(draw: st.DrawFn, blocks: st.SearchStrategy[Written]) -> Written:
    lines: list[str] = []
    meaning: dict[str, Any] = {}
    for key in draw(st.lists(keys, min_size=1, max_size=4, unique=True)):
        name = draw(st.sampled_from([key, f'"{key}"', f"'{key}'"]))
        block = draw(st.none() | blocks)
        if block is None:
            written, meaning[key] = draw(scalars() | flows())
            lines.append(f"{name}: {written}{draw(comments)}")
        else:
            inner, meaning[key] = block
            may_align = isinstance(meaning[key], list)
            indent = " " * draw(st.integers(0 if may_align else 1, 4))
            lines.append(f"{name}:{draw(comments)}")
            lines += [indent + line for line in inner]
        lines += draw(st.sampled_from([[], [""], ["# between: the lines"]]))
    return lines, meaning


@st.composite
def lists(draw: st.DrawFn, blocks: st.SearchStrategy[Written]) -> Written:
    lines: list[str] = []
    meaning: list[Any] = []
    for _ in range(draw(st.integers(1, 4))):
        block = draw(st.none() | blocks.filter(lambda block: isinstance(block[1], dict)))
        if block is None:
            written, value = draw(scalars() | flows())
            lines.append(f"- {written}{draw(comments)}")
        else:
            inner, value = block
            dash = "-" + " " * draw(st.integers(1, 3))
            lines.append(dash + inner[0])
            lines += [" " * len(dash) + line for line in inner[1:]]
        meaning.append(value)
    return lines, meaning


documents = st.recursive(
    mappings(st.nothing()) | lists(st.nothing()), lambda inner: mappings(inner) | lists(inner), max_leaves=5
)


@given(
    document=documents,
    start=st.sampled_from(["", "---\n", "# made by hand\n---\n"]),
    ending=st.sampled_from(["\n", "\r\n"]),
)
def test_a_document_in_the_plain_part_of_yaml_is_read_as_a_full_reader_reads_it(
    document: Written, start: str, ending: str
) -> None:
    lines, meaning = document
    text = (start + "\n".join(lines) + "\n").replace("\n", ending)

    assert read_yaml(text) == meaning
    assert full_yaml(text) == meaning


# --- arbitrary text -----------------------------------------------------------------------------------------------

characters = "ab01.-:#'\"[]{},&*!|>%@`?~\n\t \\e+é\r\x85\xa0\u2028\ufeff"
combinations = ["''", "- ", ": ", " #", "? ", "\n ", "\n  ", "\n- ", "key", "x: y", "a: "]
special_words = ["null", "true", "<<", "---", "...", "12", "0x1", "0o7", ".inf", "-.inf", ".nan"]
fragments = st.sampled_from([*characters, *combinations, *special_words])


@settings(derandomize=True, max_examples=400)  # the other reader has quirks too; a find of luck belongs to a developer
@given(text=st.lists(fragments, max_size=12).map("".join))
@example("a: b: c")
@example("a: - b")
@example("- - a")
@example("a: 'b' 'c'")
@example("a: 'it's'")
@example("? a: b")
@example("--- a: b")
@example("a: b\u2028c: d")
@example("a:\xa0b: c")
@example("a: b\xa0")
@example("a: ,b")
@example("a: [NaN]")
@example('{"a": 1, "a": 2}')
@example("<<: {}")
@example("a: 1\n---\nb: 2")
@example("\ufeffa: 1")
@example(" #\x85a")
@example("---\n---")
def test_nothing_is_guessed_what_is_read_at_all_a_full_reader_reads_alike(text: str) -> None:
    try:
        value = read_yaml(text)
    except ConfigurationError:
        return
    if has_habits_of_yaml_1_1(value):
        return

    assert same(full_yaml(text), value)


def has_habits_of_yaml_1_1(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(has_habits_of_yaml_1_1, [*value, *value.values()]))
    if isinstance(value, list):
        return any(map(has_habits_of_yaml_1_1, value))
    return isinstance(value, str) and _HABITS_OF_YAML_1_1.fullmatch(value) is not None


def same(left: Any, right: Any) -> bool:
    """Compare with types, and with not-a-number equal to itself."""
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left):
        return math.isnan(right)
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right


@given(text=st.text(max_size=40))
def test_whatever_the_text_the_answer_is_a_value_or_a_clear_refusal(text: str) -> None:
    try:
        answer = read_yaml(text, source="agent.yaml")
    except ConfigurationError as refusal:
        answer = str(refusal)

    assert answer is None or isinstance(answer, dict | list) or answer.startswith("agent.yaml")


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: &anchor x", "line 2 uses '&'"),
        ("a: *anchor", "line 1 uses '*'"),
        ("a: !tag x", "line 1 uses '!'"),
        ("a: |\n  text", "line 1 uses '|'"),
        ("a: >\n  text", "line 1 uses '>'"),
        ("a: @x", "line 1 uses '@'"),
        ("a: 1\n\n# note\nb", "line 4 is not 'key: value'"),
        ("a: 1\na: 2", "line 2 repeats the key 'a'"),
        ("a:\n\tb: 1", "line 2 contains a tab; use spaces"),
        ("a: 1\n  b: 2", "line 2 is indented more than the lines before it"),
        ("a: first\n  second", "line 2 is indented more"),
        ("- 1\nb: 2", "line 2 does not continue the block before it"),
        ("a: 1\n---\nb: 2", "line 2 ends the document"),
        ("a: 1\n...", "line 2 ends the document"),
        ("a: b: c", "line 1 has a value that must be quoted: 'b: c'"),
        ("a: - b", "line 1 has a value that must be quoted: '- b'"),
        ("- - b", "line 1 has a value that must be quoted: '- b'"),
        ("a: 'b' 'c'", "line 1 has a single quote that does not pair up"),
        ('a: "b', "line 1 has a value that is not a string in double quotes, on one line"),
        ("a: [b, c]", "line 1 has a value that is not JSON, with strings in double quotes, on one line: '[b, c]'"),
        ("a: [1,\n  2]", "line 1 has a value that is not JSON"),
        ('a: {"b": 1, "b": 2}', "line 1 has a value that is not JSON"),
        ("a: 007", "line 1 has a number with a leading zero: '007'; quote it"),
        (f"a: {'9' * 5000}", "line 1 has a number of 5000 digits"),
        ("a: 1\nb: \x00", r"line 2 contains the character '\x00'"),
        ("<<: {}", "line 1 uses '<<'"),
        ('{"a": 1', "is not valid JSON"),
        ('{"a": 1, "a": 2}', "is not valid JSON: a key is repeated"),
        ('{"a": NaN}', "is not valid JSON: NaN"),
        ("a: " + "[" * 100_000, "is nested too deeply"),
        ("\n".join(" " * depth + "a:" for depth in range(2000)), "is nested too deeply"),
    ],
    ids=lambda part: part[:24],
)
def test_what_is_outside_the_plain_part_is_refused_with_its_line(text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_yaml(text, source="agent.yaml")

    assert problem in str(caught.value)
    assert str(caught.value).startswith("agent.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# nothing but a comment\n", None),
        ("---\n", None),
        ('{"a": [1, {"b": null}]}', {"a": [1, {"b": None}]}),
        ("url: https://example.com:8080/x#y", {"url": "https://example.com:8080/x#y"}),
        ("when: 2026-01-02", {"when": "2026-01-02"}),
        ("yes: no", {"yes": "no"}),
        ("1: 2", {"1": 2}),
        ("a: 0x1f\nb: 0o17\nc: +12", {"a": 31, "b": 15, "c": 12}),
        ("a: 1_000", {"a": "1_000"}),
        ("\ufeffa: 1", {"a": 1}),
        ("tags:\n- a\n- b\nname: x", {"tags": ["a", "b"], "name": "x"}),
        ("-\n  a: 1", [{"a": 1}]),
        ("a:\nb: 1", {"a": None, "b": 1}),
        ("a: it's fine", {"a": "it's fine"}),
    ],
    ids=lambda part: str(part)[:24],
)
def test_common_writings_mean_what_they_say(text: str, value: object) -> None:
    assert read_yaml(text) == value


def test_the_full_reader_refuses_what_is_no_yaml() -> None:
    """Guards the comparison above: were the full reader to take everything, agreeing with it would mean little."""
    with pytest.raises(YAMLError):
        full_yaml("a: b: c")
