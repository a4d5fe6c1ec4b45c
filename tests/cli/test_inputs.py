"""What somebody types becomes what an agent gets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppio_agent_client.cli.errors import UsageError
from ppio_agent_client.cli.inputs import Asked, payload_of, variables_of
from ppio_agent_client.cli.output import screen
from ppio_agent_client.cli.project import Agent, read_agent, without_status, write_status
from ppio_agent_client.cli.rendering import readable, span, text_of
from ppio_agent_models import AgentManifest, ManifestDocument

MANIFEST = """\
# What it is.
metadata:
  name: "my-agent"   # quoted
spec:
  entrypoint: main.py
  envVars: {"A": "1"}
"""


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("hello", {"prompt": "hello"}),
        ("你好", {"prompt": "你好"}),
        ('{"text": "x", "n": [1]}', {"text": "x", "n": [1]}),
        (' {"a": 1}\n', {"a": 1}),
        ("[1, 2]", {"prompt": "[1, 2]"}),
        ("@@home", {"prompt": "@home"}),
        ("{not json", {"prompt": "{not json"}),
        ('{"a": NaN}', {"prompt": '{"a": NaN}'}),
    ],
)
def test_an_object_is_sent_as_it_is_and_text_as_prompt(typed: str, sent: dict[str, object]) -> None:
    assert payload_of(typed) == sent


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text()))
def test_any_object_arrives_as_it_was(document: dict[str, object]) -> None:
    assert payload_of(json.dumps(document)) == document


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_bytes(b'\xef\xbb\xbf{"prompt": "hi"}\r\n')
    assert payload_of(f"@{tmp_path / 'q.txt'}") == {"prompt": "hi"}


@pytest.mark.parametrize(("typed", "says"), [("", "empty"), ("  \n", "empty"), ("@nowhere", "nowhere cannot be read")])
def test_no_input_is_a_usage_error(typed: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        payload_of(typed)


def test_a_time_limit_stands_beside_the_payload_and_not_in_it() -> None:
    asked = Asked({"prompt": "x"}, 5)
    assert (asked.get("timeout"), dict(asked)) == (5, {"prompt": "x"})
    assert Asked({"timeout": 3}, None).get("timeout") == 3


def test_variables_come_from_options_the_environment_and_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HERE", "there")
    file = tmp_path / ".env"
    file.write_text("# all\nA=1\nexport B = 'two # 2'\nC=three # no\nD=\"\"\nE=a=b\n")
    found = variables_of(["A=9", "HERE", "F="], file)
    assert found == {"A": "9", "B": "two # 2", "C": "three", "D": "", "E": "a=b", "HERE": "there", "F": ""}


@pytest.mark.parametrize("one", ["1A=x", "=x", "A B=x", "NOT_SET_ANYWHERE"])
def test_a_variable_that_cannot_be_is_refused_without_its_value(one: str) -> None:
    with pytest.raises(UsageError) as refused:
        variables_of([one], None)
    assert "=x" not in str(refused.value)


def test_a_wrong_line_of_a_file_is_named_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "e").write_text("A=1\nsecret words\n")
    with pytest.raises(UsageError, match=r"line 2 of .* is not NAME=VALUE") as refused:
        variables_of(None, tmp_path / "e")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("chunk", "text"),
    [
        ("a", "a"),
        ({"chunk": "b", "type": "content"}, "b"),
        ({"chunk": "", "type": "end"}, ""),
        ({"chunk": "c"}, None),
        (1, None),
    ],
)
def test_text_is_known_from_other_chunks(chunk: object, text: str | None) -> None:
    assert text_of(chunk) == text


def test_an_agent_cannot_steer_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(screen), "is_terminal", True)
    assert readable("a\x1b[2J\tb\r\n\x07c") == "a\ufffd[2J\tb\n\ufffdc"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (59, "59 s"), (120, "2 min"), (7200, "2 h"), (200000, "2 d")]
)
def test_spans_are_told_in_their_largest_unit(seconds: float, words: str) -> None:
    assert span(seconds) == words


def test_a_status_is_written_and_nothing_else_changes(tmp_path: Path) -> None:
    file = tmp_path / ".ppio-agent.yaml"
    file.write_text(MANIFEST)
    (tmp_path / "main.py").touch()
    write_status(read_agent(tmp_path), {"phase": "building", "build_id": "b-1", "digest": None})
    write_status(read_agent(tmp_path), {"phase": "deployed"})

    text = file.read_text()
    assert text.startswith(MANIFEST)
    assert AgentManifest.from_yaml(text).status == {"phase": "deployed", "build_id": "b-1"}
    assert without_status(text) == MANIFEST
    assert list(tmp_path.iterdir()) in ([file, tmp_path / "main.py"], [tmp_path / "main.py", file])


def test_line_ends_stay_as_they_are(tmp_path: Path) -> None:
    file = tmp_path / ".ppio-agent.yaml"
    file.write_bytes(MANIFEST.replace("\n", "\r\n").encode())
    (tmp_path / "main.py").touch()
    write_status(read_agent(tmp_path), {"phase": "deployed"})
    assert file.read_bytes() == (MANIFEST + "status:\n  phase: deployed\n").replace("\n", "\r\n").encode()


@pytest.mark.parametrize(
    "text", [MANIFEST, MANIFEST.rstrip(), "status:\n  b: 1\n\n" + MANIFEST, '{"metadata": {"name": "a"}}']
)
@pytest.mark.parametrize("value", ["deployed", "no", "2026-01-02T03:04:05Z", "12e5", 'it\'s: # "x"', "é", " "])
def test_any_status_is_read_as_it_was_written(tmp_path: Path, text: str, value: str) -> None:
    (tmp_path / ".ppio-agent.yaml").write_text(text)
    (tmp_path / "main.py").touch()
    agent = Agent(tmp_path / ".ppio-agent.yaml", AgentManifest.model_construct())
    write_status(agent, {"a": value})
    write_status(agent, {"b": value})

    document = ManifestDocument.parse((tmp_path / ".ppio-agent.yaml").read_text()).value
    assert document["status"] == {"a": value, "b": value}
    assert document["metadata"] == ManifestDocument.parse(text).value["metadata"]


@pytest.mark.parametrize(
    "text",
    ["  metadata:\n    name: a\n  spec:\n    entrypoint: main.py\n", MANIFEST + "...\n", MANIFEST + "status: null\n"],
)
def test_a_manifest_is_never_broken_by_its_status(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / ".ppio-agent.yaml"
    file.write_text(text)
    (tmp_path / "main.py").touch()
    write_status(read_agent(tmp_path), {"phase": "deployed"})

    told = "the status cannot be written" in capsys.readouterr().err
    assert told == (file.read_text() == text)
    assert AgentManifest.from_yaml(file.read_text()).status == (None if told else {"phase": "deployed"})


def test_a_status_in_the_middle_or_in_json_is_left_out_too() -> None:
    assert without_status("status:\n  phase: x\nmetadata:\n  name: a\n") == "metadata:\n  name: a\n"
    assert without_status("a: 1\nstatus: {phase: x}\n\n# b\nb: 2") == "a: 1\n\n# b\nb: 2"
    assert without_status("a: 1\n'status':\n  # why\n  phase: x\n") == "a: 1\n"
    assert json.loads(without_status('{"status": {}, "kind": "Agent"}')) == {"kind": "Agent"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("{'prompt': 'hello'}", "JSON needs double quotes around names and strings"),
        ("{prompt: hello}", "JSON needs double quotes around names and strings"),
        ('{"prompt": "hello"', "looks like JSON but is not"),
        ('[{"prompt": "hello"}]', "is JSON but not an object"),
        ('"hello"', "is JSON but not an object"),
        ("[INFO] hello", ""),
        ("hello {name}", ""),
    ],
)
def test_what_may_have_been_meant_as_json_is_told_before_it_is_sent(
    given: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert payload_of(given) == {"prompt": given}
    told = capsys.readouterr().err
    assert says in told
    assert bool(told) is bool(says)
