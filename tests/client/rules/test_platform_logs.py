"""Logs that come by moments are read without a line lost or told twice."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ppio_agent_client._rules.platform_calls import logs
from ppio_agent_client._rules.platform_logs import LogCursor, cursor_of, unseen

MOMENTS = [f"2026-11-22T20:00:0{second}.000001Z" for second in range(3)]


def answer(lines: list[tuple[str, str]]) -> dict[str, object]:
    return {"logs": [{"timestamp": when, "message": text} for when, text in lines]}


@given(st.lists(st.tuples(st.sampled_from(MOMENTS), st.text("ab", max_size=2))), st.integers(0, 20))
def test_each_line_is_told_once_wherever_the_reader_paused(lines: list[tuple[str, str]], pause: int) -> None:
    lines.sort(key=lambda line: line[0])
    first, cursor = unseen(answer(lines[:pause]), LogCursor("s"))
    again = cursor_of(str(cursor))
    assert again == cursor
    rest, _ = unseen(answer(lines), cursor)
    assert first + rest == "".join(f"{text}\n" for _, text in lines)


def test_the_older_answer_has_lines_too() -> None:
    value = {"logs": [{"timestamp": MOMENTS[0], "line": "old"}], "logEntries": []}
    assert unseen(value, LogCursor("s"))[0] == "old\n"
    assert unseen("nonsense", LogCursor("s"))[0] == ""


def test_the_platform_is_asked_from_the_moment_on() -> None:
    since = LogCursor("s|", MOMENTS[1], 1).unix_milliseconds
    assert since is not None
    assert (
        logs("s-1", since, is_legacy=False).path
        == f"/v2/sandboxes/s-1/logs?limit=1000&direction=forward&cursor={since}"
    )
    assert logs("s-1", None, is_legacy=True).path == "/sandboxes/s-1/logs?limit=1000"


def test_a_cursor_of_something_else_is_none() -> None:
    assert [cursor_of(text) for text in (None, "", "local-1:5", "a|b|c", "|b|1")] == [None] * 5
