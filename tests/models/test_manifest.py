"""`.ppio-agent.yaml`: what people write is read, and what is wrong is named, field by field."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ppio_agent_models import AgentManifest, ConfigurationError

FULL = """
apiVersion: v1
kind: Agent
metadata:
  name: chat-agent     # 1 to 63 lower-case letters, digits, hyphens
  version: 1.2.3
  description: "Talks: a lot"
  author: Ada
  tags:
    - chat
    - demo
  created: 2026-01-02
spec:
  entrypoint: main.py
  envVars:
    GREETING: Hello
    RETRIES: 3
  runtime:
    timeout: 60
    memory_limit: 1Gi
    cpu_limit: 1
  sandbox:
    template_id: base
status:
  phase: deployed
"""


def manifest(**changes: Any) -> dict[str, Any]:
    return {"metadata": {"name": "a"}, "spec": {"entrypoint": "main.py"}} | changes


def error_response(fields: dict[str, Any]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        AgentManifest.from_yaml(json.dumps(fields), source=".ppio-agent.yaml")
    return str(caught.value)


def test_a_full_manifest_is_read() -> None:
    read = AgentManifest.from_yaml(FULL)

    assert (read.api_version, read.kind) == ("v1", "Agent")
    assert read.metadata.name == "chat-agent"
    assert read.metadata.version == "1.2.3"
    assert read.metadata.description == "Talks: a lot"
    assert read.metadata.tags == ["chat", "demo"]
    assert read.metadata.created == "2026-01-02"
    assert read.spec.entrypoint == "main.py"
    assert read.spec.env_vars == {"GREETING": "Hello", "RETRIES": "3"}
    assert read.spec.runtime.timeout == 60
    assert (read.spec.runtime.memory_limit, read.spec.runtime.cpu_limit) == ("1Gi", "1")
    assert read.status == {"phase": "deployed"}


def test_name_and_entrypoint_are_all_that_must_be_written() -> None:
    read = AgentManifest.from_yaml("metadata:\n  name: a\nspec:\n  entrypoint: main.py\n")

    assert read.api_version == "v1"
    assert read.metadata.version == "1.0.0"
    assert read.spec.env_vars == {}
    assert read.spec.runtime.timeout == 300


def test_unknown_fields_are_kept_at_every_level() -> None:
    read = AgentManifest.from_yaml(FULL)

    assert read.spec.model_dump()["sandbox"] == {"template_id": "base"}


def test_a_manifest_written_with_its_own_names_is_read_again() -> None:
    read = AgentManifest.from_yaml(FULL)
    written = read.model_dump_json(by_alias=True)

    assert '"apiVersion":"v1"' in written
    assert '"envVars":{' in written
    assert AgentManifest.from_yaml(written) == read


def test_pythons_names_are_read_too() -> None:
    read = AgentManifest.from_yaml(json.dumps(manifest(spec={"entrypoint": "m.py", "env_vars": {"A": "b"}})))

    assert read.spec.env_vars == {"A": "b"}


@pytest.mark.parametrize(
    "entrypoint", ["main.py", "src/main.py", "src/my agent.py", "agent", "agent:app", "src.agent:app", "über.py"]
)
def test_an_entrypoint_is_a_file_in_the_folder_or_a_module(entrypoint: str) -> None:
    assert AgentManifest.model_validate(manifest(spec={"entrypoint": entrypoint})).spec.entrypoint == entrypoint


@pytest.mark.parametrize(
    "entrypoint",
    ["", "/etc/main.py", "../main.py", "src/../../main.py", "src/main.js", "src/main", "a:b:c", "a b", "1a:x"],
)
def test_an_entrypoint_outside_the_folder_is_refused(entrypoint: str) -> None:
    assert "spec.entrypoint" in error_response(manifest(spec={"entrypoint": entrypoint}))


@pytest.mark.parametrize("name", ["a", "a1", "chat-agent", "0", "a" * 63])
def test_a_name_is_lower_case_letters_digits_and_inner_hyphens(name: str) -> None:
    assert AgentManifest.model_validate(manifest(metadata={"name": name})).metadata.name == name


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a_b", "a" * 64, "a b", "a\n", "ä", "a.b"])
def test_another_name_is_refused(name: str) -> None:
    assert "metadata.name" in error_response(manifest(metadata={"name": name}))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "metadata"),
        ({}, "spec"),
        (manifest(metadata={}), "metadata.name"),
        (manifest(spec={}), "spec.entrypoint"),
        (manifest(kind="Robot"), "kind"),
        (manifest(apiVersion=[]), "apiVersion"),
        (manifest(metadata={"name": "a", "version": [1, 5]}), "metadata.version"),
        (manifest(metadata={"name": "a", "tags": "chat"}), "metadata.tags"),
        (manifest(metadata={"name": "a", "tags": ["b", {}]}), "metadata.tags.1"),
        (manifest(spec={"entrypoint": "m.py", "envVars": ["A=b"]}), "spec.envVars"),
        (manifest(spec={"entrypoint": "m.py", "envVars": {"A": []}}), "spec.envVars.A"),
        (manifest(spec={"entrypoint": "m.py", "runtime": {"timeout": 0}}), "spec.runtime.timeout"),
        (manifest(spec={"entrypoint": "m.py", "runtime": {"timeout": 3601}}), "spec.runtime.timeout"),
        (manifest(spec={"entrypoint": "m.py", "runtime": {"memory_limit": "1GB"}}), "spec.runtime.memory_limit"),
        (manifest(spec={"entrypoint": "m.py", "runtime": {"cpu_limit": "0.5"}}), "spec.runtime.cpu_limit"),
        (manifest(spec={"entrypoint": "m.py", "runtime": {"cpu_limit": "٣"}}), "spec.runtime.cpu_limit"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_a_wrong_field_is_named_by_its_path(fields: dict[str, Any], named: str) -> None:
    problem = error_response(fields)

    assert problem.startswith(".ppio-agent.yaml is not a valid agent manifest: ")
    assert f"{named}: " in problem


def test_every_wrong_field_is_named_at_once() -> None:
    problem = error_response({"kind": "Robot", "metadata": {"name": "A"}, "spec": {"entrypoint": "/m.py"}})

    assert all(f"{field}: " in problem for field in ("kind", "metadata.name", "spec.entrypoint"))


@given(value=st.from_regex(r"[a-zA-Z0-9.+~_]+", fullmatch=True))
@example("1.10")
@example("true")
@example("null")
@example("~")
@example("007")
def test_an_environment_value_arrives_as_it_is_written(value: str) -> None:
    text = f"metadata:\n  name: a\nspec:\n  entrypoint: m.py\n  envVars:\n    LEVEL: {value}\n"

    assert AgentManifest.from_yaml(text).spec.env_vars == {"LEVEL": value}


@pytest.mark.parametrize("nothing", ["", "null", "~"])
def test_a_field_without_a_value_has_its_default(nothing: str) -> None:
    text = f"metadata:\n  name: a\n  author: {nothing}\nspec:\n  entrypoint: m.py\n  envVars:\nstatus: {nothing}\n"
    read = AgentManifest.from_yaml(text)

    assert (read.metadata.author, read.spec.env_vars, read.status) == (None, {}, None)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "# nothing\n"])
def test_a_file_that_is_no_mapping_is_refused_as_a_whole(text: str) -> None:
    with pytest.raises(ConfigurationError, match="the file: "):
        AgentManifest.from_yaml(text)


def test_a_file_that_is_no_yaml_is_refused_with_its_line() -> None:
    with pytest.raises(ConfigurationError, match=r"my.yaml, line 2, column 1: "):
        AgentManifest.from_yaml("metadata:\n\tname: a\n", source="my.yaml")


def test_no_environment_value_shows_when_a_manifest_is_printed_or_refused() -> None:
    fields = manifest(spec={"entrypoint": "/m.py", "envVars": {"TOKEN": "hunter2", "LEVEL": ["x"]}})
    assert "hunter2" not in error_response(fields)

    read = AgentManifest.model_validate(manifest(spec={"entrypoint": "m.py", "envVars": {"TOKEN": "hunter2"}}))
    assert "hunter2" not in repr(read)
