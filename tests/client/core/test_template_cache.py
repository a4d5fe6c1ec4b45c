"""A remembered list is good for its time and no longer."""

from __future__ import annotations

from ppio_agent_client import AgentTemplate
from ppio_agent_client._core.template_cache import TemplateCache

ONE, TWO = (AgentTemplate(template_id=name, name=name) for name in ("one", "two"))


def test_an_empty_cache_is_not_fresh() -> None:
    assert not TemplateCache(300).is_fresh(0.0)


def test_a_list_is_fresh_until_its_time_is_over() -> None:
    cache = TemplateCache(300)
    cache.fill([ONE], 1000.0)
    assert cache.is_fresh(1299.9)
    assert not cache.is_fresh(1300.0)


def test_without_a_time_nothing_is_fresh() -> None:
    cache = TemplateCache(0)
    cache.fill([ONE], 1000.0)
    assert not cache.is_fresh(1000.0)


def test_a_new_list_replaces_the_old_one() -> None:
    cache = TemplateCache(300)
    cache.fill([ONE], 1.0)
    cache.fill([TWO], 2.0)
    assert cache.all() == [TWO]
    assert cache.get("one") is None


def test_who_waited_sees_that_somebody_filled_it() -> None:
    cache = TemplateCache(300)
    cache.fill([ONE], 10.0)
    assert cache.was_filled_since(9.0)
    assert not cache.was_filled_since(11.0)
