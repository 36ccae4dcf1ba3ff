"""The address of the overview: which refreshes it shows, and how it groups them."""

import re

import pytest

from refresh_page.kube.models import refresh_of
from refresh_page.views.health import Tone
from refresh_page.views.overview import overview_of
from refresh_page.views.overview_query import InvalidQueryError, OverviewQuery
from support.page_refreshes import build_history, build_refresh
from support.snapshots import NOW

GIT = "https://git.example.org/data"


def refresh(name, outcomes="S", namespace="default", labels=None, **spec):
    item = build_refresh(name, NOW, build_history(name, NOW, outcomes), namespace, spec={"displayName": name, **spec})
    item["metadata"]["labels"] = labels or {}
    return refresh_of(item)


def git(repository, path="."):
    return {"git": {"url": f"{GIT}/{repository}", "path": path}}


REFRESHES = [
    refresh("a", namespace="paris", labels={"team": "finance"}, project=git("warehouse.git", "dbt")),
    refresh("b", "W", labels={"team": "mobility"}, project=git("velos.git")),
    refresh("c", namespace="paris", labels={"team": "finance"}, project=git("warehouse.git", "dbt")),
    refresh("d", "F", labels={"tier": "1"}),
    refresh("e", "", image="registry.example.org:5000/team/velos:3"),
]


def shown(address=""):
    parameters = dict(part.split("=") for part in address.split("&") if part)
    return overview_of(REFRESHES, True, None, NOW, OverviewQuery.of(parameters))


@pytest.mark.parametrize(
    ("address", "names"),
    [
        ("", "d b e a c"),
        ("q=PARIS/", "a c"),
        ("q=velos", "b e"),
        ("q=MOBIL", "b"),
        ("q=team", "e"),
        ("q=finance warehouse.git", "a c"),
        ("q= finance  paris/c ", "c"),
        ("q=finance velos", ""),
        ("state=stale", "d"),
        ("state=attention", "b"),
        ("state=no-data", "e"),
        ("state=fresh", "a c"),
        ("state=running", ""),
        ("q=velos&state=attention", "b"),
        ("q=none of them", ""),
    ],
)
def test_search_and_state_narrow_what_is_shown(address, names):
    """The counts are those of all that the search finds, so that no filter makes a stale refresh disappear from the headline.

    Each word of a search must match, in any order. Labels are searched by their values: `team` is the key of a label of most refreshes.
    """
    found = shown(address)
    assert " ".join(each.name for each in found.refreshes) == names
    assert found.counts.bad == (0 if "q=" in address else 1)
    assert found.groups == ()


@pytest.mark.parametrize(
    ("address", "groups"),
    [
        ("group=namespace", {"default": "d b e", "paris": "a c"}),
        ("group=label:team", {"": "d e", "mobility": "b", "finance": "a c"}),
        (
            "group=project",
            {
                "": "d",
                f"{GIT}/velos.git": "b",
                "registry.example.org:5000/team/velos": "e",
                f"{GIT}/warehouse.git dbt": "a c",
            },
        ),
        ("group=label:team&state=fresh", {"finance": "a c"}),
        ("group=project&q=velos", {f"{GIT}/velos.git": "b", "registry.example.org:5000/team/velos": "e"}),
    ],
)
def test_refreshes_of_a_group_follow_each_other(address, groups):
    """The most urgent group is the first one: with many groups, a failed refresh must not be on the last page."""
    found = shown(address)
    assert [group.name for group in found.groups] == list(groups)
    assert [each.name for each in found.refreshes] == " ".join(groups.values()).split()
    assert [each.group for each in found.refreshes] == [name for name, members in groups.items() for _ in members.split()]


def test_a_group_counts_its_refreshes_in_every_state():
    """With a filter, the heading of a group still says how many it has."""
    (group,) = shown("group=namespace&state=stale").groups
    assert (group.counts.total, group.counts.bad, group.counts.warn, group.counts.none) == (3, 1, 1, 1)
    assert shown("group=namespace&state=stale").tone is Tone.BAD


def test_the_labels_of_all_refreshes_are_offered():
    """A search that finds none of them must not take the choice away."""
    assert shown("q=none of them").labels == ("team", "tier")


@pytest.mark.parametrize(
    ("spec", "project"),
    [
        ({}, ""),
        ({"project": git("velos.git")}, f"{GIT}/velos.git"),
        ({"project": git("warehouse.git", "dbt")}, f"{GIT}/warehouse.git dbt"),
        ({"project": {"sourceRef": {"kind": "GitRepository", "name": "velos"}}}, "GitRepository/default/velos"),
        ({"image": "registry.example.org:5000/velos:3"}, "registry.example.org:5000/velos"),
        ({"image": "velos@sha256:abc"}, "velos"),
        ({"image": "registry.example.org/velos:3@sha256:abc"}, "registry.example.org/velos"),
        ({"image": "registry.example.org/velos:3", "project": git("velos.git")}, f"{GIT}/velos.git"),
    ],
)
def test_a_project_is_named_by_where_it_comes_from(spec, project):
    """Two versions of an image are one project; two sources of one name in two namespaces are not."""
    assert refresh("velos", **spec).project == project


@pytest.mark.parametrize(
    ("parameters", "address"),
    [
        ({}, "?page=2"),
        ({"q": " a&b ", "state": "", "group": ""}, "?q=a%26b&page=2"),
        ({"state": "stale", "group": "label:x.io/team"}, "?state=stale&group=label%3Ax.io%2Fteam&page=2"),
        ({"q": "x" * 500, "group": "project"}, f"?q={'x' * 100}&group=project&page=2"),
    ],
)
def test_an_address_leads_to_another_page_of_the_same_refreshes(parameters, address):
    """A form sends empty parameters too; they mean the same as none."""
    assert OverviewQuery.of(parameters).address(2) == address
    assert OverviewQuery.of(parameters).address() == address.removesuffix("page=2").removesuffix("&")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"state": "Stale"}, "state: expected stale, attention, no-data, fresh, running, suspended"),
        ({"group": "label"}, "group: expected project, namespace or label:KEY"),
        ({"group": "label:"}, "group: expected project, namespace or label:KEY"),
        ({"group": "label:<b>"}, "group: expected project, namespace or label:KEY"),
        ({"group": "label:team\n"}, "group: expected project, namespace or label:KEY"),
        ({"group": "team"}, "group: expected project, namespace or label:KEY"),
        ({"group": "project:x"}, "group: expected project, namespace or label:KEY"),
    ],
)
def test_an_unknown_value_is_refused(parameters, message):
    """A filter that is silently ignored would show more than was asked for."""
    with pytest.raises(InvalidQueryError, match=re.escape(message)):
        OverviewQuery.of(parameters)
