"""The copy of all watched objects."""

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


def test_put_returns_the_refresh_of_an_object():
    """By its name for a refresh, and by its label for everything else. Noise is removed."""
    mirror = Store()
    assert mirror.put(REFRESHES, item("phase2", 1, refresh=None)) == REF
    assert mirror.put(CRONJOBS, item("phase2", 2, spec={"a": 1})) == REF
    seen = mirror.get(CRONJOBS, "ns", "phase2")
    assert seen is not None
    assert (seen["spec"], "managedFields" in str(seen)) == ({"a": 1}, False)
    assert list(mirror.refreshes()) == [REF]


@pytest.mark.parametrize("version", [6, 7])
def test_an_older_version_is_ignored(version):
    """The response to a write can arrive before the watch reports an earlier change."""
    mirror = Store()
    mirror.put(CRONJOBS, item("phase2", 7, spec="new"))
    assert mirror.put(CRONJOBS, item("phase2", version, spec="old")) is None
    assert (mirror.get(CRONJOBS, "ns", "phase2") or {})["spec"] == "new"


def test_an_older_version_does_not_restore_a_deleted_object():
    """A recreated object of the same name is stored."""
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


def test_a_list_finds_changes_that_no_watch_reported():
    """Changed, new and deleted objects. A write after the list is kept, and one page is not the whole list."""
    mirror = Store()
    for name, version, refresh in (("same", 1, "a"), ("changed", 2, "b"), ("gone", 3, "c"), ("newer", 30, "d")):
        mirror.put(CRONJOBS, item(name, version, refresh))
    found = listed(mirror, CRONJOBS, [[item("same", 1, "a"), item("changed", 12, "b")], [item("new", 13, "e")]], 20)
    assert {ref.name for ref in found} == {"b", "c", "e"}
    there = {name for name in ("same", "changed", "gone", "newer", "new") if mirror.get(CRONJOBS, "ns", name)}
    assert there == {"same", "changed", "newer", "new"}


def test_a_watch_without_events_makes_its_kind_stale():
    """The next resync finds that the watch did not report the change. A watch that reports in time is the control."""
    silent, told = Store(), Store()
    for mirror in (silent, told):
        mirror.begin_resync()
        listed(mirror, JOBS, [[item("run", 5)]], 10)
        assert mirror.stale_kinds == []
    told.put(JOBS, item("run", 5), from_watch=True)
    for mirror in (silent, told):
        mirror.begin_resync()
    assert (silent.stale_kinds, told.stale_kinds) == (["Job"], [])
