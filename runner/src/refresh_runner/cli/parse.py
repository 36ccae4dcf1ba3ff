"""`refresh-runner parse`: parses the dbt project in advance, when an image is built, so that runs need not parse it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Final

from refresh_api import spec
from refresh_api.run_request import ExitCode, RunRequest
from refresh_runner.core.errors import RunFailedError
from refresh_runner.dbt import documents, manifest_cache
from refresh_runner.dbt.json_objects import UnwritableError
from refresh_runner.dbt.loaded_files import environment_variables, loaded_folders, yaml_contents
from refresh_runner.dbt.open_project import open_project
from refresh_runner.dbt.patches.registry import can_read_tests_ahead
from refresh_runner.dbt.project import Dbt
from refresh_runner.dbt.project_files import ProjectFiles, project_files
from refresh_runner.dbt.template_purity import Templates
from refresh_runner.dbt.test_templates import Statements, agreed
from refresh_runner.model.loader import run_request_from_file, run_request_from_pod
from refresh_runner.model.plan import Attempt, DbtSettings, plan_for
from refresh_runner.model.steps import Selection
from refresh_runner.postgres.conninfo import PLACEHOLDER, ConnectionInfo
from refresh_runner.publish.derived_names import staging_relation

_PROBES: Final = (
    (PLACEHOLDER, "2000-01-31"),
    (
        ConnectionInfo(host="elsewhere.invalid", port=6543, dbname="refresh_elsewhere", user="somebody", password="unused, too"),  # noqa: S106
        "2031-12-01",
    ),
)
"""Two fictitious warehouses and dates: a project that parses identically for both parses identically for all."""


def default_settings() -> DbtSettings:
    """Return the dbt settings of a refresh that sets none."""
    usual = spec.Dbt()
    return DbtSettings(usual.threads, usual.target, usual.target_schema, usual.vars)


def settings_of(file: Path) -> DbtSettings:
    """Return the dbt settings of a file's refresh. Raise InvalidRunRequestError if it is invalid."""
    return settings_of_request(run_request_from_file(file))


def settings_of_pod(variables: Mapping[str, str]) -> DbtSettings:
    """Return the dbt settings of the pod's run request. Raise InvalidRunRequestError if it is invalid."""
    return settings_of_request(run_request_from_pod(variables))


def settings_of_request(run_request: RunRequest) -> DbtSettings:
    """Return the dbt settings of a run request."""
    return plan_for(run_request, Attempt("parse"), date.fromisoformat(_PROBES[0][1])).dbt


def parse(project: Path, settings: Sequence[DbtSettings], say: Callable[[str], None]) -> ExitCode:
    """Cache the parsed project for each of the settings, and its docs.

    Return FAILED if dbt cannot parse it. Raise OSError if it cannot be stored.
    """
    kept = [manifest_cache.path(project, each) for each in settings]
    codes = [cache_project(project, each, say, kept) for each in settings]
    return max(codes) or cache_docs(project, settings[0], say)


def cache_project(project: Path, settings: DbtSettings, say: Callable[[str], None], others: Collection[Path] = ()) -> ExitCode:
    """Cache the parsed project if it is the same for every warehouse and date, and print the result. Return FAILED if dbt cannot parse it.

    Remove earlier cached files, except `others`.
    """
    files, path = project_files(project), manifest_cache.path(project, settings)
    if path.exists():
        say(f"{project} is already parsed")
        return ExitCode.OK
    try:
        with _read(project, settings, *_PROBES[0]) as one, _read(project, settings, *_PROBES[1]) as other:
            kept = _CacheEntry(path, files, others)
            return _store(kept, one, other, lambda text: say(f"{project} {text}"))
    except RunFailedError as error:
        say(f"✗ {error.failure.message}")
        return ExitCode.FAILED


@dataclass(frozen=True)
class _CacheEntry:
    """Path of the cached project."""

    path: Path
    files: ProjectFiles
    """The project's files before the parse."""
    others: Collection[Path]


def _store(reading: _CacheEntry, one: Dbt, other: Dbt, say: Callable[[str], None]) -> ExitCode:
    elsewhere = _PROBES[1][0].dbname
    manifest_cache.move(other.graph.manifest, PLACEHOLDER.dbname, elsewhere)
    if why := _uncacheable_reason(reading, one, other):
        say(f"can be parsed, but not cached, so every run parses it: {why}")
        return ExitCode.OK
    manifest_cache.move(other.graph.manifest, elsewhere, PLACEHOLDER.dbname)
    tests = _tests(one, other)
    if project_files(one.project) != reading.files:
        say("changed while it was parsed, so nothing is cached")
        return ExitCode.OK
    try:
        manifest_cache.write(reading.path, one.graph.manifest, tests, reading.others)
    except UnwritableError as error:
        say(f"can be parsed, but not cached, so every run parses it: {error}")
        return ExitCode.OK
    say(f"is cached: {len(one.graph.manifest.nodes)} nodes and the statements of {len(tests)} tests, valid for every warehouse and date")
    return ExitCode.OK


def _uncacheable_reason(reading: _CacheEntry, one: Dbt, other: Dbt) -> str | None:
    """Return why the project cannot be cached for all runs; None if it can."""
    if reading.files.unknown:
        return f"not all of its files are known: {reading.files.unknown}"
    if unknown := sorted(loaded_folders() - reading.files.folders):
        return f"dbt reads {unknown[0]}, which dbt_project.yml does not name"
    if variables := environment_variables(one.graph.manifest):
        return f"it reads environment variables: {', '.join(variables)}"
    return manifest_cache.difference(one.graph.manifest, other.graph.manifest) or Templates(one.graph.manifest).why_reading_may_differ(
        yaml_contents(one.graph.manifest)
    )


def _tests(one: Dbt, other: Dbt) -> Statements:
    """Return the statements of the tests that are the same in every run, except for relation names and the date."""
    if not can_read_tests_ahead():
        return {}
    everything = Selection(("*",))
    for relation, table in other.graph.tables(other.graph.models(everything)).items():
        other.stage(table, staging_relation(relation).schema)
    try:
        tests = one.graph.data_tests(everything)
    except RunFailedError:
        return {}
    templates = Templates(one.graph.manifest)
    same = [test for test, node in tests.items() if templates.why_test_may_differ(node) is None]
    return agreed(one.render_context, one.dry_run(same), other.render_context, other.dry_run(same))


def cache_docs(project: Path, settings: DbtSettings, say: Callable[[str], None]) -> ExitCode:
    """Cache the project's docs, which runs store in the warehouse. Return FAILED if dbt cannot parse the project."""
    files = project_files(project)
    if files.unknown:
        say(f"the docs of {project} are not cached: {files.unknown}")
        return ExitCode.OK
    place = documents.docs_path(project, documents.project_id(files))
    if not place.exists():
        try:
            with _read(project, settings, *_PROBES[0]) as dbt:
                documents.write_docs(place, dbt.graph.manifest)
        except RunFailedError as error:
            say(f"✗ {error.failure.message}")
            return ExitCode.FAILED
    say(f"the docs of {project} are cached")
    return ExitCode.OK


def _read(project: Path, settings: DbtSettings, access: ConnectionInfo, as_of: str) -> AbstractContextManager[Dbt]:
    return open_project(project, replace(settings, variables={**settings.variables, manifest_cache.AS_OF: as_of}), "refresh-parse", access)
