"""Decides who is affected: the exposures of the dbt project that depend on nodes."""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from refresh_api.model import Model
from refresh_page.runlog.project import Exposure, Project
from refresh_page.views.node_ids import is_test

FAILED: Final = frozenset({"failed", "broken"})
"""States of a node that was not built, or of a test that did not pass."""
SHOWN: Final = 50
"""Maximum exposures that a page lists."""
_LINKED: Final = ("https://", "http://")
"""Beginnings of the addresses to which the page links; others are left out."""


class Affected(Model):
    """An exposure that depends on nodes."""

    name: str
    type: str
    """Such as dashboard or application."""
    owner: str | None = None
    email: str | None = None
    url: str | None = None
    description: str = ""
    causes: tuple[str, ...] = ()
    """The names of the nodes on which it depends."""


def affected_by(project: Project | None, ids: Iterable[str]) -> tuple[Affected, ...]:
    """Return the exposures that depend on these nodes, directly or not. On a test depends what reads the models that it tests."""
    if project is None:
        return ()
    origins = {id_: _origins(project, id_) for id_ in ids}
    reached = project.downstream(each for found in origins.values() for each in found)
    exposures = sorted((each for each in project.exposures if reached.intersection(each.reads)), key=lambda each: each.name)
    return tuple(_affected(project, each, origins.items()) for each in exposures[:SHOWN])


def outdated(states: Mapping[str, str]) -> tuple[str, ...]:
    """Return the nodes of a run, by ID with their states, on whose account data are outdated: those that failed, or else all of them."""
    failed = tuple(id_ for id_, state in states.items() if state in FAILED)
    return failed or tuple(id_ for id_ in states if not is_test(id_))


def _origins(project: Project, id_: str) -> Collection[str]:
    node = project.by_id.get(id_)
    return node.reads if node and is_test(id_) else (id_,)


def _affected(project: Project, exposure: Exposure, origins: Iterable[tuple[str, Collection[str]]]) -> Affected:
    upstream = project.upstream(exposure.reads)
    causes = [id_ for id_, found in origins if upstream.intersection(found)]
    return Affected(
        name=exposure.name,
        type=exposure.type,
        owner=exposure.owner,
        email=exposure.email,
        url=exposure.url if exposure.url and exposure.url.startswith(_LINKED) else None,
        description=exposure.description,
        causes=tuple(sorted(project.by_id[id_].name if id_ in project.by_id else id_ for id_ in causes)),
    )
