"""Failures that several refreshes may share: their cause, which of them are in one message, and when it is sent; pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from refresh_api.notifications import Notification, NotifyWhen
from refresh_api.spec import RefreshSpec
from refresh_api.status import SHARED, FinishedRun, Reason, SharedFailure
from refresh_operator.names import Ref
from refresh_operator.state.refresh import InvalidSpec


def cause_of(run: FinishedRun, spec: RefreshSpec | InvalidSpec) -> str | None:
    """Return what other refreshes of the namespace may fail for, too, without reading a Secret; None if that is nothing.

    None also if no channel takes a message about several refreshes. An invalid spec names no channel yet.
    """
    if run.reason not in SHARED:
        return None
    if isinstance(spec, InvalidSpec):
        return run.reason.value
    if not any(each.combines for each in spec.notifications):
        return None
    match run.reason:
        case Reason.PROJECT_UNAVAILABLE if spec.project:
            url = spec.project.origin.url
            return f"server of the dbt project: {urlsplit(url).hostname or url}"
        case Reason.IMAGE_PULL_FAILED:
            return f"image {spec.image}" if spec.image else "image of the runner"
        case Reason.UNSCHEDULABLE:
            return "nodes of the cluster"
        case _:
            return f"warehouse of Secret {spec.warehouse.secret_ref.name}"


def hint_of(run: FinishedRun, spec: RefreshSpec) -> str:
    """Return what to do about a failure that other refreshes may share."""
    match run.reason:
        case Reason.PROJECT_UNAVAILABLE:
            return "check that the project's server is running, and that it accepts the credentials of spec.project"
        case Reason.IMAGE_PULL_FAILED:
            return "check that the registry is running, and that it has the image"
        case Reason.UNSCHEDULABLE:
            return "check the nodes, and spec.resources and spec.podTemplate"
        case _:
            return f"check that PostgreSQL is running, and that Secret {spec.warehouse.secret_ref.name} is correct"


@dataclass(frozen=True)
class Group:
    """What refreshes have in common that are in one message."""

    namespace: str
    cause: str
    is_over: bool
    channels: tuple[str, ...]
    """The channels to notify, with their quiet hours."""


def channels_for(spec: RefreshSpec, failure: SharedFailure) -> list[Notification]:
    """Return the channels that are notified of a failure, or of its end, together with other refreshes, also if they are quiet now."""
    when = NotifyWhen.RECOVERED if failure.is_over else NotifyWhen.FAILED
    return [each for each in spec.notifications if each.combines and each.wants(when)]


def key_of(spec: RefreshSpec, notification: Notification) -> str:
    """Return what identifies a channel with its quiet hours among those of all refreshes of a namespace."""
    hours = [each.model_dump_json() for each in notification.quiet_hours]
    return " ".join([notification.channel.model_dump_json(), *([spec.time_zone, *hours] if hours else [])])


def group_of(namespace: str, spec: RefreshSpec, failure: SharedFailure) -> Group:
    """Return the group of a refresh."""
    channels = sorted(key_of(spec, each) for each in channels_for(spec, failure))
    return Group(namespace, failure.cause, failure.is_over, tuple(channels))


def due_in(group: Mapping[Ref, SharedFailure], window: timedelta, now: datetime) -> timedelta:
    """Return the time until the next message about a group: none unless there was one recently."""
    sent = [each.notified_time for each in group.values() if each.notified_time]
    return max(timedelta(0), min(window, max(sent) + window - now)) if sent else timedelta(0)
