"""Connections that wait: newest first, oldest out."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from ppio_agent_client._rules.idle import IdleConnections


@dataclass(eq=False)
class Waiter:
    origin: str


def waiting(*origins: str, most: int = 10) -> tuple[IdleConnections[Waiter], list[Waiter]]:
    idle, waiters = IdleConnections[Waiter](most, 4), [Waiter(origin) for origin in origins]
    for waiter in waiters:
        assert idle.put(waiter, 0) == []
    return idle, waiters


def test_the_one_used_last_goes_first() -> None:
    idle, (first, _, third) = waiting("a", "b", "a")
    assert [idle.take("a"), idle.take("a"), idle.take("a"), idle.take("c")] == [third, first, None, None]


def test_the_one_unused_for_longest_makes_room() -> None:
    idle, (first, second) = waiting("a", "b", most=2)
    newest = Waiter("c")
    assert idle.put(newest, 1) == [first]
    assert idle.clear() == [second, newest]


def test_nobody_waits_longer_than_allowed() -> None:
    idle, (first, second) = waiting("a", "b")
    assert idle.overdue(3.9) == []
    assert idle.overdue(4) == [first, second]
    assert len(idle) == 0


def test_there_may_be_room_for_fewer() -> None:
    idle, (first, second, third) = waiting("a", "b", "a")
    assert idle.overdue(0, 2) == [first]
    assert idle.overdue(0, -1) == [second, third]


def test_those_to_one_origin_can_be_named_and_removed() -> None:
    idle, (first, second, third) = waiting("a", "b", "a")
    assert idle.to("a") == [first, third]
    for waiter in (first, third, third):
        idle.remove(waiter)
    assert (idle.to("a"), idle.take("a"), idle.clear()) == ([], None, [second])


steps = st.lists(
    st.tuples(st.sampled_from(["put", "take", "remove", "overdue"]), st.sampled_from("abc"), st.integers(0, 3)),
    max_size=40,
)


@given(steps, st.integers(0, 4))
def test_it_does_what_a_plain_list_would(actions: list[tuple[str, str, int]], most: int) -> None:
    idle, model, now = IdleConnections[Waiter](most, 4), list[tuple[Waiter, int]](), 0
    for verb, origin, pause in actions:
        now += pause
        if verb == "put":
            waiter = Waiter(origin)
            model.append((waiter, now))
            closed = idle.put(waiter, now)
        elif verb == "take":
            newest = next((waiter for waiter, _ in reversed(model) if waiter.origin == origin), None)
            assert idle.take(origin) is newest
            model = [entry for entry in model if entry[0] is not newest]
            continue
        elif verb == "remove":
            for waiter, _ in model[:1]:
                idle.remove(waiter)
            model = model[1:]
            continue
        else:
            closed = idle.overdue(now)
        kept = [entry for entry in model if now - entry[1] < 4][-most or len(model) :]
        assert closed == [waiter for waiter, _ in model if all(waiter is not other for other, _ in kept)]
        model = kept
        assert len(idle) == len(model)
