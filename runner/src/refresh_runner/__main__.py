"""The command line; the only place that reads the environment, the clock and randomness."""

from __future__ import annotations

import argparse
import logging
import multiprocessing.util
import os
import random
import sys
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from refresh_api.names import TERMINATION_LOG_PATH
from refresh_api.plain import plain
from refresh_runner.run.cancellation import CancellationScope

_log = logging.getLogger(__name__)
_STARTED = time.monotonic()

IMAGE_PROJECTS = (Path("/app/project"), Path("/app/dbt_project"))
"""The project of an image made from ours, which need not know what lies in the other one, and ours."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command that the arguments name and return its exit code."""
    chosen = parser().parse_args(arguments)
    if chosen.command == "lint":
        from refresh_runner.cli.lint import lint

        return lint(chosen.file, chosen.project, chosen.secrets, datetime.now(UTC), lambda check: print(plain(str(check))))
    if chosen.command == "parse":
        return _parse(chosen.project, chosen.files)
    with (cancellation := CancellationScope()).installed():
        code = _act(chosen, cancellation)
    if arguments is None:
        # As a program: all is reported and closed, and taking dbt apart object by object would cost another half second.
        sys.stdout.flush()
        # What dbt's locks left with the system goes first, or Python's resource tracker would complain of it.
        multiprocessing.util._exit_function()  # type: ignore[attr-defined]  # the standard library registers it for every exit but this
        os._exit(code)
    return code


def _act(chosen: argparse.Namespace, cancellation: CancellationScope) -> int:
    from refresh_api.run_request import RefreshRef
    from refresh_runner.cli.artifacts import ArtifactQuery
    from refresh_runner.cli.commands import (
        Environment,
        RunOptions,
        artifacts_command,
        cleanup_command,
        grants_command,
        plan_command,
        run_command,
    )
    from refresh_runner.cli.grants import Grantee
    from refresh_runner.core.clock import Clock

    # A thread that fails says so in the log, which takes secrets out, and not on standard error.
    threading.excepthook = lambda failed: _log.error(
        "the thread %s failed", failed.thread and failed.thread.name, exc_info=failed.exc_value
    )
    environment = Environment(
        variables=dict(os.environ),
        clock=Clock(now=lambda: datetime.now(UTC), elapsed=lambda: time.monotonic() - _STARTED, sleep=time.sleep),
        jitter=lambda: random.uniform(0.5, 1.5),  # noqa: S311 - spreads tries, guards nothing
        output=sys.stdout,
        cancellation=cancellation,
        termination_log=chosen.termination_log,
    )
    if chosen.command == "cleanup":
        return cleanup_command(RefreshRef(name=chosen.name, namespace=chosen.namespace), chosen.secrets, chosen.yes, environment)
    if chosen.command == "artifacts":
        return artifacts_command(ArtifactQuery(chosen.run, chosen.name, chosen.output), chosen.secrets, environment)
    if chosen.command == "grants":
        grantee = None if chosen.missing else Grantee(chosen.role, chosen.database)
        return grants_command(RunOptions(chosen.file, chosen.project, chosen.secrets), grantee, environment)
    command = plan_command if chosen.command == "plan" else run_command
    return command(RunOptions(chosen.file, chosen.project, chosen.secrets, chosen.workdir, chosen.mode, tuple(chosen.var)), environment)


def _parse(project: Path, files: Sequence[Path]) -> int:
    from refresh_runner.cli.parse import default_settings, settings_of
    from refresh_runner.cli.parse import parse as ahead
    from refresh_runner.model.loader import InvalidRunRequestError

    try:
        return ahead(project, [settings_of(file) for file in files] or [default_settings()], lambda line: print(plain(line)))
    except InvalidRunRequestError as error:
        print(plain(f"✗ {error}"))
    except OSError as error:
        print(plain(f"✗ what was read of {project} can't be kept there: {error}"))
    return 1


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(prog="refresh-runner", description="Runs one dashboard refresh.")
    commands = top.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "run",
        help="run a refresh: the run request of the pod, or a file",
        epilog="Without --secrets, the warehouse is the one that PGHOST, PGPORT, PGDATABASE, PGUSER and PGPASSWORD name.",
    )
    run.add_argument("file", nargs="?", type=Path, help="a DashboardRefresh as YAML; defaults to the run request of the pod")
    run.add_argument("--workdir", type=Path, help="where dbt's files stay, so that it parses quicker next time; else a temporary folder")
    run.add_argument(
        "--termination-log", type=Path, default=Path(TERMINATION_LOG_PATH), help="where a pod leaves its last words (%(default)s)"
    )
    plan = commands.add_parser("plan", help="what would a run do, and why? Touches nothing; asks the warehouse if it is told how")
    plan.add_argument("file", type=Path, help="a DashboardRefresh as YAML")
    plan.set_defaults(workdir=None, termination_log=Path(os.devnull))
    for command in (run, plan):
        command.add_argument(
            "--mode", help="full-refresh, from=STEP, only=STEP, select=SELECTOR, rollback or resume; a plain refresh unless given"
        )
        command.add_argument("--var", action="append", default=[], metavar="NAME=VALUE", help="a dbt variable; may be given again")
    grants = commands.add_parser("grants", help="print the SQL that gives a role all that a run needs in the warehouse")
    grants.add_argument("file", type=Path, help="a DashboardRefresh as YAML")
    grants.add_argument("--role", default=os.environ.get("PGUSER", "refresh"), help="who is to run it (%(default)s)")
    grants.add_argument("--database", default=os.environ.get("PGDATABASE", "warehouse"), help="where (%(default)s)")
    grants.add_argument("--missing", action="store_true", help="ask the warehouse, as a run would, and print only what its user lacks")
    grants.set_defaults(termination_log=Path(os.devnull))
    kept = commands.add_parser("artifacts", help="list the files that runs left in the warehouse, or fetch one")
    kept.add_argument("run", nargs="?", help="of this run; of the last twenty unless given")
    kept.add_argument(
        "name", nargs="?", help="the file to fetch: run.log, run_results.json, failing_rows.json or docs.html; a list unless given"
    )
    kept.add_argument("--output", type=Path, help="where to write it; its name here unless given")
    kept.set_defaults(termination_log=Path(os.devnull))
    cleanup = commands.add_parser("cleanup", help="remove what a deleted refresh left in the warehouse; its live marts and its log stay")
    cleanup.add_argument("name", help="name of the refresh")
    cleanup.add_argument("--namespace", default="default", help="its namespace (%(default)s)")
    cleanup.add_argument("--yes", action="store_true", help="do it; else only say what would be removed")
    cleanup.set_defaults(termination_log=Path(os.devnull))
    lint = commands.add_parser("lint", help="is this refresh right? In seconds, without database or cluster")
    lint.add_argument("file", type=Path, help="a DashboardRefresh as YAML")
    parse = commands.add_parser("parse", help="read the dbt project once, so that no run of these refreshes has to")
    parse.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="a DashboardRefresh as YAML; else the usual schema, target and variables"
    )
    for command in (run, plan, lint, parse, grants):
        command.add_argument("--project", type=Path, default=_default_project(), help="the dbt project (%(default)s)")
    for command in (run, plan, lint, cleanup, grants, kept):
        command.add_argument("--secrets", type=Path, help="a folder with a folder for each Secret and a file for each key")
    return top


def _default_project() -> Path:
    """Return the project of a checkout that we stand in, else the image's."""
    return next((place for place in (Path("dbt_project"), *IMAGE_PROJECTS) if place.is_dir()), IMAGE_PROJECTS[-1])


if __name__ == "__main__":
    sys.exit(main())
