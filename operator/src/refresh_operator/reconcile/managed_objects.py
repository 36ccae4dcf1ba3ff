"""Which managed objects to create and to replace, and which of them have drifted; pure."""

from dataclasses import dataclass

from refresh_api.objects import Json
from refresh_api.reasons import ReadyReason
from refresh_operator.specs.diff import Difference, differences, owned_by, owned_by_predecessor, replacement
from refresh_operator.specs.metadata import HASH_ANNOTATION
from refresh_operator.state.kube_types import metadata_of
from refresh_operator.state.refresh import Refresh
from refresh_operator.state.snapshot import Snapshot

_SCHEDULE_FIELDS = frozenset({"spec.schedule", "spec.timeZone", "spec.suspend", "spec.startingDeadlineSeconds"})
_DENIED = (
    ReadyReason.SECRET_NOT_ALLOWED,
    ReadyReason.IMAGE_NOT_ALLOWED,
    ReadyReason.PROJECT_NOT_ALLOWED,
    ReadyReason.DEPENDENCY_NOT_ALLOWED,
)
_HASH_PATH = f"metadata.annotations.{HASH_ANNOTATION}"


@dataclass(frozen=True)
class Replacement:
    """An object to replace the existing one."""

    item: Json
    differences: tuple[Difference, ...]
    reset_last_schedule_time: bool = False
    """Whether to first set the CronJob's last schedule time to now, so that the change starts no run for a past time."""
    takes_over: bool = False
    """Whether the object was owned by a deleted refresh of the same name. Its differences are not drift."""


def is_owned(live: Json, refresh: Refresh) -> bool:
    """Return whether an object is owned by a refresh, or by a deleted one of the same name."""
    return owned_by(live, refresh.metadata.uid) or owned_by_predecessor(live, refresh.metadata)


def plan_objects(
    snapshot: Snapshot, wanted: tuple[Json, ...], tolerated: frozenset[Difference]
) -> tuple[tuple[Json, ...], tuple[Replacement, ...]]:
    """Return the objects to create and those to replace. `tolerated` differences alone cause no replacement."""
    create, replace = [], []
    for item in wanted:
        live = snapshot.objects.get(str(item["kind"]))
        if live is None:
            create.append(item)
        elif is_owned(live, snapshot.refresh) and not metadata_of(live).deletion_timestamp:
            found = differences(item, live)
            if set(found) - tolerated:
                takes_over = not owned_by(live, snapshot.refresh.metadata.uid)
                reset = any(each.path in _SCHEDULE_FIELDS for each in found) or (takes_over and item["kind"] == "CronJob")
                replace.append(Replacement(replacement(item, live), found, reset, takes_over))
    return tuple(create), tuple(replace)


def drifted(refresh: Refresh, create: tuple[Json, ...], replace: tuple[Replacement, ...]) -> list[tuple[Json, tuple[Difference, ...]]]:
    """Return the objects that somebody edited, or deleted (then without differences). A change of the desired object is not drift."""
    deleted = create if refresh.status.observed_generation >= 0 else ()
    edited = [each for each in replace if all(found.path != _HASH_PATH for found in each.differences) and not each.takes_over]
    return [*((item, ()) for item in deleted), *((each.item, each.differences) for each in edited)]


def changed_defaults(snapshot: Snapshot, each: Replacement) -> tuple[str, ...]:
    """Return the fields of an object whose desired value has changed although the refresh has not.

    `spec.suspend` is left out, because the condition Suspended reports it.
    """
    refresh = snapshot.refresh
    paths = [found.path for found in each.differences]
    ready = refresh.status.condition("Ready")
    was_denied = ready is not None and ready.reason in _DENIED
    is_edited = refresh.metadata.generation != refresh.status.observed_generation
    if was_denied or snapshot.denied_secrets or snapshot.denial or is_edited or _HASH_PATH not in paths:
        return ()
    return tuple(path for path in paths if path not in (_HASH_PATH, "spec.suspend"))
