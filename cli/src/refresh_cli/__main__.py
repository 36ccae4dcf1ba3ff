"""`kubectl dashboardrefresh`: everything by annotation and status, so that whoever may edit a refresh can use it.

Exit codes: 0 done (`run --wait`: succeeded, warned or skipped), 1 the run failed, 2 it could not be asked for, 124 waited for too long.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from refresh_api.model import time_text
from refresh_api.names import CANCEL, REFRESH_LABEL, REQUESTED_AT, RUN_MODE, RUN_VARS
from refresh_api.plain import one_line, plain
from refresh_api.run_request import RunMode, vars_text
from refresh_api.values import duration
from refresh_cli.artifacts import PageClient
from refresh_cli.follow import RunWatcher, exit_code
from refresh_cli.kubectl import CliError, Kubectl, RefreshView
from refresh_cli.show import history_text, run_text, status_text, table


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    options = parser().parse_args(words)
    passed = [f"--{name}={value}" for name in ("context", "kubeconfig", "namespace") if (value := getattr(options, name))]
    kubectl = Kubectl(tuple(passed), os.environ.get("KUBECTL", "kubectl"))
    try:
        return int(_COMMANDS[options.command](kubectl, options))
    except CliError as error:
        print(plain(f"error: {error}"), file=sys.stderr)
        return error.code
    except FileNotFoundError:
        print("error: kubectl is not on the PATH", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(prog="kubectl dashboardrefresh", description="Run, cancel, follow and explain dashboard refreshes.")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("-n", "--namespace", default="", help="namespace of the refresh")
    shared.add_argument("--context", default="", help="context of the kubeconfig")
    shared.add_argument("--kubeconfig", default="", help="path of the kubeconfig")
    shared.add_argument("-o", "--output", choices=("text", "json"), default="text", help="for people, or for programs")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, says in HELP.items():
        command = commands.add_parser(name, help=says, description=says, parents=[shared])
        command.add_argument(
            "file" if name == "lint" else "name", help="a file with refreshes" if name == "lint" else "name of the refresh"
        )
        if name in ("run", "rollback"):
            command.add_argument("--wait", action="store_true", help="follow the run; end with its exit code")
            command.add_argument("--timeout", default="1h", help="how long to wait, like 30m")
        if name == "run":
            command.add_argument("--mode", help="full-refresh, from=STEP, only=STEP, select=SELECTOR or resume")
            command.add_argument(
                "--var", action="append", default=[], metavar="NAME=VALUE", help="a dbt variable for this run alone; may be given again"
            )
        if name == "suspend":
            end = command.add_mutually_exclusive_group()
            end.add_argument("--for", dest="duration", metavar="DURATION", help="go on by themselves after it, like 2h")
            end.add_argument("--until", metavar="TIME", help="go on by themselves then, like 2026-12-24T18:00 (in this machine's zone)")
        if name in ("cancel", "logs"):
            command.add_argument("run", nargs="?", help="id of the run, or its request; the one under way unless given")
        if name == "artifacts":
            command.add_argument("run", nargs="?", help="id of the run; the last finished one unless given")
            command.add_argument("file", nargs="?", help="the file to print, like run.log; a list unless given")
        if name == "logs":
            command.add_argument("-f", "--follow", action="store_true", help="go on as the run does")
    return top


def _run(kubectl: Kubectl, options: argparse.Namespace) -> int:
    mode = "rollback" if options.command == "rollback" else options.mode
    try:
        within = duration(options.timeout).total_seconds()
        if mode:
            RunMode.parse(mode)
        further = vars_text(getattr(options, "var", []))
    except ValueError as error:
        raise CliError(str(error)) from None
    known = frozenset(run.id for run in kubectl.refresh(options.name).status.history)
    token = datetime.now(UTC).isoformat(timespec="milliseconds")
    kubectl.annotate(options.name, {REQUESTED_AT: token, RUN_MODE: mode, RUN_VARS: further})
    if not options.wait:
        _print(options, f"{options.name}: a run is asked for", {"refresh": options.name, "request": token})
        return 0
    follower = RunWatcher(kubectl, lambda line: print(one_line(line), file=sys.stderr, flush=True))
    run = follower.wait(options.name, token, known, within)
    _print(options, run_text(run, datetime.now(UTC)), run.model_dump(mode="json", by_alias=True, exclude_none=True))
    return exit_code(run)


def _cancel(kubectl: Kubectl, options: argparse.Namespace) -> int:
    wanted = options.run or _under_way(kubectl.refresh(options.name))
    kubectl.annotate(options.name, {CANCEL: wanted})
    _print(options, f"{options.name}: {wanted} is to end", {"refresh": options.name, "cancel": wanted})
    return 0


def _under_way(seen: RefreshView) -> str:
    token = seen.metadata.annotations.get(REQUESTED_AT)
    if seen.status.active:
        return seen.status.active[0].id
    if token and token != seen.status.last_handled_request_at:
        return token
    raise CliError(f"{seen.metadata.name}: no run is under way")


def _suspend(kubectl: Kubectl, options: argparse.Namespace) -> int:
    until = _end_of(options.duration, options.until)
    kubectl.suspend(options.name, until)
    says = f"no scheduled runs until {time_text(until)}" if until else "no scheduled runs any more"
    _print(options, f"{options.name}: {says}", {"refresh": options.name, "suspend": True, "until": time_text(until) if until else None})
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
    says = "scheduled runs go on; slots that have passed are not made up for"
    _print(options, f"{options.name}: {says}", {"refresh": options.name, "suspend": False})
    return 0


def _status(kubectl: Kubectl, options: argparse.Namespace) -> int:
    seen = kubectl.refresh(options.name)
    _print(options, status_text(seen, datetime.now(UTC)), seen.status.model_dump(mode="json", by_alias=True, exclude_none=True))
    return 0


def _history(kubectl: Kubectl, options: argparse.Namespace) -> int:
    seen = kubectl.refresh(options.name)
    _print(options, history_text(seen), [run.model_dump(mode="json", by_alias=True, exclude_none=True) for run in seen.status.history])
    return 0


def _next(kubectl: Kubectl, options: argparse.Namespace) -> int:
    status = kubectl.refresh(options.name).status
    text = table(("NEXT",), [(each,) for each in status.next_runs]) if status.next_runs else (status.message or "no run is planned")
    _print(options, text, status.next_runs)
    return 0


def _logs(kubectl: Kubectl, options: argparse.Namespace) -> int:
    seen = kubectl.refresh(options.name)
    last = seen.status.last_run.id if seen.status.last_run else ""
    run = options.run or (seen.status.active[0].id if seen.status.active else last)
    if not run:
        raise CliError(f"{options.name}: there was no run yet")
    selector = f"--selector={REFRESH_LABEL}={options.name},batch.kubernetes.io/job-name={run}"
    return kubectl.stream("logs", selector, "--tail=-1", *(["-f"] if options.follow else []))


def _artifacts(kubectl: Kubectl, options: argparse.Namespace) -> int:
    seen = kubectl.refresh(options.name)
    run = options.run or (seen.status.last_run.id if seen.status.last_run else "")
    if not run:
        raise CliError(f"{options.name}: no run has ended yet")
    namespace = seen.metadata.namespace
    page = PageClient.find(kubectl, namespace)
    if options.file:
        content = page.artifact(namespace, options.name, run, options.file)
        # into a file as it is, onto a terminal without what would move or hide anything there
        print(plain(content) if sys.stdout.isatty() else content, end="")
        return 0
    found = page.artifacts(namespace, options.name, run)
    text = table(("FILE", "BYTES"), [(each.name, str(each.size)) for each in found]) if found else f"{run} has left no files"
    _print(options, text, [each.model_dump() for each in found])
    return 0


def _lint(kubectl: Kubectl, options: argparse.Namespace) -> int:
    print(plain(kubectl("apply", "--dry-run=server", "--validate=strict", "-f", options.file)), end="")
    return 0


def _print(options: argparse.Namespace, text: str, value: object) -> None:
    print(plain(json.dumps(value, ensure_ascii=False, indent=2) if options.output == "json" else text))


HELP = {
    "run": "ask for a run now, also while suspended",
    "cancel": "end a run, or take back a request that still waits",
    "suspend": "no scheduled runs from now on, or until a moment",
    "resume": "scheduled runs go on, also after suspendAfterFailures",
    "rollback": "put the previous data back, and publish nothing until `run --mode resume`",
    "status": "the refresh, its last run and the run under way, step by step",
    "history": "the last finished runs",
    "logs": "what a run wrote, as long as its pod is there",
    "artifacts": "the files that a run left, by the page: list them, or print one",
    "next": "the next three scheduled runs, with their offsets",
    "lint": "ask the API server whether a file is right; nothing is changed",
}
_COMMANDS = {
    "run": _run,
    "cancel": _cancel,
    "suspend": _suspend,
    "resume": _resume,
    "rollback": _run,
    "status": _status,
    "history": _history,
    "logs": _logs,
    "artifacts": _artifacts,
    "next": _next,
    "lint": _lint,
}


if __name__ == "__main__":
    sys.exit(main())
