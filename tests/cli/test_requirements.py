"""`validate` reads requirements.txt as pip does: what pip takes is no error, what pip refuses has its line.

pip's own parser is private; it is imported here because it is what the rules are compared with.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pip._internal.exceptions import PipError
from pip._internal.network.session import PipSession
from pip._internal.req.constructors import install_req_from_parsed_requirement
from pip._internal.req.req_file import parse_requirements
from pip._internal.utils.misc import is_installable_dir

from ppio_agent_client.cli.checks import Severity
from ppio_agent_client.cli.checks.files import check_requirements

RUNTIME = "ppio-agent-runtime\n"
FORMS = {
    "a comment": "# a comment\n\nppio-agent-runtime[otel]~=0.2 ; python_version > '3.8'  # why\n",
    "options": "--index-url https://example.com/simple\nppio-agent-runtime==0.2.0 --hash=sha256:00\n",
    "addresses": f"{RUNTIME}foo @ https://example.com/foo.tar.gz\ngit+https://example.com/x.git@main\n",
    "an editable address": f"{RUNTIME}-e git+https://example.com/x.git#egg=x\n",
    "joined lines": "ppio-agent-runtime==0.2.0 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\n",
    "a joined last line": "ppio-agent-runtime\\",
    "another file": "-r more/other.txt\n",
    "another file without a space": "-rmore/other.txt\n",
    "another file in quotes": '--requirement "more/other.txt"\n',
    "a short option in long": "--requirem more/other.txt\n",
    "a file of the web": f"{RUNTIME}-r https://example.com/base.txt\n",
    "a file with a variable": f"{RUNTIME}-r ${{WHERE}}/other.txt\n",
    "a version with a variable": f"{RUNTIME}httpx==${{HTTPX_VERSION}}\n",
    "the project": f"{RUNTIME}.\n",
    "the project with an extra": f"{RUNTIME}.[dev]\n",
    "the project, editable": f"{RUNTIME}-e .\n",
    "a folder": f"{RUNTIME}./libs/shared\n",
    "a folder without ./": f"{RUNTIME}libs/shared\n",
    "a wheel": f"{RUNTIME}./libs/x-1.0-py3-none-any.whl\n",
    "a wheel without ./": f"{RUNTIME}libs/x-1.0-py3-none-any.whl\n",
    "a wheel with a marker": f"{RUNTIME}libs/x-1.0-py3-none-any.whl ; python_version > '3'\n",
    "a file address": f"{RUNTIME}file:libs/shared\n",
    "find-links": f"{RUNTIME}--find-links libs --no-index --pre\n",
    "config settings": f"{RUNTIME}httpx --config-settings a=b\n",
    "a constraint": f"{RUNTIME}-c more/other.txt\n",
    "a diamond": f"{RUNTIME}-r more/other.txt\n-r more/other.txt\n",
    "utf-8 with a mark": "\ufeffppio-agent-runtime\n",
}
WRONG = {
    "two words": ("ppio-agent-runtime\nfoo bar\n", 2, "cannot read 'foo bar'"),
    "no version": ("ppio-agent-runtime>=\n", 1, "cannot read"),
    "one equals sign": ("ppio-agent-runtime=0.2\n", 1, "a version needs =="),
    "a missing file": (f"{RUNTIME}-r other.txt\n", 2, "no file 'other.txt'"),
    "joined lines": ("ppio_Agent.runtime\nfoo \\\n  >= x y\n", 2, "cannot read"),
    "an unknown option": (f"{RUNTIME}--indexurl x\n", 2, "no such option"),
    "an option without a value": (f"{RUNTIME}--index-url\n", 2, "--index-url"),
    "an open quote": (f"{RUNTIME}-r 'other.txt\n", 2, "quotation"),
    "a folder that is no project": (f"{RUNTIME}./more\n", 2, "neither pyproject.toml nor setup.py"),
    "a folder that is not there": (f"{RUNTIME}libs/none\n", 2, "which does not exist"),
    "itself": (f"{RUNTIME}-r requirements.txt\n", 2, "includes itself"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An agent's folder with a project in it, a library, and a second file; pip runs there."""
    for place in (tmp_path, tmp_path / "libs" / "shared"):
        place.mkdir(parents=True, exist_ok=True)
        (place / "pyproject.toml").write_text("[project]\nname = 'mine'\nversion = '1'\n")
    (tmp_path / "libs" / "x-1.0-py3-none-any.whl").touch()
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "other.txt").write_text("ppio-agent-runtime\n-c ../limits.txt\n", encoding="utf-8")
    (tmp_path / "limits.txt").write_text("httpx<1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HTTPX_VERSION", "0.28.1")
    monkeypatch.setenv("WHERE", "more")
    return tmp_path


