"""The YAML of a manifest: text stays text, and what could be read in two ways is refused with its place."""

from collections.abc import Iterator

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ppio_agent_models import AgentManifest, ConfigurationError, ManifestDocument


@pytest.fixture(params=["c", "python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Read with both parsers of PyYAML: wheels without the C parser exist."""
    if request.param == "python":
        monkeypatch.delattr(yaml, "CBaseLoader")
    return request.param  # type: ignore[no-any-return]


def read(text: str) -> object:
    return ManifestDocument.parse(text, source="agent.yaml").value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# nothing but a comment\n", None),
        ("---\n", None),
        (
            "country: NO\nversion: 1.10\nzip: 007\nat: 12:30",
            {"country": "NO", "version": "1.10", "zip": "007", "at": "12:30"},
        ),
        ("when: 2026-01-02\nhex: 0x1f\nbig: 1_000", {"when": "2026-01-02", "hex": "0x1f", "big": "1_000"}),
        ("on: yes\n1: true\nnull: ~", {"on": "yes", "1": "true", "null": "~"}),
        ("a:\nb: ''\nc: 1", {"a": None, "b": "", "c": "1"}),
        ("url: https://example.com:8080/x#y  # a comment", {"url": "https://example.com:8080/x#y"}),
        ("\ufeffa: 1", {"a": "1"}),
        ("tags:\n- a\n- b\nname: x", {"tags": ["a", "b"], "name": "x"}),
        ("tags: [a, 'b',\n  c]", {"tags": ["a", "b", "c"]}),
        ("text: |\n  one\n  two\n", {"text": "one\ntwo\n"}),
        ("text: >-\n  one\n  two\n", {"text": "one two"}),
        ('{"a": [1, {"b": null}],\n\t"c":"\\u00e9\\/"}', {"a": ["1", {"b": "null"}], "c": "é/"}),
        ("x: a" + " " * 20_000 + "b", {"x": "a" + " " * 20_000 + "b"}),
    ],
    ids=lambda part: str(part)[:24],
)
@pytest.mark.usefixtures("parser")
def test_every_scalar_is_the_text_that_is_written(text: str, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("a: 1\nb: &name x", "line 2, column 4", "uses the anchor 'name'"),
        ("a: *name", "line 1, column 4", "uses the anchor 'name'"),
        ("a: !tag x", "line 1, column 4", "uses the tag '!tag'"),
        ("a: !!python/object:os.system x", "line 1, column 4", "uses the tag"),
        ("a: 1\n<<: {}", "line 2, column 1", "uses the merge key '<<'"),
        ("a: 1\na: 2", "line 2, column 1", "repeats the key 'a'"),
        ('{"a": 1, "a": 2}', "line 1, column 10", "repeats the key 'a'"),
        ("? [a]\n: b", "line 1, column 3", "has a key that is not text"),
        ("a: 1\n---\nb: 2", "line 2, column 1", "begins a second document"),
        ("a: 1\n  b: 2", "line 2, column 4", "mapping values are not allowed"),
        ("a: 1\nb:\n\tc: 2", "line 3, column 1", "cannot start any token"),
        ('a: "b', "line 1, column 6", "unexpected end of stream"),
        ("a: 1\nb: x\x00", "line 2, column 5", r"has the character '\x00'"),
        ("a: b\u2028c: d", "line 1, column 5", r"has the character '\u2028'"),
        ("\n".join(" " * depth + "a:" for depth in range(40)), "line 33, column 33", "is nested deeper than 32"),
        ("a: " + "[" * 900, "line 1, column 35", "is nested deeper than 32"),
    ],
    ids=lambda part: part[:24],
)
@pytest.mark.usefixtures("parser")
def test_what_is_not_plain_is_refused_with_its_place(text: str, place: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(text)

    assert str(caught.value).startswith(f"agent.yaml, {place}: ")
    assert problem in str(caught.value)


@pytest.mark.parametrize("text", ["a: " + "x" * 64 * 1024, "a: " + "é" * 33 * 1024, "a: " + "[" * 60_000])
def test_a_file_that_would_take_long_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"agent\.yaml"):
        read(text)


