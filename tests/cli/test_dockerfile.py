"""A Dockerfile as the platform's builder gets it, and the files that travel with it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from ppio_agent_client import ConfigurationError
from ppio_agent_client.cli.deploy.context import IgnoreRules, collect
from ppio_agent_client.cli.deploy.dockerfile import read_dockerfile
from ppio_agent_client.cli.deploy.plan import size_of


def steps(text: str) -> list[str]:
    return [str(step) for step in read_dockerfile(text, source="Dockerfile").instructions]


def test_no_start_command_is_left_and_it_is_said_why() -> None:
    build = read_dockerfile('FROM python:3.12-slim\nCMD ["python", "main.py"]\nENTRYPOINT sh\n', source="Dockerfile")

    assert build.text == "FROM python:3.12-slim\n"
    assert [note.split()[:3] for note in build.notes] == [["CMD", "(line", "2)"], ["ENTRYPOINT", "(line", "3)"]]


def test_each_instruction_stands_on_one_line_and_knows_its_own() -> None:
    text = (
        "# first\nFROM debian\n\nRUN apt-get update && \\\n    # in between\n    apt-get install -y git\nWORKDIR /app\n"
    )
    build = read_dockerfile(text, source="Dockerfile")

    assert build.text == "FROM debian\nRUN apt-get update && apt-get install -y git\nWORKDIR /app\n"
    assert [step.line for step in build.instructions] == [4, 7]


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("COPY a.txt b.txt /app/", ["COPY a.txt /app/", "COPY b.txt /app/"]),
        ('COPY ["a b.txt", "/app/"]', ['COPY "a b.txt" /app/']),
        ("COPY --chown=me:us --link /src /app/", ["COPY --chown=me:us src /app/"]),
        ("ADD . .", ["COPY . ."]),
        ("COPY ../a /../b/ ./c ..d .. /x/", [f"COPY {each} /x/" for each in ("a", "b/", "./c", "..d", ".")]),
        ('RUN ["echo", "a b"]', ["RUN echo 'a b'"]),
        ("RUN --mount=type=cache,target=/root/.cache pip list", ["RUN pip list"]),
        ("ENV A=1 B=2", ["ENV A=1 B=2"]),
        ("RUN pip ins\\\ntall x", ["RUN pip install x"]),
        ("RUN echo a\\\\\nUSER me", ["RUN echo a\\\\", "USER me"]),
        ("RUN\tpip\tlist", ["RUN pip\tlist"]),
        ("copy\ta.txt\t/app/", ["COPY a.txt /app/"]),
        ("ENV APP=/app\nWORKDIR $APP/x\nCOPY a $APP/", ["ENV APP=/app", "WORKDIR /app/x", "COPY a /app/"]),
        ("ENV APP /app\nCOPY a ${APP}/", ["ENV APP /app", "COPY a /app/"]),
        ("ARG FILE=a\nCOPY ${FILE}.txt b", ["ARG FILE=a", "COPY a.txt b"]),
        ("ARG FILE\nCOPY ${FILE:-a.txt} b", ["ARG FILE=''", "COPY a.txt b"]),
        ("ARG FILE=x\nCOPY a${FILE:+b} c", ["ARG FILE=x", "COPY ab c"]),
        ("COPY a $HOME/", ["COPY a $HOME/"]),
        ('SHELL ["/bin/bash", "-c"]\nRUN a | b', ["RUN /bin/bash -c 'a | b'"]),
        ("EXPOSE 8080", []),
        ("HEALTHCHECK CMD curl localhost", []),
    ],
)
def test_what_the_builder_would_misread_is_rewritten(written: str, sent: list[str]) -> None:
    assert steps(f"FROM debian\n{written}\n") == sent


@pytest.mark.parametrize(
    ("written", "image"),
    [
        ("FROM debian AS base", "debian"),
        ("FROM --platform=linux/amd64 a:1", "a:1"),
        ("FROM\tpython:3.12-slim", "python:3.12-slim"),
        ("ARG V=3.12\nARG IMAGE=python:${V}-slim\nFROM $IMAGE", "python:3.12-slim"),
        ("FROM registry.example/team-alpine/python:3.12", "registry.example/team-alpine/python:3.12"),
        ("FROM registry.example/scratchpad:1", "registry.example/scratchpad:1"),
        ("FROM host:5000/busybox-tools", "host:5000/busybox-tools"),
    ],
)
def test_the_image_is_the_image_alone(written: str, image: str) -> None:
    assert read_dockerfile(f"{written}\n", source="Dockerfile").image == image


def test_an_argument_before_the_image_counts_again_where_it_is_named_again() -> None:
    text = "ARG V=1\nFROM a:$V\nARG V\nCOPY f$V x\n"
    assert steps(text) == ["ARG V=1", "COPY f1 x"]
    with pytest.raises(ConfigurationError, match=r":3: COPY uses \$V, which has no value"):
        read_dockerfile("ARG V=1\nFROM a:$V\nCOPY f$V x\n", source="Dockerfile")


def test_another_escape_sign_is_read() -> None:
    text = "# syntax=docker/dockerfile:1\n# escape=`\nFROM debian\nRUN dir `\n  C:\\a\\\nCOPY a` b c\n"
    assert steps(text) == ["RUN dir C:\\a\\", 'COPY "a b" c']


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("FROM a\nFROM b\n", "Dockerfile:2: second FROM"),
        ("FROM a\nCOPY --from=b /x /y\n", "Dockerfile:2: COPY --from is not supported"),
        ("FROM a\nADD https://example.com/x /y\n", "Dockerfile:2: ADD of 'https://example.com/x'"),
        ("FROM a\nRUN <<EOF\nEOF\n", "Dockerfile:2: here-documents"),
        ("FROM a\nRUN --mount=type=secret,id=x cat\n", "Dockerfile:2: RUN --mount"),
        ("FROM a\nCOPY x\n", "Dockerfile:2: COPY needs"),
        ("FROM a\nADD x.tar.gz /y\n", "Dockerfile:2: ADD of 'x.tar.gz' unpacks it"),
        ("FROM a\nADD lib/*.TGZ /y\n", "Dockerfile:2: ADD of 'lib/*.TGZ' unpacks it"),
        ("FROM a\nRUN\n", "Dockerfile:2: RUN needs something"),
        ("FROM a\nWORKDIR \\\n\n", "Dockerfile:2: WORKDIR needs something"),
        ("FROM a\nSHELL bash\n", "Dockerfile:2: SHELL must be a list"),
        ("FROM a:$V\n", "Dockerfile:1: FROM uses $V, which has"),
        ("FROM python:3.12-alpine\n", "Dockerfile:1: 'python:3.12-alpine' lacks apt"),
        ("FROM host:5000/x/alpine:3\n", "Dockerfile:1: 'host:5000/x/alpine:3' lacks apt"),
        ("FROM python:3.12-alpine3.20@sha256:00\n", "lacks apt"),
        ("FROM scratch\n", "Dockerfile:1: 'scratch' lacks apt"),
        ("RUN true\n", "Dockerfile:1: RUN stands before FROM"),
        ("# nothing\n", "has no FROM"),
    ],
)
def test_what_the_builder_cannot_do_is_refused_with_its_line(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read_dockerfile(text, source="Dockerfile")
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("patterns", "left_out", "kept"),
    [
        (["venv"], ["venv", "venv/lib/x.py"], ["src/venv", "venv2"]),
        (["**/venv"], ["venv/x", "src/venv/x"], ["venvs"]),
        (["*.md", "!README.md"], ["NEWS.md"], ["README.md", "docs/x.md"]),
        (["*", "!src"], ["main.py"], ["src", "src/a/b.py"]),
        (["docs/**", "!docs/keep/**"], ["docs/a"], ["docs/keep/a"]),
        (["/build/", "# comment", ""], ["build/x"], ["src/build"]),
        (["file[0-9].txt", "a?c"], ["file1.txt", "abc"], ["filex.txt", "a/c"]),
        (["**/*.py[cod]"], ["a.pyc", "x/y/b.pyo"], ["a.py"]),
        (["[a-c-]x", "[^a-c]y", r"[\]a]z"], ["bx", "-x", "dy", "]z"], ["dx", "ay", "bz"]),
    ],
)
def test_dockerignore_is_read_as_docker_reads_it(patterns: list[str], left_out: list[str], kept: list[str]) -> None:
    rules = IgnoreRules(patterns)
    assert [path for path in left_out if not rules.leaves_out(path)] == []
    assert [path for path in kept if rules.leaves_out(path)] == []


@pytest.mark.parametrize("pattern", ["[z-a]", "[^]", r"[a-\A]", "[", "a[b", "[]", "a\\", "!", "[a\\"])
def test_a_pattern_that_cannot_be_read_is_refused_with_its_line(tmp_path: Path, pattern: str) -> None:
    (tmp_path / ".dockerignore").write_text(f"*.log\n{pattern}\n")
    with pytest.raises(ConfigurationError) as refused:
        collect(tmp_path, ["."])
    assert str(refused.value).startswith(f".dockerignore:2: the pattern {pattern!r} cannot be read: ")


@given(
    st.lists(st.text("ab*?!/.[]\\", max_size=6), max_size=4), st.lists(st.sampled_from("ab"), min_size=1, max_size=3)
)
def test_a_folder_that_is_skipped_has_nothing_in_it_that_is_meant(patterns: list[str], parts: list[str]) -> None:
    try:
        rules = IgnoreRules(patterns)
    except ConfigurationError:
        reject()
    folder = "/".join(parts)
    if rules.leaves_out_all_of(folder):
        assert all(rules.leaves_out(f"{folder}/{below}") for below in ("a", "b", "a/b", ".", "a.b"))


def test_the_files_that_travel_are_those_that_are_copied_and_not_left_out(tmp_path: Path) -> None:
    for name in ("main.py", "src/a.py", "src/__pycache__/a.pyc", ".venv/lib/x", ".env", "notes.md", "données.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to("main.py")
    (tmp_path / "stray").symlink_to("/etc/hostname")

    everything = collect(tmp_path, ["."])
    some = collect(tmp_path, ["src", "*.md", "nothing"])

    assert [file.path for file in everything.files] == ["données.txt", "link", "main.py", "notes.md", "src/a.py"]
    assert everything.strays == ("stray",)
    assert [file.path for file in some.files] == ["notes.md", "src/a.py"]
    assert [some.matches(source) for source in ("./src", "s*/a.py", "nothing")] == [["src"], ["src/a.py"], []]

    (tmp_path / ".dockerignore").write_text("src\n")
    mine = collect(tmp_path, ["."])
    assert mine.secrets == [".env"]
    assert ".venv/lib/x" in [file.path for file in mine.files]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_not_utf8_is_told_and_not_sent(tmp_path: Path) -> None:
    (tmp_path / "main.py").touch()
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).touch()
    (tmp_path / "link").symlink_to(os.fsdecode(b"caf\xe9.txt"))
    context = collect(tmp_path, ["."])
    assert [file.path for file in context.files] == ["main.py"]
    assert context.unnamed == (os.fsdecode(b"caf\xe9.txt"), "link")


SECRETS = (
    ".aws/credentials", ".aws/config", ".netrc", ".npmrc", ".pypirc", "a/server.pem", "id_ed25519", ".env.local",
    "x.p12", ".docker/config.json", ".kube/config", ".git-credentials", "sub/secrets.toml", "Prod.KEY",
    "terraform.tfstate", "config/prod.env", ".envrc", "credentials.csv", "accessKeys.csv", "serviceAccountKey.json",
    "client_secret_1.apps.googleusercontent.com.json", "mine-firebase-adminsdk-a1.json", ".cargo/credentials.toml",
    "AuthKey_1.p8", ".config/gh/hosts.yml", ".config/gcloud/credentials.db", "prod.tfvars.json",
)  # fmt: skip
NO_SECRETS = (
    ".env.example", "id_rsa.pub", "config.json", "keyboard.py", "credentials.py", "docs/config", "npmrc.md", "env",
    "environment.yml", "secrets.py", "src/hosts.yml", "prod.env.example", "service_account.py",
)  # fmt: skip


def test_files_that_look_like_secrets_are_named(tmp_path: Path) -> None:
    for name in (*SECRETS, *NO_SECRETS):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".dockerignore").write_text("\n")
    assert collect(tmp_path, ["."]).secrets == sorted(SECRETS)
    (tmp_path / ".dockerignore").unlink()
    left = {file.path for file in collect(tmp_path, ["."]).files}
    assert left.isdisjoint({".aws/credentials", ".netrc", ".npmrc", ".pypirc", "a/server.pem", ".env.local"})
    assert left.issuperset(NO_SECRETS[1:])


def test_what_is_sent_is_what_was_listed(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    (source / "run.sh").write_text("#!/bin/sh\n")
    (source / "run.sh").chmod(0o755)
    (source / ".ppio-agent.yaml").write_text("with a status")
    (source / "sub").mkdir()
    (source / "sub" / "link").symlink_to("../run.sh")
    context = collect(source, ["."])
    context.put_into(target, "without\n")

    sent = {path.relative_to(target).as_posix() for path in target.rglob("*") if not path.is_dir()}
    assert sent == {".ppio-agent.yaml", "run.sh", "sub/link"}
    assert (target / ".ppio-agent.yaml").read_text() == "without\n"
    assert (target / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (target / "sub" / "link").read_text() == "#!/bin/sh\n"
    before = context.digest("x")
    (source / ".ppio-agent.yaml").write_text("another status")
    assert collect(source, ["."]).digest("x") == before
    (source / "run.sh").write_text("#!/bin/sh\ntrue\n")
    assert collect(source, ["."]).digest("x") != before


@pytest.mark.parametrize(
    ("cpu", "memory", "size"),
    [
        (None, None, (2, 1024)),
        ("1", None, (1, 1024)),
        ("4000m", None, (4, 2048)),
        (None, "512Mi", (1, 512)),
        (None, "8Gi", (2, 8192)),
        ("8", "4Gi", (8, 4096)),
    ],
)
def test_a_sandbox_is_as_large_as_the_manifest_says_and_the_rest_fits(
    cpu: str | None, memory: str | None, size: tuple[int, int]
) -> None:
    assert size_of(cpu, memory) == size


@pytest.mark.parametrize(
    ("cpu", "memory", "says"),
    [
        ("500m", None, "cpu_limit is '500m'"),
        ("9", None, "whole CPUs, 1 to 8"),
        (None, "600Mi", "steps of 512Mi"),
        (None, "16Gi", "memory_limit is '16Gi'"),
        ("1", "8Gi", "8192 MiB do not fit 1 CPUs"),
        ("8", "1Gi", "1024 MiB do not fit 8 CPUs"),
    ],
)
def test_a_size_that_the_platform_has_not_is_refused(cpu: str | None, memory: str | None, says: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        size_of(cpu, memory)
    assert says in str(refused.value)
