"""Writing to a manifest that somebody else wrote."""

from __future__ import annotations

from pathlib import Path

from ppio_agent_client.cli._manifest_file import lines_of, read_manifest, update_status

WRITTEN = """\
# What this agent is.
metadata:
  name: listener  # as in the shop
  description: 'It''s a very long description, beyond the eighty columns at which many writers wrap'
spec:
  entrypoint: main.py
  envVars: {"LEVEL": "1"}

  runtime:
    timeout: 60 # seconds
"""


def test_only_the_status_changes_and_every_comment_stays(tmp_path: Path) -> None:
    path = tmp_path / ".ppio-agent.yaml"
    path.write_text(WRITTEN, encoding="utf-8")
    update_status(path, {"phase": "deployed", "agent_id": "tpl-1", "reason": "first\nsecond: 你好"})
    text = path.read_text(encoding="utf-8")
    assert text.startswith(WRITTEN)
    manifest = read_manifest(path)
    assert manifest.status == {"phase": "deployed", "agent_id": "tpl-1", "reason": "first\nsecond: 你好"}
    update_status(path, {"reason": None, "phase": "building"})
    assert read_manifest(path).status == {"phase": "building", "agent_id": "tpl-1"}
    assert path.read_text(encoding="utf-8").startswith(WRITTEN)
    assert [file.name for file in tmp_path.iterdir()] == [".ppio-agent.yaml"]


def test_every_key_has_its_line() -> None:
    lines = lines_of(WRITTEN)
    assert lines["metadata", "name"] == 3
    assert lines["spec", "runtime", "timeout"] == 10
