"""Records of another shape: damaged, edited, or written by another version. None of them breaks anything for others."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from ppio_agent_client.local.directory import SandboxDirectory, read_record
from ppio_agent_client.local.store import to_sandbox

from .support import Place


@pytest.mark.parametrize(
    "junk", [b"", b"garbage", b"[]", b"{}", b"null", b'{"state": "running"}', b"1", "\u00e9".encode("latin-1")]
)
@pytest.mark.slow
def test_a_record_of_another_shape_is_named_and_left_out(
    place: Place, junk: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    damaged, other = place.create("damaged"), place.create("other")
    record = Path(place.store.folder, "sandboxes", damaged.sandbox_id, "record.json")
    record.write_bytes(junk)

    listed = [one.session_id for one in place.store.list_sandboxes()]
    assert listed == ["other"]
    assert place.store.find("damaged") is None
    assert place.store.get(other.sandbox_id) is not None
    anew = place.create("damaged")
    assert anew.created
    [message] = [one.getMessage() for one in caplog.records if "ignoring the local sandbox" in one.getMessage()]
    assert str(record.parent) in message


def test_each_field_of_a_record_is_looked_at(place: Place) -> None:
    sandbox = place.create()
    directory = SandboxDirectory(os.path.join(place.store.folder, "sandboxes", sandbox.sandbox_id))
    whole: dict[str, Any] = {**(directory.read() or {})}
    path = place.home / "edited.json"
    for name in whole:
        path.write_text(json.dumps({key: value for key, value in whole.items() if key != name}))
        assert read_record(str(path)) is None, name
        values: tuple[Any, ...] = (None, "x", -1, 1e99, float("nan"), [], {"pid": "x"}, {"pid": 1, "started": "x"})
        for value in values:
            path.write_text(json.dumps({**whole, name: value}))
            record = read_record(str(path))
            assert record is None or to_sandbox(record).sandbox_id


@pytest.mark.parametrize(
    "junk", [b"", b"garbage", b"[]", b"null", b"1e99", b"-5", b"{}", b'{"files": 1}', b"[" * 100_000]
)
def test_a_template_of_another_shape_is_named_and_left_out(
    place: Place, junk: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    place.store.templates.deploy(place.template, "good")
    place.store.templates.deploy(place.template, "bad")
    pointer = place.home / "templates" / "bad.json"
    pointer.write_bytes(junk)

    assert [one.template_id for one in place.store.templates.all()] == ["good"]
    assert str(pointer) in caplog.text
    place.store.templates.deploy(place.template, "good")  # which sweeps
    assert len(list((place.home / "templates").glob("bad@*"))) == 1
    place.store.templates.deploy(place.template, "bad")
    assert [one.template_id for one in place.store.templates.all()] == ["bad", "good"]


def test_a_folder_in_place_of_a_template_is_named_and_left_out(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    place.store.templates.deploy(place.template, "good")
    (place.home / "templates" / "bad.json").mkdir()
    assert [one.template_id for one in place.store.templates.all()] == ["good"]
    assert "bad.json" in caplog.text


@pytest.mark.parametrize("junk", [b"garbage", b"[]", b"null", b"1e99", b"-5", b"{}", b"true"])
def test_a_port_counter_of_another_shape_begins_anew(place: Place, junk: bytes) -> None:
    (place.home / "next-port").write_bytes(junk)
    assert place.create().created
