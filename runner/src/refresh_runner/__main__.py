"""Entry point of `refresh-runner`. Only this module reads the environment and the clock."""

from __future__ import annotations

import argparse
import logging
import multiprocessing.util
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from refresh_api.plain import plain
from refresh_runner.cli.parser import parser
from refresh_runner.cli.project_option import default_project, opened
from refresh_runner.core.errors import RunFailedError
from refresh_runner.run.cancellation import CancellationScope

_log = logging.getLogger(__name__)
_STARTED = time.monotonic()


def main(arguments: list[str] | None = None) -> int:
    """Run the subcommand given in the arguments. Return its exit code."""
    args = parser().parse_args(arguments)
    try:
        with opened(getattr(args, "project", None)) as project, opened(getattr(args, "base", None)) as base:
            args.project, args.base = project, base
            code = _main(args)
    except RunFailedError as error:
        print(plain(f"✗ {error.failure.message}"))
        return 1
    if arguments is None:
        # Everything has been reported and closed. Freeing dbt's objects one by one would take another half second.
        sys.stdout.flush()
        # Releases the semaphores behind dbt's locks; otherwise Python's resource tracker prints a warning.
        multiprocessing.util._exit_function()  # type: ignore[attr-defined]  # the standard library registers it for every exit but this
        os._exit(code)
    return code


def _main(args: argparse.Namespace) -> int:
    if args.command == "lint":
        from refresh_runner.cli.lint import lint

        return lint(args.file, args.project, args.secrets, datetime.now(UTC), lambda check: print(plain(str(check))))
    if args.command == "deps":
        from refresh_runner.cli.deps import deps

        return deps(args.project or default_project(), lambda line: print(plain(line)))
    if args.command == "import":
        from refresh_runner.cli.importing import import_command
        from refresh_runner.importers.description import Overrides

        overrides = Overrides(args.only, args.name, args.schedule, args.secret, args.schema)
        return import_command(args.source, args.files, overrides, args.output)
    if args.command == "parse":
        return _parse(args.project or default_project(), args.files, for_pod=args.run_request)
    with (cancellation := CancellationScope()).installed():
        return _run(args, cancellation)


def _run(args: argparse.Namespace, cancellation: CancellationScope) -> int:
    from refresh_api.run_request import ExitCode, RefreshRef
    from refresh_runner.cli.artifacts import ArtifactQuery, artifacts_command
    from refresh_runner.cli.cleanup import cleanup_command
    from refresh_runner.cli.environment import Environment, RunOptions
    from refresh_runner.cli.fetch import fetch_command
    from refresh_runner.cli.grants import grants_command
    from refresh_runner.cli.plan import plan_command
    from refresh_runner.cli.poll import poll_command
    from refresh_runner.cli.run import run_command
    from refresh_runner.core.backoff import random_jitter
    from refresh_runner.core.clock import Clock
    from refresh_runner.postgres.privileges import Grantee

    # Log an exception in a thread: the log is redacted, but standard error is not.
    threading.excepthook = lambda failed: _log.error(
        "the thread %s failed", failed.thread and failed.thread.name, exc_info=failed.exc_value
    )
    environment = Environment(
        variables=dict(os.environ),
        clock=Clock(now=lambda: datetime.now(UTC), elapsed=lambda: time.monotonic() - _STARTED, sleep=time.sleep),
        jitter=random_jitter,
        output=sys.stdout,
        cancellation=cancellation,
        termination_log=args.termination_log,
    )
    match args.command:
        case "fetch":
            # What has been fetched so far is not used. git ends when its standard output is closed.
            signal.signal(signal.SIGTERM, lambda _signal, _frame: os._exit(ExitCode.INTERRUPTED))
            return fetch_command(environment)
        case "poll":
            return poll_command(environment)
        case "preview":
            from refresh_api.preview_report import Difference
            from refresh_runner.cli.preview import PreviewOptions, preview_command
            from refresh_runner.cli.preview_pod import preview_in_pod

            if args.file is None:
                return preview_in_pod(environment)
            if args.base is None:
                print("✗ --base: required with a file")
                return ExitCode.USAGE
            options = RunOptions(args.file, args.project, args.secrets, variables=tuple(args.var))
            allow = frozenset(Difference(each.capitalize()) for each in args.allow)
            return preview_command(
                options, PreviewOptions(args.base, args.output, allow, args.select, args.rows, args.sample_rows), environment
            )
        case "cleanup":
            return cleanup_command(RefreshRef(name=args.name, namespace=args.namespace), args.secrets, args.yes, environment)
        case "artifacts":
            return artifacts_command(ArtifactQuery(args.run, args.name, args.output), args.secrets, environment)
        case "grants":
            grantee = None if args.missing else Grantee(args.role, args.database)
            return grants_command(RunOptions(args.file, args.project, args.secrets), grantee, environment, args.preview)
    command = plan_command if args.command == "plan" else run_command
    return command(RunOptions(args.file, args.project, args.secrets, args.workdir, args.mode, tuple(args.var)), environment)


def _parse(project: Path, files: Sequence[Path], *, for_pod: bool) -> int:
    from refresh_runner.cli.parse import default_settings, parse, settings_of, settings_of_pod
    from refresh_runner.model.loader import InvalidRunRequestError

    try:
        settings = [settings_of_pod(os.environ)] if for_pod else [settings_of(file) for file in files] or [default_settings()]
        return parse(project, settings, lambda line: print(plain(line)))
    except InvalidRunRequestError as error:
        print(plain(f"✗ {error}"))
    except OSError as error:
        print(plain(f"✗ cannot store the parsed project in {project}: {error}"))
    return 1


if __name__ == "__main__":
    sys.exit(main())
