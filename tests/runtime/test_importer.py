"""`python -m ppio_agent_runtime`: how an agent is named, and which half of a wrong name is blamed."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.support.processes import run_to_the_end, serving
from tests.support.raw_http import invoke

AGENT = """
from ppio_agent_runtime import PPIOAgentRuntimeApp

{name} = PPIOAgentRuntimeApp()

@{name}.entrypoint
def handler(payload: dict) -> str:
    return {answer!r}
"""

MANIFEST = """
metadata:
  name: agent
spec:
  entrypoint: {entrypoint}
"""


def write(path: Path, *, name: str = "app", answer: str = "here", extra: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(AGENT.format(name=name, answer=answer) + extra, encoding="utf-8")
    return path


def answer_of(folder: Path, *arguments: str) -> object:
    with serving("-m", "ppio_agent_runtime", *arguments, folder=folder) as url:
        return invoke(url, {}).result


def complaint(folder: Path, *arguments: str, **variables: str) -> str:
    """Return the one line that says why nothing was served."""
    finished = run_to_the_end("-m", "ppio_agent_runtime", *arguments, folder=folder, variables=variables)
    assert finished.returncode == 1, finished.stderr
    (line,) = finished.stderr.splitlines()
    assert finished.stdout == ""
    return line.removeprefix("ppio-agent-runtime: ")


@pytest.mark.contract
def test_file_is_served(tmp_path: Path) -> None:
    write(tmp_path / "main.py")

    assert answer_of(tmp_path, "main.py") == "here"


@pytest.mark.contract
def test_file_in_another_folder_finds_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path / "deep" / "main.py", extra="import neighbour_of_main\n")
    (tmp_path / "deep" / "neighbour_of_main.py").touch()

    assert answer_of(tmp_path, "deep/main.py") == "here"


@pytest.mark.contract
@pytest.mark.parametrize("folder", ["with space", "Ünï-cödé 代理", "percent%20"])
def test_file_may_be_in_a_folder_of_any_name(tmp_path: Path, folder: str) -> None:
    path = write(tmp_path / folder / "my agent.py")

    assert answer_of(tmp_path, str(path)) == "here"


@pytest.mark.contract
def test_file_named_like_a_module_that_is_loaded_is_served(tmp_path: Path) -> None:
    write(tmp_path / "deep" / "argparse.py")

    assert answer_of(tmp_path, "deep/argparse.py") == "here"


@pytest.mark.contract
def test_classes_of_the_file_can_be_pickled(tmp_path: Path) -> None:
    write(tmp_path / "main.py", extra="import pickle\nclass Thing: ...\npickle.loads(pickle.dumps(Thing()))\n")

    assert answer_of(tmp_path, "main.py") == "here"


@pytest.mark.contract
def test_module_is_served(tmp_path: Path) -> None:
    write(tmp_path / "agents" / "first.py")

    assert answer_of(tmp_path, "agents.first") == "here"


@pytest.mark.contract
@pytest.mark.parametrize("target", ["main.py:second", "main:second"])
def test_app_of_a_name_is_served(tmp_path: Path, target: str) -> None:
    second = write(tmp_path / "other.py", name="second", answer="second").read_text()
    write(tmp_path / "main.py", extra=second)

    assert answer_of(tmp_path, target) == "second"


@pytest.mark.contract
def test_only_app_may_have_any_name(tmp_path: Path) -> None:
    write(tmp_path / "main.py", name="my_service", extra="alias = my_service\n")

    assert answer_of(tmp_path, "main.py") == "here"


@pytest.mark.contract
@pytest.mark.parametrize("usual", ["app", "agent", "application"])
def test_usual_name_is_taken_among_several(tmp_path: Path, usual: str) -> None:
    other = write(tmp_path / "other.py", name="another", answer="another").read_text()
    write(tmp_path / "main.py", name=usual, extra=other)

    assert answer_of(tmp_path, "main.py") == "here"


@pytest.mark.contract
@pytest.mark.parametrize("entrypoint", ["main.py", "main:app", "main"])
@pytest.mark.slow
def test_manifest_names_the_agent(tmp_path: Path, entrypoint: str) -> None:
    write(tmp_path / "main.py")
    (tmp_path / ".ppio-agent.yaml").write_text(MANIFEST.format(entrypoint=entrypoint))

    assert answer_of(tmp_path) == "here"


def test_a_start_by_manifest_needs_no_pydantic(tmp_path: Path) -> None:
    (tmp_path / ".ppio-agent.yaml").write_text(MANIFEST.format(entrypoint="main.py"))
    program = f"""
