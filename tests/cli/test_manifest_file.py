"""Where things are in a manifest."""

from __future__ import annotations

from ppio_agent_client.cli._manifest_file import lines_of

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


def test_every_key_has_its_line() -> None:
    lines = lines_of(WRITTEN)
    assert lines["metadata", "name"] == 3
    assert lines["spec", "runtime", "timeout"] == 10