def pip_takes(folder: Path) -> bool:
    """Ask pip's own parser, but for what is on the web."""
    file = folder / "requirements.txt"
    file.write_bytes(file.read_bytes().replace(b"-r https://example.com/base.txt", b""))
    try:
        for parsed in parse_requirements(str(file), session=PipSession()):
            link = install_req_from_parsed_requirement(parsed).link
            if link is not None and link.is_file and not Path(link.file_path).exists():
                return False  # told when it is installed
            if link is not None and parsed.is_editable and link.is_file and not is_installable_dir(link.file_path):
                return False
    except (PipError, UnicodeError, LookupError):
        return False
    return True


def errors_in(folder: Path) -> list[str]:
    return [str(one) for one in check_requirements(folder) if one.severity is Severity.ERROR]


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS.keys())
def test_what_pip_reads_is_no_error(folder: Path, text: str) -> None:
    (folder / "requirements.txt").write_text(text, encoding="utf-8")
    assert errors_in(folder) == []
    assert "is not in it" not in str(list(check_requirements(folder)))
    assert pip_takes(folder)


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffppio-agent-runtime\r\nhttpx\r\n".encode("utf-16-le"),
        "\ufeffppio-agent-runtime\n".encode("utf-16-be"),
        "\ufeffppio-agent-runtime\n".encode("utf-32-le"),
        b"# -*- coding: latin-1 -*-\n# caf\xe9\nppio-agent-runtime\n",
    ],
    ids=["utf-16-le", "utf-16-be", "utf-32", "PEP 263"],
)
def test_encodings_that_pip_knows_are_read(folder: Path, content: bytes) -> None:
    (folder / "requirements.txt").write_bytes(content)
    assert list(check_requirements(folder)) == []
    assert pip_takes(folder)


@pytest.mark.parametrize(("text", "line", "words"), WRONG.values(), ids=WRONG.keys())
def test_a_line_that_pip_refuses_is_found(folder: Path, text: str, line: int, words: str) -> None:
    (folder / "requirements.txt").write_text(text, encoding="utf-8")
    finding = next(iter(check_requirements(folder)))
    assert (finding.file, finding.line, finding.severity) == ("requirements.txt", line, "error")
    assert words in finding.message
    assert not pip_takes(folder)


def test_an_encoding_that_nobody_knows_is_told(folder: Path) -> None:
    (folder / "requirements.txt").write_bytes(b"# coding: klingon\nppio-agent-runtime\n")
    assert "unknown encoding: klingon" in errors_in(folder)[0]


def test_a_variable_that_is_set_elsewhere_only_is_a_doubt(folder: Path) -> None:
    (folder / "requirements.txt").write_text(f"{RUNTIME}httpx==${{ELSEWHERE}}\n-r ${{ELSEWHERE}}/x.txt\n")
    assert errors_in(folder) == []
    found = [one.message for one in check_requirements(folder)]
    assert [message.endswith("the variable ELSEWHERE is not set here") for message in found] == [True, True]


@pytest.mark.parametrize("line", [".", "-e .", "libs/shared", "./libs/x-1.0-py3-none-any.whl"])
def test_a_place_on_this_machine_is_a_warning(folder: Path, line: str) -> None:
    (folder / "requirements.txt").write_text(f"{RUNTIME}{line}\n")
    [finding] = check_requirements(folder)
    assert (finding.line, finding.severity) == (2, "warning")
    assert "on this machine" in finding.message


def test_a_file_without_the_runtime_is_a_warning(folder: Path) -> None:
    (folder / "requirements.txt").write_text("requests\n")
    [finding] = check_requirements(folder)
    assert "ppio-agent-runtime, which starts the agent, is not listed" in finding.message


WORDS = st.sampled_from(
    [
        "a", "b @ ", "a==1", "a =1", "a>=1,<2", "a[b]", "a[", ";", "; python_version>'3'", "#", " # x", "\\\n", "\n",
        " ", ".", "./libs/shared", "libs/x-1.0-py3-none-any.whl", "more", "@", "https://example.com/a.zip",
        "git+https://e.com/a#egg=a\n",
        "git+https://e.com/a",
        "-r", "-c", "-e", "--pre", "--hash=sha256:00", "more/other.txt", "--index-url", "=", "'", '"', "${WHERE}", "\t",
    ]
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(WORDS, max_size=6))
def test_any_line_is_an_error_exactly_where_pip_refuses_it(folder: Path, words: list[str]) -> None:
    text = "".join(words)
    assume(not re.search(r"-[rc][^\n]*https?:", text))  # pip would fetch it
    (folder / "requirements.txt").write_text(text, encoding="utf-8")
    assert (errors_in(folder) == []) == pip_takes(folder)
