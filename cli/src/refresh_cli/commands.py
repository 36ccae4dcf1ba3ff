"""The commands of the plugin: each reads or patches a refresh through kubectl, prints the result, and returns the exit code."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from refresh_api.model import Model, time_text
from refresh_api.names import CANCEL, REQUESTED_AT, RUN_MODE, RUN_VARS
from refresh_api.plain import one_line, plain
from refresh_api.run_request import ModeKind, RunMode, vars_text
from refresh_api.status import FinishedRun, Reason
from refresh_api.values import duration
from refresh_cli.artifacts import PageClient
from refresh_cli.follow import RunWatcher, exit_code
from refresh_cli.kubectl import CliError, Kubectl, RefreshView
from refresh_cli.logs import RunLogs
from refresh_cli.preview import preview_command
from refresh_cli.show import history_text, run_text, status_text, table


def _run(kubectl: Kubectl, options: argparse.Namespace) -> int:
    mode = "rollback" if options.command == "rollback" else options.mode
    try:
        timeout = duration(options.timeout).total_seconds()
        if mode:
            RunMode.parse(mode)
        variables = vars_text(getattr(options, "var", []))
    except ValueError as error:
        raise CliError(str(error)) from None
    wait = _request(kubectl, options.name, mode, variables)
    if not options.wait:
        _print(options, f"{options.name}: run requested", {"refresh": options.name, "request": wait.request})
        return 0
    run = wait(timeout)
    _print(options, run_text(run, datetime.now(UTC)), _json(run))
    return exit_code(run)


@dataclass(frozen=True)
class _Wait:
    """Waits for a requested run, and reports its progress."""

    kubectl: Kubectl
    name: str
    request: str
    known: frozenset[str]

    def __call__(self, timeout: float) -> FinishedRun:
        watcher = RunWatcher(self.kubectl, lambda line: print(one_line(line), file=sys.stderr, flush=True))
        return watcher.wait(self.name, self.request, self.known, timeout)


def _request(kubectl: Kubectl, name: str, mode: str | None, variables: str | None = None) -> _Wait:
    known = frozenset(run.id for run in kubectl.refresh(name).status.history)
    request = datetime.now(UTC).isoformat(timespec="milliseconds")
    kubectl.annotate(name, {REQUESTED_AT: request, RUN_MODE: mode, RUN_VARS: variables})
    return _Wait(kubectl, name, request, known)


def _notify(kubectl: Kubectl, options: argparse.Namespace) -> int:
    try:
        timeout = duration(options.timeout).total_seconds()
    except ValueError as error:
        raise CliError(str(error)) from None
    run = _request(kubectl, options.name, ModeKind.NOTIFY)(timeout)
    report = kubectl.refresh(options.name).status.run
    if run.reason is not Reason.NOTIFICATIONS_TESTED or report is None or report.id != run.id:
        raise CliError(f"{run.id} sent no test message: {run.reason}: {run.message or ''}".rstrip(": "), 1)
    sent = report.notifications
    rows = [(each.channel, "yes" if each.sent else "no", each.message or "") for each in sent]
    text = table(("CHANNEL", "SENT", "WHY NOT"), rows) if sent else f"{options.name}: spec.notifications names no channel"
    _print(options, text, [_json(each) for each in sent])
    return 0 if sent and all(each.sent for each in sent) else 1


def _cancel(kubectl: Kubectl, options: argparse.Namespace) -> int:
    run = options.run or _current_run(kubectl.refresh(options.name))
    kubectl.annotate(options.name, {CANCEL: run})
    _print(options, f"{options.name}: cancellation of {run} requested", {"refresh": options.name, "cancel": run})
    return 0


def _current_run(refresh: RefreshView) -> str:
    """Return the id of the active run, or the request that is still queued. Raise CliError if there is neither."""
    request = refresh.metadata.annotations.get(REQUESTED_AT)
    if refresh.status.active:
        return refresh.status.active[0].id
    if request and request != refresh.status.last_handled_request_at:
        return request
    raise CliError(f"{refresh.metadata.name}: no run is in progress")


def _suspend(kubectl: Kubectl, options: argparse.Namespace) -> int:
    until = _end_of(options.duration, options.until)
    kubectl.suspend(options.name, until)
    message = f"scheduled runs suspended until {time_text(until)}" if until else "scheduled runs suspended"
    _print(options, f"{options.name}: {message}", {"refresh": options.name, "suspend": True, "until": time_text(until) if until else None})
    return 0


def _end_of(length: str | None, moment: str | None) -> datetime | None:
    try:
        if moment:
            return datetime.fromisoformat(moment).astimezone(UTC)
        return datetime.now(UTC) + duration(length) if length else None
    except (ValueError, OverflowError) as error:
        raise CliError(str(error)) from None


def _resume(kubectl: Kubectl, options: argparse.Namespace) -> int:
    kubectl.resume(options.name, datetime.now(UTC).isoformat(timespec="milliseconds"))
    _print(options, f"{options.name}: scheduled runs resumed; missed runs are not made up", {"refresh": options.name, "suspend": False})
    return 0


def _status(kubectl: Kubectl, options: argparse.Namespace) -> int:
    refresh = kubectl.refresh(options.name)
    _print(options, status_text(refresh, datetime.now(UTC)), _json(refresh.status))
    return 0


def _history(kubectl: Kubectl, options: argparse.Namespace) -> int:
    refresh = kubectl.refresh(options.name)
    _print(options, history_text(refresh), [_json(run) for run in refresh.status.history])
    return 0


def _next(kubectl: Kubectl, options: argparse.Namespace) -> int:
    status = kubectl.refresh(options.name).status
    text = (
        table(("NEXT",), [(each,) for each in status.next_schedule_times])
        if status.next_schedule_times
        else (status.message or "no run is scheduled")
    )
    _print(options, text, status.next_schedule_times)
    return 0


def _logs(kubectl: Kubectl, options: argparse.Namespace) -> int:
    status = kubectl.refresh(options.name).status
    last = status.last_run.id if status.last_run else ""
    run = options.run or (status.active[0].id if status.active else last)
    if not run:
        raise CliError(f"{options.name}: no run has started yet")
    return RunLogs(kubectl, options.name, run).print(follow=options.follow)


def _artifacts(kubectl: Kubectl, options: argparse.Namespace) -> int:
    refresh = kubectl.refresh(options.name)
    run = options.run or (refresh.status.last_run.id if refresh.status.last_run else "")
    if not run:
        raise CliError(f"{options.name}: no run has finished yet")
    namespace = refresh.metadata.namespace
    page = PageClient.find(kubectl, namespace)
    if options.file:
        content = page.artifact(namespace, options.name, run, options.file)
        # unchanged into a file; on a terminal, control characters are escaped
        print(plain(content) if sys.stdout.isatty() else content, end="")
        return 0
    found = page.artifacts(namespace, options.name, run)
    text = table(("FILE", "BYTES"), [(each.name, str(each.size)) for each in found]) if found else f"{run} has no artifacts"
    _print(options, text, [each.model_dump() for each in found])
    return 0


def _lint(kubectl: Kubectl, options: argparse.Namespace) -> int:
    print(plain(kubectl("apply", "--dry-run=server", "--validate=strict", "-f", options.file)), end="")
    return 0


def _json(value: Model) -> object:
    return value.model_dump(mode="json", by_alias=True, exclude_none=True)


def _print(options: argparse.Namespace, text: str, value: object) -> None:
    print(plain(json.dumps(value, ensure_ascii=False, indent=2) if options.output == "json" else text))


COMMANDS: Final[Mapping[str, Callable[[Kubectl, argparse.Namespace], int]]] = {
    "run": _run,
    "cancel": _cancel,
    "suspend": _suspend,
    "resume": _resume,
    "rollback": _run,
    "notify": _notify,
    "status": _status,
    "history": _history,
    "logs": _logs,
    "artifacts": _artifacts,
    "next": _next,
    "lint": _lint,
    "preview": preview_command,
}