@pytest.mark.usefixtures("parser")
def test_half_a_character_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="line 1, column"):
        read('{"smile": "\\ud83d\\ude00"}')


_SIGNS = "ab01.-:#'\"[]{},&*!|>%@`?~\n\t \\e+é\r\x85\xa0\u2028\ufeff"
_WORDS = ["key", "x: y", "a: ", "null", "true", "<<", "---", "...", "12", "0x1", ".inf", '"\\ud800"', "%YAML 1.2\n"]
_JOINTS = ["''", "- ", ": ", " #", "? ", "\n ", "\n  ", "\n- "]
fragments = st.sampled_from([*_SIGNS, *_WORDS, *_JOINTS])


@settings(derandomize=True, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.lists(fragments, max_size=12).map("".join) | st.text(max_size=40))
@example("a: b: c")
@example("- - a")
@example("? a: b")
@example("--- a: b")
@example("{a, b: }")
def test_whatever_the_text_the_answer_is_text_or_a_refusal_that_names_the_file(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    answer, refusal = attempt(text)
    with monkeypatch.context() as patch:
        patch.delattr(yaml, "CBaseLoader")
        other, other_refusal = attempt(text)

    assert is_text(answer)
    assert all(said is None or said.startswith("agent.yaml") for said in (refusal, other_refusal))
    assert refusal or other_refusal or answer == other  # what both parsers read, both read alike


def attempt(text: str) -> tuple[object, str | None]:
    try:
        return read(text), None
    except ConfigurationError as refusal:
        return None, str(refusal)


def is_text(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(map(is_text, value.values()))
    return all(map(is_text, value)) if isinstance(value, list) else value is None or isinstance(value, str)


def test_a_key_is_found_on_its_line() -> None:
    document = ManifestDocument.parse(
        "# an agent\nmetadata:\n  name: a\n  tags:\n  - x\n  - y\nspec: {entrypoint:\n m.py}\n"
    )

    assert document.line_of(("metadata", "name")) == 3
    assert document.line_of(("metadata", "tags", 1)) == 6
    assert document.line_of(("spec", "entrypoint")) == 7
    assert document.line_of(("metadata", "version")) == 2  # what is around it
    assert document.line_of(("nothing",)) == 1


def test_unknown_fields_are_named_with_the_nearest_known_one() -> None:
    text = (
        "apiVersion: v1\nmetadata:\n  nam: a\n  zzz: 1\n"
        "spec:\n  entrypoint: m.py\n  envvars:\n    timeuot: x\n  runtime:\n    timeuot: 3\n"
    )
    found = ManifestDocument.parse(text).unknown_fields()

    assert [(field.line, str(field).partition("known here")[0]) for field in found] == [
        (3, "unknown field 'metadata.nam', ignored; did you mean 'name'?"),
        (4, "unknown field 'metadata.zzz', ignored; "),
        (7, "unknown field 'spec.envvars', ignored; did you mean 'envVars'?"),
        (10, "unknown field 'spec.runtime.timeuot', ignored; did you mean 'timeout'?"),
    ]
    assert "description" in str(found[1])


@pytest.mark.parametrize(
    "text", ["", "- a\n", "metadata: x\nspec: 3\n", "status:\n  anything: goes\nspec:\n  env_vars: {A: b}\n"]
)
def test_a_manifest_of_any_shape_is_looked_through(text: str) -> None:
    assert ManifestDocument.parse(text).unknown_fields() == []


def test_reading_a_manifest_is_what_imports_the_library() -> None:
    from tests.models.test_exports import run_python

    program = "import sys, ppio_agent_models as m; m.AgentManifest; print('yaml' in sys.modules)"
    assert run_python(program) == "False"
    assert AgentManifest.from_yaml("metadata: {name: a}\nspec: {entrypoint: m.py}").metadata.name == "a"
