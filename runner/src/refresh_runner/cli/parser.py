"""The command line of `refresh-runner`: subcommands, options and their `--help`. Imports nothing slow, so that `--help` is fast."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from refresh_api.names import TERMINATION_LOG_PATH
from refresh_runner.cli.project_option import FORM, default_project

_FILE_HELP = "a DashboardRefresh as YAML"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(prog="refresh-runner", description="Runs one dashboard refresh.")
    commands = top.add_subparsers(dest="command", required=True)
    run, plan, lint, parse = _run(commands), _plan(commands), _lint(commands), _parse(commands)
    preview = _preview(commands)
    deps: argparse.ArgumentParser = commands.add_parser("deps", help="install the packages in package-lock.yml with dbt deps, or none")
    grants, artifacts, cleanup = _grants(commands), _artifacts(commands), _cleanup(commands)
    _import(commands)
    fetch: argparse.ArgumentParser = commands.add_parser("fetch", help="fetch the dbt project of the pod's run request from its repository")
    poll: argparse.ArgumentParser = commands.add_parser(
        "poll", help="report the newest revision of the dbt project of the pod's run request"
    )
    for command in (plan, grants, artifacts, cleanup, fetch, poll):
        command.set_defaults(termination_log=Path(os.devnull))
    # its report is its termination message
    poll.set_defaults(termination_log=Path(TERMINATION_LOG_PATH))
    for command in (run, plan):
        command.add_argument(
            "--mode", help="full-refresh, from=STEP, only=STEP, select=SELECTOR, rollback, resume or notify; defaults to a plain refresh"
        )
    for command in (run, plan, preview):
        command.add_argument("--var", action="append", default=[], metavar="NAME=VALUE", help="set a dbt variable; repeatable")
    for command in (run, plan, lint, parse, deps, grants, preview):
        help_ = f"the dbt project: a folder, or {FORM}; defaults to {default_project()}"
        command.add_argument("--project", help=help_.replace("%", "%%"))
    for command in (run, plan, lint, cleanup, grants, artifacts, preview):
        command.add_argument("--secrets", type=Path, help="folder of Secrets: one folder per Secret, one file per key")
    return top


if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # argparse has no public name for it


def _run(commands: _Commands) -> argparse.ArgumentParser:
    run: argparse.ArgumentParser = commands.add_parser(
        "run",
        help="run a refresh from a file or from the pod's run request",
        epilog="Without --secrets, the warehouse is taken from PGHOST, PGPORT, PGDATABASE, PGUSER and PGPASSWORD.",
    )
    run.add_argument("file", nargs="?", type=Path, help=f"{_FILE_HELP}; defaults to the pod's run request")
    run.add_argument("--workdir", type=Path, help="keep dbt's files here, which makes later parsing faster; defaults to a temporary folder")
    run.add_argument(
        "--termination-log",
        type=Path,
        default=Path(TERMINATION_LOG_PATH),
        help="file for the pod's termination message; defaults to %(default)s",
    )
    return run


def _plan(commands: _Commands) -> argparse.ArgumentParser:
    plan: argparse.ArgumentParser = commands.add_parser(
        "plan",
        help="show what a run would do (dry run)",
        epilog="Changes nothing. Also reads the warehouse if --secrets or PGUSER and PGPASSWORD are given.",
    )
    plan.add_argument("file", type=Path, help=_FILE_HELP)
    plan.set_defaults(workdir=None)
    return plan


def _preview(commands: _Commands) -> argparse.ArgumentParser:
    preview: argparse.ArgumentParser = commands.add_parser(
        "preview",
        help="show what a change of the dbt project would do to the marts",
        epilog="Builds the models that differ from --base, and those that read them, in schemas of its own, compares the marts with the "
        "live ones, and drops what it has built. Exits with 3 if readers would see a difference that --allow does not name.",
    )
    preview.add_argument("file", nargs="?", type=Path, help=f"{_FILE_HELP}; defaults to the pod's run request")
    preview.add_argument("--base", help=f"the project that is live: a folder, or {FORM}; required with a file".replace("%", "%%"))
    preview.add_argument(
        "-o", "--output", choices=("text", "markdown", "json"), default="text", help="form of the report; defaults to text"
    )
    preview.add_argument(
        "--select",
        action="append",
        default=[],
        metavar="SELECTION",
        help="dbt selectors, which narrow the preview to those of the models that the change touches; repeatable",
    )
    preview.add_argument(
        "--rows",
        type=int,
        default=0,
        metavar="N",
        help="also print at most N rows that are added, removed and changed of each mart; defaults to none",
    )
    preview.add_argument(
        "--sample-rows",
        type=int,
        metavar="N",
        help="compare a mart with more rows by a sample of about N of them; defaults to comparing all rows",
    )
    preview.add_argument(
        "--allow",
        choices=("added", "removed", "changed", "columns"),
        nargs="*",
        default=[],
        help="differences that do not change the exit code",
    )
    preview.set_defaults(termination_log=Path(TERMINATION_LOG_PATH))
    return preview


def _lint(commands: _Commands) -> argparse.ArgumentParser:
    lint: argparse.ArgumentParser = commands.add_parser("lint", help="check a refresh in seconds, without a database or a cluster")
    lint.add_argument("file", type=Path, help=_FILE_HELP)
    return lint


def _parse(commands: _Commands) -> argparse.ArgumentParser:
    parse: argparse.ArgumentParser = commands.add_parser("parse", help="parse the dbt project in advance, so that runs need not")
    parse.add_argument("--run-request", action="store_true", help="parse for the pod's run request instead of files")
    parse.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help=f"{_FILE_HELP}; defaults to the default schema, target and variables"
    )
    return parse


def _grants(commands: _Commands) -> argparse.ArgumentParser:
    grants: argparse.ArgumentParser = commands.add_parser("grants", help="print the SQL that grants a role what a run needs")
    grants.add_argument("file", type=Path, help=_FILE_HELP)
    grants.add_argument("--role", default=os.environ.get("PGUSER", "refresh"), help="role that runs the refresh; defaults to %(default)s")
    grants.add_argument("--database", default=os.environ.get("PGDATABASE", "warehouse"), help="database; defaults to %(default)s")
    grants.add_argument("--preview", metavar="ROLE", help="print what this role needs for previews of what --role builds")
    grants.add_argument("--missing", action="store_true", help="print only what the warehouse's user lacks; connects to the warehouse")
    return grants


def _artifacts(commands: _Commands) -> argparse.ArgumentParser:
    artifacts: argparse.ArgumentParser = commands.add_parser(
        "artifacts", help="list the files that runs stored in the warehouse, or fetch one"
    )
    artifacts.add_argument("run", nargs="?", help="ID of a run; defaults to the last twenty runs")
    artifacts.add_argument(
        "name", nargs="?", help="file to fetch: run.log, run_results.json, failing_rows.json or docs.html; defaults to a list"
    )
    artifacts.add_argument("--output", type=Path, help="where to write the file; defaults to its name in the current folder")
    return artifacts


def _cleanup(commands: _Commands) -> argparse.ArgumentParser:
    cleanup: argparse.ArgumentParser = commands.add_parser(
        "cleanup",
        help="remove what a deleted refresh left in the warehouse; keeps its live marts and its rows in dbt_refresh_log",
    )
    cleanup.add_argument("name", help="name of the refresh")
    cleanup.add_argument("--namespace", default="default", help="its namespace; defaults to %(default)s")
    cleanup.add_argument("--yes", action="store_true", help="remove; without it, only print what would be removed")
    return cleanup


def _import(commands: _Commands) -> None:
    import_: argparse.ArgumentParser = commands.add_parser(
        "import",
        help="print a DashboardRefresh that does what a schedule of another tool does",
        epilog="Reads the files as text, and runs nothing of them. What has no counterpart is a comment. Values that may be secret are not "
        "copied. The printed refresh is suspended.",
    )
    import_.add_argument(
        "source", choices=("airflow", "cronjob", "dagctl-dbt", "dagster", "dbt-platform"), help="what the schedule was made for"
    )
    import_.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="the file with it; for airflow, dagster and dbt-platform also several; - for standard input",
    )
    import_.add_argument("--only", metavar="NAME", help="the CronJob, job, DAG or schedule to import, if the file has several")
    import_.add_argument("--name", help="name of the refresh; defaults to that of the source")
    import_.add_argument("--schedule", metavar="CRON", help="schedule of the refresh; defaults to that of the source")
    import_.add_argument(
        "--secret", metavar="NAME", default="warehouse", help="name of the Secret with the warehouse's connection; defaults to %(default)s"
    )
    import_.add_argument("--schema", help="spec.dbt.schema; defaults to that of the source, if it is there")
    import_.add_argument("-o", "--output", type=Path, help="file to write; defaults to standard output")
