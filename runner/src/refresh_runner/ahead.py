"""`refresh-runner parse`: reads the dbt project once, so that no run has to; at the build of an image, or before tests."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Final

from refresh_api import spec
from refresh_api.order import ExitCode
from refresh_runner import artifacts, parsed
from refresh_runner.access import NOWHERE, Access
from refresh_runner.dbt import Dbt
from refresh_runner.dbt_tests import Statements, agreed
from refresh_runner.failures import RunFailedError
from refresh_runner.orders import order_of_file
from refresh_runner.plan import Attempt, DbtSettings, Selection, plan_for
from refresh_runner.publish import beside
from refresh_runner.reading import reading

_PLACES: Final = (
    (NOWHERE, "2000-01-31"),
    (Access(host="elsewhere", port=6543, dbname="another", user="somebody", password="unused, too"), "2031-12-01"),  # noqa: S106
)
"""Two warehouses that nobody connects to, and two dates."""


def usual_settings() -> DbtSettings:
    """Return what dbt is told by a refresh that says nothing of it."""
    usual = spec.Dbt()
    return DbtSettings(usual.threads, usual.target, usual.target_schema, usual.vars)


def settings_of(file: Path) -> DbtSettings:
    """Return what dbt is told by the refresh of a file; InvalidOrderError names what is wrong with it."""
    return plan_for(order_of_file(file), Attempt("parse"), date.fromisoformat(_PLACES[0][1])).dbt


def parse(project: Path, settings: Sequence[DbtSettings], say: Callable[[str], None]) -> ExitCode:
    """Read the project for each of these, and draw its page; FAILED if dbt can't read it, OSError if it can't be kept."""
    kept = [parsed.place(project, each) for each in settings]
    codes = [read_ahead(project, each, say, kept) for each in settings]
    return max(codes) or draw_docs(project, settings[0], say)


def read_ahead(project: Path, settings: DbtSettings, say: Callable[[str], None], others: Collection[Path] = ()) -> ExitCode:
    """Keep the project as it was read, if that holds for every warehouse and date; say what was found. FAILED if dbt can't read it.

    What was kept before is removed, but for `others`.
    """
    path = parsed.place(project, settings)
    if path.exists():
        say(f"{project} is read already")
        return ExitCode.OK
    try:
        with _read(project, settings, *_PLACES[0]) as one, _read(project, settings, *_PLACES[1]) as other:
            return _keep(path, one, other, lambda text: say(f"{project} {text}"), others)
    except RunFailedError as error:
        say(f"✗ {error.failure.message}")
        return ExitCode.FAILED


def _keep(path: Path, one: Dbt, other: Dbt, say: Callable[[str], None], others: Collection[Path]) -> ExitCode:
    parsed.move(other.manifest, one.scene.database)
    why = "it reads environment variables" if one.manifest.env_vars else parsed.difference(one.manifest, other.manifest)
    if why:
        say(f"can be read, but the result holds for one warehouse or date alone, so every run will read it anew: {why}")
        return ExitCode.OK
    parsed.move(other.manifest, _PLACES[1][0].dbname)
    tests = _tests(one, other)
    parsed.write(path, one.manifest, tests, others)
    say(f"is read: {len(one.manifest.nodes)} nodes and the statements of {len(tests)} tests, for every warehouse and date")
    return ExitCode.OK


def _tests(one: Dbt, other: Dbt) -> Statements:
    """Return the statements of the tests that are the same for both, wherever tables are built."""
    everything = Selection(("*",))
    for relation, table in other.tables(other.models(everything)).items():
        other.put(table, beside(relation).schema)
    try:
        tests = one.tests(everything)
    except RunFailedError:
        return {}
    return agreed(one.scene, one.rehearsed(tests), other.scene, other.rehearsed(tests))


def draw_docs(project: Path, settings: DbtSettings, say: Callable[[str], None]) -> ExitCode:
    """Keep the page of the project beside it, for the runs to store; FAILED if dbt can't read it."""
    if not artifacts.docs_place(project, artifacts.project_id(project)).exists():
        try:
            with _read(project, settings, *_PLACES[0]) as dbt:
                artifacts.write_docs(project, dbt.manifest)
        except RunFailedError as error:
            say(f"✗ {error.failure.message}")
            return ExitCode.FAILED
    say(f"the page of {project} is drawn")
    return ExitCode.OK


def _read(project: Path, settings: DbtSettings, access: Access, as_of: str) -> AbstractContextManager[Dbt]:
    return reading(project, replace(settings, variables={**settings.variables, parsed.AS_OF: as_of}), "refresh-parse", access)
