"""The operator's copy of what the API server has."""

import pytest

from refresh_api.objects import Json
from refresh_operator.kube.resources import CRONJOBS, JOBS, REFRESHES, Kind
from refresh_operator.kube.store import Key, Store
from refresh_operator.names import Ref

REF = Ref("ns", "phase2")


def item(name: str, version: int, refresh: str | None = "phase2", **fields):
    labels = {"dashboards.sigeti.io/refresh": refresh} if refresh else {}
    return {
        "metadata": {"name": name, "namespace": "ns", "resourceVersion": str(version), "labels": labels, "managedFields": [1]},
        **fields,
    }


def test_an_object_is_there_and_says_which_refresh_it_concerns():
    """The refresh itself by its name, all else by its label; without the noise."""
    mirror = Store()
    assert mirror.put(REFRESHES, item("phase2", 1, refresh=None)) == REF
    assert mirror.put(CRONJOBS, item("phase2", 2, spec={"a": 1})) == REF
    seen = mirror.get(CRONJOBS, "ns", "phase2")
    assert seen is not None
    assert (seen["spec"], "managedFields" in str(seen)) == ({"a": 1}, False)
    assert list(mirror.refreshes()) == [REF]


@pytest.mark.parametrize("version", [6, 7])
def test_an_old_version_brings_nothing_new(version):
    """Our own write was answered before the watch told of an earlier one."""
    mirror = Store()
    mirror.put(CRONJOBS, item("phase2", 7, spec="new"))
    assert mirror.put(CRONJOBS, item("phase2", version, spec="old")) is None
    assert (mirror.get(CRONJOBS, "ns", "phase2") or {})["spec"] == "new"


def test_what_was_deleted_does_not_come_back_by_an_old_version():
    """A new object of the same name does."""
    mirror = Store()
    mirror.put(JOBS, item("run", 5))
    assert mirror.remove(JOBS, item("run", 8)) == REF
    mirror.put(JOBS, item("run", 6))
    assert (mirror.get(JOBS, "ns", "run"), mirror.by_refresh(JOBS, REF)) == (None, [])
    mirror.put(JOBS, item("run", 9))
    assert len(mirror.by_refresh(JOBS, REF)) == 1


def listed(mirror: Store, kind: Kind, pages: list[list[Json]], version: int) -> set[Ref]:
    """Take a list page by page, as the operator does."""
    held, changed = set[Key](), set[Ref]()
    for page in pages:
        of_page, news = mirror.put_page(kind, page)
        held |= of_page
        changed |= news
    return changed | mirror.prune(kind, "ns", held, version)


def test_a_list_tells_what_no_watch_told():
    """Changed, new and gone; what was written after the list was made stays, and a page is no whole list."""
    mirror = Store()
    for name, version, refresh in (("same", 1, "a"), ("changed", 2, "b"), ("gone", 3, "c"), ("newer", 30, "d")):
        mirror.put(CRONJOBS, item(name, version, refresh))
    found = listed(mirror, CRONJOBS, [[item("same", 1, "a"), item("changed", 12, "b")], [item("new", 13, "e")]], 20)
    assert {ref.name for ref in found} == {"b", "c", "e"}
    there = {name for name in ("same", "changed", "gone", "newer", "new") if mirror.get(CRONJOBS, "ns", name)}
    assert there == {"same", "changed", "newer", "new"}


def test_a_watch_that_tells_nothing_is_noticed():
    """What a list brought to light is told by no watch until the next one; the control: told in time, nothing is stalled."""
    silent, told = Store(), Store()
    for mirror in (silent, told):
        mirror.begin_resync()
        listed(mirror, JOBS, [[item("run", 5)]], 10)
        assert mirror.stale_kinds == []
    told.put(JOBS, item("run", 5), from_watch=True)
    for mirror in (silent, told):
        mirror.begin_resync()
    assert (silent.stale_kinds, told.stale_kinds) == (["Job"], [])
