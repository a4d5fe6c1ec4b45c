"""The command line in Chinese: every message is translated, help is not cut at 80 columns, `--json` stays English."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

from ppio_agent_client.cli.commands import COMMANDS
from ppio_agent_client.cli.messages import DOMAIN, FOLDER
from ppio_agent_client.cli.output import width
from ppio_agent_models import MANIFEST_FILE, AgentManifest
from tests.support.command_line import CommandLine

ROOT = Path(__file__).parents[2]
PO_FILE = FOLDER / "zh" / "LC_MESSAGES" / f"{DOMAIN}.po"
CHINESE = {"LC_ALL": "zh_CN.UTF-8"}


def test_every_message_is_translated_with_the_same_placeholders_and_compiled() -> None:
    command = [sys.executable, "scripts/messages.py", "--check"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)

    assert checked.returncode == 0, checked.stderr


def test_no_translation_is_left_of_a_message_that_is_gone() -> None:
    with PO_FILE.open("rb") as file:
        assert not read_po(file, locale="zh").obsolete


@pytest.mark.parametrize(
    ("command", "columns"), [("", 80), *((name, 80) for name in COMMANDS), ("sessions resume", 80), ("invoke", 63)]
)
def test_help_is_chinese_and_its_columns_align(command: str, columns: int, cli: CommandLine) -> None:
    ended = cli.run(*command.split(), "--help", COLUMNS=str(columns), **CHINESE)

    assert ended.code == 0
    assert "用法：ppio-agent" in ended.out
    assert "显示此帮助并退出。" in ended.out
    assert "─ 选项 ─" in ended.out
    assert "…" not in ended.out, "a text is cut"
    frames = [line for line in ended.out.splitlines() if line[:1] in "╭│╰" and line]
    assert frames
    assert {width(line) for line in frames} == {columns}


@pytest.mark.parametrize(
    ("variables", "is_chinese"),
    [
        ({"LC_ALL": "zh_CN.UTF-8"}, True),
        ({"LC_ALL": "", "LC_MESSAGES": "zh_CN.UTF-8", "LANG": "en_US.UTF-8"}, True),
        ({"LC_ALL": "", "LC_MESSAGES": "", "LANG": "zh_CN.GBK"}, True),
        ({"LC_ALL": "C.UTF-8", "LANG": "zh_CN.UTF-8"}, False),
        ({"LC_ALL": "C.UTF-8", "LANGUAGE": "zh_CN:en"}, True),
        ({"LC_ALL": "zh_CN.UTF-8", "LANGUAGE": "en_US:zh_CN"}, False),
        ({"LC_ALL": "fr_FR.UTF-8"}, False),
        ({"LC_ALL": "", "LC_MESSAGES": "", "LANG": ""}, False),
    ],
)
def test_the_environment_chooses_the_language(variables: dict[str, str], is_chinese: bool, cli: CommandLine) -> None:
    ended = cli.run("validate", **variables)

    assert ended.code == 2
    chinese = "错误：当前目录中没有 .ppio-agent.yaml。\n创建：ppio-agent init\n"
    english = "Error: There is no .ppio-agent.yaml in this folder.\nCreate one: ppio-agent init\n"
    assert ended.err == (chinese if is_chinese else english)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["inot"], "错误：没有命令 'inot'。是否想输入 'init'"),
        (["info"], "错误：缺少选项 '--template-id' / '-t'。"),
        (["list", "--lokal"], "错误：没有选项 --lokal（可能是：--local）"),
        (["list", "extra"], "错误：多余的参数（extra）"),
        (["invoke", "--input"], "错误：选项 '--input' 需要一个值。"),
        (["dev", "--port", "abc"], "错误：'--port' / '-p' 的值无效："),
    ],
)
def test_errors_in_the_arguments_are_chinese(arguments: list[str], error: str, cli: CommandLine) -> None:
    ended = cli.run(*arguments, **CHINESE)

    assert ended.code == 2
    assert ended.err.startswith(error)


def test_documents_stay_english(cli: CommandLine) -> None:
    ended = cli.run("validate", "--json", **CHINESE)

    assert ended.error["message"] == "There is no .ppio-agent.yaml in this folder."
    assert ended.error["hint"] == "Create one: ppio-agent init"
    found = cli.run("doctor", "--json", **CHINESE)
    assert found.out.isascii()
    assert {check["topic"] for check in json.loads(found.out)["checks"]} >= {"installed", "platform"}


def test_columns_of_wide_letters_align_in_a_pipe_too(cli: CommandLine) -> None:
    lines = cli.run("config", **CHINESE).out.splitlines()

    assert lines[0].split() == ["客户端设置", "值", "来源"]
    origins = [width(line[: line.rindex("默认")]) for line in lines if line.endswith("默认")]
    assert len(set(origins)) == 1
    assert origins[0] == width(lines[0][: lines[0].index("来源")])


@pytest.mark.parametrize("kind", ["streaming", "langgraph"])
def test_the_files_of_a_new_agent_are_chinese_and_say_the_same(kind: str, cli: CommandLine) -> None:
    for folder, language in (("ours", {}), ("theirs", CHINESE)):
        made = cli.run("init", folder, "--name", "my-agent", "--author", "a@b.cn", "--template", kind, **language)
        assert made.code == 0
    ours, theirs = cli.folder / "ours", cli.folder / "theirs"
    english, chinese = (AgentManifest.from_yaml((each / MANIFEST_FILE).read_text("utf-8")) for each in (ours, theirs))

    assert chinese.metadata.description == {"streaming": "逐词回答", "langgraph": "使用 LangGraph 调用大模型"}[kind]
    assert chinese.model_dump() == {
        **english.model_dump(),
        "metadata": {**english.metadata.model_dump(), "description": chinese.metadata.description},
    }
    readme = (theirs / "README.md").read_text("utf-8")
    assert "{{" not in readme
    assert ("它需要大模型" in readme) == (kind == "langgraph")
    for name in ("main.py", "requirements.txt", "Dockerfile", ".dockerignore"):
        assert (theirs / name).read_bytes() == (ours / name).read_bytes()


@pytest.mark.slow
def test_a_new_agent_with_chinese_files_runs_is_deployed_and_answers(cli: CommandLine) -> None:
    assert cli.run("init", "--name", "my-agent", "--template", "streaming", "--author", "a@b.cn", **CHINESE).code == 0

    assert cli.run("validate", "--strict", **CHINESE).code == 0
    assert cli.run("deploy", "--local", **CHINESE).code == 0
    called = cli.run("invoke", "--local", "--template-id", "my-agent", "-i", "你好", "--json", **CHINESE)
    assert called.document["result"] == "You said: 你好. That was message 1. "
    assert json.loads(cli.run("info", "--local", "-t", "my-agent", "--json").out)["description"] == "逐词回答"


def test_a_new_agent_is_made_and_checked_in_chinese(cli: CommandLine) -> None:
    made = cli.run("init", "my-agent", "--no-input", **CHINESE)
    assert "已创建智能体 my-agent（立即回答）：" in made.out
    assert "下一步：" in made.err

    manifest = cli.folder / "my-agent" / ".ppio-agent.yaml"
    manifest.write_text(manifest.read_text("utf-8").replace("entrypoint: main.py", "entrypoint: gone.py"), "utf-8")
    checked = cli.run("validate", "my-agent", **CHINESE)

    assert checked.code == 1
    assert "错误: spec.entrypoint 指定的文件 'gone.py' 不存在" in checked.out
    assert "1 个错误，" in checked.err
