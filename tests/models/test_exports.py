"""The exports are lazy, complete, and say the same thing in each of the places where it has to say it."""

import ast
import pickle
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

import ppio_agent_models
from tests.support.public_names import names_at_run_time, names_for_type_checkers


def run_python(program: str) -> str:
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


def test_type_checkers_see_the_names_that_exist_at_run_time() -> None:
    assert names_for_type_checkers(ppio_agent_models) == names_at_run_time(ppio_agent_models)


def test_all_and_dir_list_every_name() -> None:
    assert sorted(vars(ppio_agent_models)["__all__"]) == sorted(names_at_run_time(ppio_agent_models))
    assert set(vars(ppio_agent_models)["__all__"]) <= set(dir(ppio_agent_models))


@pytest.mark.parametrize(("name", "module"), names_at_run_time(ppio_agent_models).items())
def test_a_name_leads_to_its_module(name: str, module: str) -> None:
    assert getattr(ppio_agent_models, name) is getattr(import_module(module, "ppio_agent_models"), name)


@pytest.mark.parametrize("module", sorted(set(names_at_run_time(ppio_agent_models).values())))
def test_every_public_name_of_a_module_is_exported(module: str) -> None:
    path = Path(ppio_agent_models.__file__).with_name(f"{module.removeprefix('.')}.py")
    defined = set[str]()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            defined.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            defined.add(node.target.id)
    public = {name for name in defined if not name.startswith("_")}
    parts_of_the_manifest = {"ManifestMetadata", "ManifestRuntime", "ManifestSpec"}

    assert public - parts_of_the_manifest == {
        name for name, its in names_at_run_time(ppio_agent_models).items() if its == module
    }


def test_star_import_brings_exactly_what_is_public() -> None:
    program = """
before = set(globals()) | {"before"}
from ppio_agent_models import *
print(sorted(set(globals()) - before))
"""
    assert ast.literal_eval(run_python(program)) == sorted(vars(ppio_agent_models)["__all__"])


def test_importing_the_package_does_not_import_pydantic() -> None:
    program = "import sys, ppio_agent_models; print('pydantic' in sys.modules, 'pydantic_core' in sys.modules)"

    assert run_python(program) == "False False"


def test_importing_the_package_costs_next_to_nothing() -> None:
    program = """
import sys
before = set(sys.modules)
import ppio_agent_models
print({"typing", "re", "enum", "functools", "collections"} & (set(sys.modules) - before))
"""
    assert run_python(program) == "set()"


@pytest.mark.parametrize(
    "value",
    [
        ppio_agent_models.InvocationRequest(prompt="hello", more=1),  # unknown fields are kept
        ppio_agent_models.InvocationResponse(result=[1], metadata={"request_id": "r"}),
        ppio_agent_models.PingResponse(status=ppio_agent_models.PingStatus.HEALTHY_BUSY),
        ppio_agent_models.SandboxConfig(env_vars={"A": "b"}),
    ],
)
def test_unpickling_a_model_may_be_the_first_thing_that_a_process_does(value: object) -> None:
    program = f"import pickle; print(repr(pickle.loads({pickle.dumps(value)!r})))"
    assert run_python(program) == repr(value)


def test_unpickling_an_error_may_be_the_first_thing_that_a_process_does() -> None:
    error = ppio_agent_models.RateLimitedError("slow down", retry_after=3.0, request_id="r")
    program = f"import pickle; print(vars(pickle.loads({pickle.dumps(error)!r})))"
    assert ast.literal_eval(run_python(program)) == vars(error)


def test_errors_and_header_names_cost_no_pydantic() -> None:
    program = """
import sys
from ppio_agent_models import ERROR_TYPES, SESSION_ID_HEADER, AgentError
print('pydantic' in sys.modules)
"""
    assert run_python(program) == "False"


def test_a_name_that_does_not_exist_is_refused_with_the_name() -> None:
    with pytest.raises(AttributeError, match="InvocationRequst"):
        ppio_agent_models.InvocationRequst  # type: ignore[attr-defined]  # noqa: B018


def test_the_version_is_the_version_of_the_wheel() -> None:
    assert ppio_agent_models.__version__ == version("ppio-agent-models")


def test_the_wheel_says_that_it_is_typed() -> None:
    assert Path(ppio_agent_models.__file__).with_name("py.typed").is_file()
