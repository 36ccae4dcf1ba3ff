"""Defines the command line."""

import argparse
from typing import Final

from refresh_api.preview_report import Difference

HELP: Final = {
    "run": "start a run now, even while suspended",
    "cancel": "cancel a run, or a request that is still queued",
    "suspend": "suspend scheduled runs, for good or until a time",
    "resume": "resume scheduled runs, also after suspendAfterFailures",
    "rollback": "restore the previous data, and block publishing until `run --mode resume`",
    "notify": "send a test message through each channel of notifications; exits with 1 if one does not accept it",
    "status": "show the refresh, its last run, and the steps of the current run",
    "history": "list the last finished runs",
    "logs": "print the log of a run while its pod exists",
    "artifacts": "list the artifacts of a run, or print one (needs the page)",
    "preview": "show what a branch, tag or commit would change in the marts; exits with 3 if it changes something",
    "next": "list the next three scheduled runs with their UTC offsets",
    "lint": "validate a file on the API server; changes nothing",
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(prog="kubectl dashboardrefresh", description="Run, cancel, follow and inspect dashboard refreshes.")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("-n", "--namespace", default="", help="namespace of the refresh")
    shared.add_argument("--context", default="", help="kubeconfig context")
    shared.add_argument("--kubeconfig", default="", help="path of the kubeconfig file")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in HELP.items():
        command = commands.add_parser(name, help=summary, description=summary, parents=[shared])
        formats = ("text", "markdown", "json") if name == "preview" else ("text", "json")
        command.add_argument("-o", "--output", choices=formats, default="text", help="output format; defaults to text")
        if name == "lint":
            command.add_argument("file", help="file with refreshes")
        else:
            command.add_argument("name", help="name of the refresh")
        _add_options(command, name)
    return top


def _add_options(command: argparse.ArgumentParser, name: str) -> None:
    if name in ("run", "rollback"):
        command.add_argument("--wait", action="store_true", help="wait until the run has finished, and exit with its exit code")
        command.add_argument("--timeout", default="1h", help="maximum time to wait; defaults to 1h")
    if name == "run":
        command.add_argument("--mode", help="full-refresh, from=STEP, only=STEP, select=SELECTOR or resume")
        command.add_argument("--var", action="append", default=[], metavar="NAME=VALUE", help="dbt variable for this run only; repeatable")
    if name == "notify":
        command.add_argument("--test", action="store_true", required=True, help="send a test message; nothing else can be sent")
        command.add_argument("--timeout", default="10m", help="maximum time to wait; defaults to 10m")
    if name == "preview":
        _add_preview_options(command)
    if name == "suspend":
        end = command.add_mutually_exclusive_group()
        end.add_argument("--for", dest="duration", metavar="DURATION", help="resume after this time, such as 2h")
        end.add_argument("--until", metavar="TIME", help="resume at this time, such as 2026-12-24T18:00 (local time zone)")
    if name in ("cancel", "logs"):
        command.add_argument("run", nargs="?", help="id of the run, or its request; defaults to the current run")
    if name == "artifacts":
        command.add_argument("run", nargs="?", help="id of the run; defaults to the last finished run")
        command.add_argument("file", nargs="?", help="artifact to print, such as run.log; without it, all are listed")
    if name == "logs":
        command.add_argument("-f", "--follow", action="store_true", help="follow the log until the run ends")


def _add_preview_options(command: argparse.ArgumentParser) -> None:
    change = command.add_mutually_exclusive_group(required=True)
    change.add_argument("--branch", help="branch with the change, in the repository of the refresh")
    change.add_argument("--tag", help="tag with the change")
    change.add_argument("--commit", help="commit with the change, by its full hash")
    command.add_argument("--var", action="append", default=[], metavar="NAME=VALUE", help="dbt variable for this preview; repeatable")
    command.add_argument("--image", help="image of the runner that builds the change; defaults to that of the refresh")
    help_ = "dbt selectors, which narrow the preview to those of the models that the change touches; repeatable"
    command.add_argument("--select", action="append", default=[], metavar="SELECTION", help=help_)
    help_ = "compare a mart with more rows by a sample of about N of them; defaults to comparing all rows"
    command.add_argument("--sample-rows", type=int, metavar="N", help=help_)
    command.add_argument("--rows", metavar="N", help="not in a cluster: `refresh-runner preview --rows N` prints the rows that differ")
    kinds = [kind.lower() for kind in Difference]
    command.add_argument("--allow", nargs="*", choices=kinds, default=[], help="kinds of differences that do not change the exit code")
    command.add_argument("--no-wait", action="store_true", help="print the name of the preview, and do not wait for its report")
    command.add_argument("--timeout", default="1h", help="maximum time to wait; defaults to 1h")
