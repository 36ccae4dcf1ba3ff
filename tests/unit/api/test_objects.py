"""Objects and lists of the API server, from texts that cannot be parsed as a whole."""

import json
import time
from typing import Any

import pytest
from pydantic_core import from_json

from refresh_api.objects import AT_ONCE, LARGEST, UNREADABLE, ItemCutter, ListReader, event_of, members, object_of, readable, unreadable
from refresh_api.status import RefreshStatus

DEEP = "[" * 3000 + "]" * 3000


def text_of(name: str, odd: str = "1") -> str:
    """Return an object with this text in its spec, and managedFields that are nested as deeply."""
    noise = '{"f:a":' * 300 + "{}" + "}" * 300
    metadata = f'{{"name":"{name}","managedFields":[{noise}],"labels":{{"a":"b"}}}}'
    return f'{{"kind":"K","metadata":{metadata},"spec":{{"vars":{{"good":"x\\"]}}","odd":{odd}}}}},"status":{{"phase":"Scheduled"}}}}'


def list_of(*items: str) -> bytes:
    return f'{{"apiVersion":"a/v1","items":[{",".join(items)}],"kind":"KList","metadata":{{"resourceVersion":"5"}}}}'.encode()


@pytest.mark.parametrize(
    ("odd", "says"),
    [
        (DEEP, "nested too deeply"),
        ('{"a":' * 250 + "1" + "}" * 250, "nested too deeply"),
        (json.dumps("x" * LARGEST), "bytes long"),
        ('"\\ud800"', "cannot be read"),
        ("9" * 5000, "cannot be read"),
        ("NaN", "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_left_out_and_named(odd, says):
    """Everything else is read. Control: the text as a whole cannot be parsed, or is too long."""
    text = text_of("a", odd).encode()
    if len(text) <= LARGEST:
        with pytest.raises(ValueError, match=r"recursion|escape|range|value"):
            from_json(text, allow_inf_nan=False)
    found: Any = object_of(text)
    ((path, why),) = unreadable(found).items()
    assert (path.startswith("spec.vars.odd"), says in why) == (True, True)
    assert (found["metadata"], found["status"]) == ({"name": "a", "labels": {"a": "b"}}, {"phase": "Scheduled"})
    assert found["spec"]["vars"]["good"] == 'x"]}'


def test_many_that_are_too_long_together_are_left_out_together():
    """None of them is too long by itself."""
    many = "{" + ",".join(f'"v{number}":"{"x" * 1000}"' for number in range(600)) + "}"
    assert list(unreadable(object_of(text_of("a", many).encode()))) == ["spec.vars.odd"]


def test_an_object_cannot_call_itself_unreadable():
    """Only the parser sets this member."""
    assert unreadable(object_of(b'{"unreadable": {"spec": "no"}, "spec": {}}')) == {}
    event = event_of(b'{"type": "ADDED", "object": {"unreadable": {"spec": "no"}}}')
    assert event == ("ADDED", {})


@pytest.mark.parametrize("text", [b"", b"[1]", b"7", b"{", b'{"a":[}', b"nonsense", b'{"a": "b'])
def test_a_text_that_is_no_object_is_refused(text):
    """It is an invalid response, not an unusual object."""
    with pytest.raises(ValueError, match=r"."):
        object_of(text)


@pytest.mark.parametrize("size", [1, 3, 64, 10_000, 10**7])
def test_a_list_is_cut_into_its_items_however_it_arrives(size):
    """A part may end anywhere in a string or a sequence of brackets."""
    texts = [text_of("a"), text_of("b", DEEP), text_of("c", '"\\\\\\"}]{["'), text_of("d", "[[],{}]")]
    text, cutter, items = list_of(*texts), ItemCutter(1 if size < 10_000 else AT_ONCE), []
    for begin in range(0, len(text), size):
        items += cutter.feed(text[begin : begin + size])
    last, rest = cutter.end()
    assert [each.decode() for each in [*items, *last]] == texts
    assert rest == {"apiVersion": "a/v1", "kind": "KList", "metadata": {"resourceVersion": "5"}, "items": []}


def test_one_odd_item_spoils_no_list():
    """The other items are read unchanged. An empty list is also a list."""
    reader = ListReader()
    read = reader.feed(list_of(text_of("a"), text_of("b", DEEP), text_of("c")))
    items, rest = reader.end()
    every: list[Any] = [*read, *items]
    found = {item["metadata"]["name"]: item for item in every}
    assert [name for name, item in found.items() if unreadable(item)] == ["b"]
    assert (found["c"] == object_of(text_of("c").encode()), rest["metadata"]) == (True, {"resourceVersion": "5"})
    empty = ListReader()
    empty.feed(list_of())
    assert empty.end()[0] == []


def test_a_long_list_is_read_item_by_item():
    """Parsing it as a whole would take too much memory."""
    item = text_of("a", json.dumps("x" * 100_000))
    reader, read = ListReader(), 0
    text = list_of(*[item] * 100)
    for begin in range(0, len(text), 2**16):
        read += len(reader.feed(text[begin : begin + 2**16]))
    assert read > 50
    assert read + len(reader.end()[0]) == 100


@pytest.mark.parametrize("text", [b'{"items":[{"a":1}', b'{"items":[{"a":"', b"<html>", b""])
def test_a_list_that_ends_too_early_is_refused(text):
    """Otherwise the missing items would look deleted."""
    reader = ListReader()
    reader.feed(text)
    with pytest.raises(ValueError, match=r"."):
        reader.end()


@pytest.mark.parametrize(
    "odd", ["[" * 700_000 + "]" * 700_000, "[1," * 250_000 + "1" + "]" * 250_000, '{"a":' * 200_000 + "1" + "}" * 200_000]
)
def test_the_oddest_object_that_kubernetes_stores_takes_a_second_or_two(odd):
    """1.5 MB of brackets."""
    text = text_of("a", odd).encode()
    begun = time.process_time()
    assert unreadable(object_of(text))
    assert time.process_time() - begun < 5


def test_members_are_found_by_their_brackets():
    """Keys and values are returned as written."""
    assert members(b' {"a" : [1, {"b": 2}] , "c":"d,}"} ') == [(b'"a"', b'[1, {"b": 2}]'), (b'"c"', b'"d,}"')]
    assert members(b'[1, "a", []]') == [(b"", b"1"), (b"", b'"a"'), (b"", b"[]")]
    assert members(b"{}") == []


def test_a_status_is_read_as_far_as_it_goes():
    """An invalid field is omitted and reported; an unknown field is ignored."""
    found, wrong = readable(RefreshStatus, {"phase": "Scheduled", "history": 7, "missedRuns": 3, "newer": 1})
    assert (found.phase, found.missed_runs, found.history, wrong.partition(":")[0]) == ("Scheduled", 3, [], "history")
    assert readable(RefreshStatus, {"phase": "Scheduled"})[1] == ""
    assert readable(RefreshStatus, ["no", "object"])[0] == RefreshStatus()
    assert UNREADABLE not in RefreshStatus.model_fields