import sys
from pathlib import Path
from ppio_agent_runtime.importer import entrypoint_from_manifest
print(entrypoint_from_manifest(Path({str(tmp_path)!r})), "pydantic" in sys.modules)
"""

    assert run_to_the_end("-c", program).stdout == "main.py False\n"


@pytest.mark.contract
def test_argument_is_stronger_than_the_manifest(tmp_path: Path) -> None:
    write(tmp_path / "main.py")
    (tmp_path / ".ppio-agent.yaml").write_text(MANIFEST.format(entrypoint="other.py"))

    assert answer_of(tmp_path, "main.py") == "here"


@pytest.mark.contract
def test_missing_file_is_named(tmp_path: Path) -> None:
    assert complaint(tmp_path, "main.py") == "There is no file 'main.py'."


@pytest.mark.contract
def test_missing_module_is_named(tmp_path: Path) -> None:
    assert complaint(tmp_path, "nowhere.agent").startswith("There is no module 'nowhere.agent' in ")


@pytest.mark.contract
@pytest.mark.parametrize("target", ["main.py:nobody", "main:nobody"])
def test_missing_app_is_named(tmp_path: Path, target: str) -> None:
    write(tmp_path / "main.py")

    assert complaint(tmp_path, target) == f"{target.partition(':')[0]!r} has no 'nobody'."


@pytest.mark.contract
def test_app_of_another_type_is_named(tmp_path: Path) -> None:
    write(tmp_path / "main.py")

    assert complaint(tmp_path, "main.py:handler") == "'handler' in 'main.py' is a function, not a PPIOAgentRuntimeApp."


@pytest.mark.contract
def test_file_without_an_app_is_named(tmp_path: Path) -> None:
    (tmp_path / "main.py").touch()

    assert (
        complaint(tmp_path, "main.py") == "'main.py' defines no PPIOAgentRuntimeApp: write app = PPIOAgentRuntimeApp()."
    )


@pytest.mark.contract
def test_several_apps_are_named(tmp_path: Path) -> None:
    other = write(tmp_path / "other.py", name="one").read_text()
    write(tmp_path / "main.py", name="two", extra=other)

    assert complaint(tmp_path, "main.py") == "'main.py' has several apps (two, one); name one, as in main.py:two."


@pytest.mark.contract
@pytest.mark.parametrize("target", [":app", "..main", "a b", "main.txt:app/x", "agents/main"])
def test_target_that_is_neither_file_nor_module_is_named(tmp_path: Path, target: str) -> None:
    place = target.partition(":")[0]

    assert complaint(tmp_path, target) in {
        f"{place!r} is neither a .py file nor the name of a module.",
        f"There is no module {place!r} in {tmp_path} or on the Python path.",
    }


@pytest.mark.contract
def test_app_without_an_entrypoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(
        "from ppio_agent_runtime import PPIOAgentRuntimeApp\napp = PPIOAgentRuntimeApp()\n"
    )

    assert "has no entrypoint" in complaint(tmp_path, "main.py")


@pytest.mark.contract
def test_module_that_the_agent_misses_is_not_taken_for_the_agent(tmp_path: Path) -> None:
    write(tmp_path / "main.py", extra="import missing_library\n")

    for target in ("main.py", "main"):
        finished = run_to_the_end("-m", "ppio_agent_runtime", target, folder=tmp_path)
        assert finished.returncode == 1
        assert "No module named 'missing_library'" in finished.stderr
        assert "main.py" in finished.stderr


@pytest.mark.contract
def test_missing_manifest_is_named(tmp_path: Path) -> None:
    assert complaint(tmp_path).startswith(f"There is no .ppio-agent.yaml in {tmp_path}. Name the agent: ")


@pytest.mark.contract
def test_manifest_without_an_entrypoint_is_named(tmp_path: Path) -> None:
    (tmp_path / ".ppio-agent.yaml").write_text("metadata:\n  name: agent\nspec: {}\n")

    assert "spec.entrypoint: Field required" in complaint(tmp_path)


@pytest.mark.contract
def test_manifest_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / ".ppio-agent.yaml").write_bytes(b"\xff\xfe")

    assert ".ppio-agent.yaml cannot be read: " in complaint(tmp_path)


@pytest.mark.contract
def test_manifest_that_is_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / ".ppio-agent.yaml").mkdir()

    assert ".ppio-agent.yaml cannot be read: " in complaint(tmp_path)


@pytest.mark.contract
def test_port_that_is_taken_is_one_clear_line(tmp_path: Path) -> None:
    write(tmp_path / "main.py")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        line = complaint(tmp_path, "main.py", "--host", "127.0.0.1", "--port", str(port))

    assert line == (
        f"cannot listen on 127.0.0.1:{port}: Address already in use. "
        "Choose another port with PPIO_AGENT_PORT or app.run(port=...)."
    )


@pytest.mark.contract
@pytest.mark.parametrize(("option", "value"), [("--port", "70000"), ("--port", "-1"), ("--host", "")])
def test_bad_option_is_named(tmp_path: Path, option: str, value: str) -> None:
    write(tmp_path / "main.py")

    assert complaint(tmp_path, "main.py", option, value).startswith(f"AgentConfig.{option.removeprefix('--')} must be")


@pytest.mark.contract
def test_host_that_does_not_exist_is_one_clear_line(tmp_path: Path) -> None:
    write(tmp_path / "main.py")

    assert complaint(tmp_path, "main.py", "--host", "nowhere.invalid").startswith(
        "cannot listen on nowhere.invalid:8080: "
    )


@pytest.mark.contract
def test_bad_variable_is_named(tmp_path: Path) -> None:
    write(tmp_path / "main.py")

    assert complaint(tmp_path, "main.py", PPIO_AGENT_TIMEOUT="soon").startswith(
        "The variable PPIO_AGENT_TIMEOUT must be"
    )


@pytest.mark.contract
def test_version_is_told(tmp_path: Path) -> None:
    finished = run_to_the_end("-m", "ppio_agent_runtime", "--version", folder=tmp_path)

    assert (finished.returncode, finished.stdout.split()[0]) == (0, "ppio-agent-runtime")


@pytest.mark.contract
def test_file_that_runs_itself_is_served_by_python_alone(tmp_path: Path) -> None:
    write(tmp_path / "main.py", extra="if __name__ == '__main__':\n    app.run()\n")

    with serving("main.py", folder=tmp_path) as url:
        assert invoke(url, {}).result == "here"
