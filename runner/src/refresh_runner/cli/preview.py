"""`refresh-runner preview`: shows what a change of the dbt project would do to the marts, before readers see it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from refresh_api import preview_text
from refresh_api.preview_report import DIFFERS, LEAST_SAMPLE, MOST_SAMPLE, Difference, PreviewReport
from refresh_api.run_request import ExitCode, selectors_in
from refresh_runner.cli.environment import Environment, RunOptions, access_of, plan_of, printer, redactor_of, warehouse_of
from refresh_runner.cli.project_option import project_of
from refresh_runner.core.errors import RunFailedError
from refresh_runner.core.secrets import Redactor, SecretFolder, SecretMissingError
from refresh_runner.dbt.project import Dbt
from refresh_runner.model.loader import InvalidRunRequestError, run_request_from_file
from refresh_runner.model.plan import Attempt, Plan
from refresh_runner.postgres.conninfo import ConnectionInfo
from refresh_runner.preview.preview import InvalidSelectionError, Preview, Previewer, Scope
from refresh_runner.preview.report import report_of
from refresh_runner.preview.rows import MAX_ROWS, MartRows, rows_text
from refresh_runner.run.cancellation import CancelledError, Cause

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreviewOptions:
    """Options of `preview` beside those of a run."""

    base: Path
    """Folder of the project that is live."""
    output: str
    allow: Collection[Difference]
    select: Collection[str] = ()
    """Texts with dbt selectors."""
    rows: int = 0
    """Rows of each kind of difference to print of a mart."""
    sample_rows: int | None = None

    @property
    def scope(self) -> Scope:
        """What is previewed; ValueError for an invalid option."""
        if not 0 <= self.rows <= MAX_ROWS:
            raise ValueError(f"--rows: write a number between 0 and {MAX_ROWS}")
        if self.rows and self.output == "markdown":
            raise ValueError("--rows: a merge request shows its text to people who may not read the rows: use -o text or -o json")
        if self.sample_rows is not None and not LEAST_SAMPLE <= self.sample_rows <= MOST_SAMPLE:
            raise ValueError(f"--sample-rows: write a number between {LEAST_SAMPLE} and {MOST_SAMPLE}")
        return Scope(tuple(selectors_in(self.select, "--select")), rows=self.rows, sample_rows=self.sample_rows)


def preview_command(options: RunOptions, preview: PreviewOptions, environment: Environment) -> int:
    """Print what the project of `options` would change; return the exit code, DIFFERS if it changes more than is allowed."""
    Dbt.preload()
    if options.file is None:
        raise ValueError("a preview needs a file")
    try:
        run_request = run_request_from_file(options.file, None, options.variables)
        plan = plan_of(run_request, Attempt("preview"), environment)
        project = project_of(run_request.spec, options.project)
        access = access_of(run_request.spec.warehouse.secret_ref.name, SecretFolder(options.secrets), environment.variables)
        scope = preview.scope
    except (InvalidRunRequestError, SecretMissingError, ValueError) as error:
        printer(environment)(f"✗ {error}")
        return ExitCode.USAGE
    except RunFailedError as error:
        printer(environment)(f"✗ {error.failure.message}")
        return ExitCode.USAGE
    say = printer(environment, access)
    try:
        with environment.cancellation.timeout(plan.timeout, Cause.DEADLINE), environment.cancellation.enabled():
            found = previewed(plan, Projects(project, preview.base), access, environment, uuid4().hex[:8], scope, _log.debug)
    except CancelledError as cancelled:
        why = "not done within spec.timeout" if cancelled.cause is Cause.DEADLINE else "interrupted"
        say(f"✗ {why}; what the preview has built is dropped")
        return ExitCode.INTERRUPTED
    except InvalidSelectionError as error:
        say(f"✗ {error}")
        return ExitCode.USAGE
    except RunFailedError as error:
        say(f"✗ {error.failure.text}")
        return ExitCode.FAILED
    report = report_of(found)
    for line in _printed(report, found.rows, preview, redactor_of(access)):
        say(line)
    return DIFFERS if set(report.differences) - set(preview.allow) else ExitCode.OK


def _printed(report: PreviewReport, rows: Sequence[MartRows], preview: PreviewOptions, redact: Redactor) -> Iterator[str]:
    if preview.output == "json":
        shown = report.model_dump(mode="json", by_alias=True)
        if preview.rows:
            shown["rows"] = redact.inside([each.model_dump(mode="json", by_alias=True) for each in rows])
        yield from json.dumps(shown, indent=2, ensure_ascii=False).splitlines()
        return
    yield from (preview_text.markdown if preview.output == "markdown" else preview_text.text)(report).splitlines()
    yield from rows_text(rows, preview.rows, redact)


@dataclass(frozen=True)
class Projects:
    """The folders of the two projects that a preview compares."""

    new: Path
    base: Path


def previewed(
    plan: Plan,
    projects: Projects,
    access: ConnectionInfo,
    environment: Environment,
    id_: str,
    scope: Scope,
    say: Callable[[str], None],
) -> Preview:
    """Parse both projects, and build and compare what differs; RunFailedError or InvalidSelectionError says why that is not possible."""
    log = logging.getLogger("dbt")
    with ExitStack() as stack:
        warehouse = stack.enter_context(warehouse_of(access, f"preview-{id_}", environment))
        parsed = []
        say("parsing both projects")
        for name, folder in (("base", projects.base), ("new", projects.new)):
            workdir = Path(stack.enter_context(TemporaryDirectory(prefix=f"preview-{name}-")))
            dbt = Dbt(folder.absolute(), workdir, access, plan.dbt, warehouse.application_name, lambda _level, line: log.debug(line))
            dbt.parse()
            parsed.append(dbt)
        return Previewer(plan, parsed[1], parsed[0], warehouse, id_, scope, say).run(plan.timeout)
