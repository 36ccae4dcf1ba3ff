"""Faster replacements for slow parts of dbt give the same results."""

from __future__ import annotations

import pytest
from dbt.adapters.events.types import AdapterEventDebug
from dbt.clients.jinja import get_rendered
from dbt_common.events.event_manager import EventManager
from dbt_common.events.types import Note
from dbt_common.exceptions import CompilationError

from refresh_runner.dbt.patches.debug_events import skip_debug_events
from refresh_runner.dbt.patches.template_cache import cache_templates

cache_templates()
skip_debug_events()


def test_equal_texts_are_rendered_each_with_its_own_values() -> None:
    """The template is compiled once, as text and as a value; the code does not depend on the values."""
    assert [get_rendered("select {{ n }}", {"n": n}) for n in (1, "b")] == ["select 1", "select b"]
    assert [get_rendered("{{ n }}", {"n": n}, native=True) for n in (1, [2])] == [1, [2]]
    assert get_rendered("{{ n }}", {"n": 1}) == "1"


def test_a_text_that_is_wrong_is_wrong_each_time() -> None:
    """An error is not cached."""
    for _ in range(2):
        with pytest.raises(CompilationError):
            get_rendered("{% if %}", {})


def test_events_that_nobody_reads_are_not_put_together() -> None:
    """Events of an enabled level are still delivered."""
    heard: list[str] = []
    events = EventManager()
    events.add_callback(lambda message: heard.append(message.info.name))
    events.fire_event(AdapterEventDebug(base_msg="of no use"))
    events.fire_event(Note(msg="read"))
    assert heard == ["Note"]


def test_an_event_is_made_when_it_is_asked_for() -> None:
    """It has the fields that it was created with, and no others."""
    event = Note(msg="read")
    assert "pb_msg" not in vars(event)
    assert (event.msg, event.message(), event.to_dict()["msg"]) == ("read",) * 3
    with pytest.raises(AttributeError):
        _ = event.nothing_of_it
