"""Runs a project in every way, each with its own database, and reports the differences."""

from __future__ import annotations

import gzip
import json
import signal
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import yaml
from psycopg import sql

from refresh_api.names import RUN_FAILURES_ENV, RUN_ID_ENV, RUN_REQUEST_ENV
from refresh_api.run_request import Manifest, ModeKind
from refresh_examples.embedded import EmbeddedPostgres
from refresh_runner.postgres.catalog import Relation
from refresh_runner.publish.derived_names import previous_relation
from support.postgres import Database, create_database, drop_database
from support.ways.facts import Facts, facts_of
from support.ways.project import BUILDER, NAME, OTHER_READER, READER, Project, Way, put
from support.ways.warm import KILLED, Done, Warm

ALL = (Way.PLAIN, Way.DIRECT, Way.SWAP)


@dataclass(frozen=True)
class Outcome:
    """Exit code, output, node results and database facts after one run."""

    code: int
    output: str
    results: Mapping[str, str]
    """State of each node by unique id; of tests with the number of failures."""
    facts: Facts


@dataclass(frozen=True)
class Found:
    """What is wrong with the first run in which anything is; empty if nothing is."""

    differences: list[str] = field(default_factory=list)
    """Results and facts in which a way differs from plain dbt."""
    codes: list[str] = field(default_factory=list)
    """Exit codes other than those that the project states."""
    outputs: list[str] = field(default_factory=list)
    """The end of each way's output."""


@dataclass
class Comparison:
    """Resources that all projects share: the server, and a warm process each for plain dbt and the runner."""

    server: EmbeddedPostgres
    plain: Warm
    ours: Warm
    folder: Path
    databases: list[Database] = field(default_factory=list)

    def prepare(self) -> None:
        """Create the roles."""
        with psycopg.connect(self.server.dsn, autocommit=True) as connection:
            password = sql.Literal(self.server.access.password)
            connection.execute(sql.SQL("create role {} login password {}").format(sql.Identifier(BUILDER), password))
            for role in (READER, OTHER_READER):
                connection.execute(sql.SQL("create role {}").format(sql.Identifier(role)))

    def verdict(self, project: Project, ways: Sequence[Way] = ALL) -> list[str]:
        """Return what contradicts the project's expectations; empty if nothing does."""
        wrong = self.refused(project, ways) if project.refused else []
        found = self.compared(project, [way for way in ways if project.is_run_by(way)])
        wrong += found.codes if project.differs else found.differences + found.codes
        if wrong:
            return wrong + found.outputs
        return ["it is the same now: take its mark away"] if project.differs and not found.differences else []

    def compared(self, project: Project, ways: Sequence[Way] = ALL) -> Found:
        """Run a project in every way, first unchanged and then after each edit, until something is wrong with a run."""
        folder = self.folder / project.name
        sides: list[_ProjectRun] = []
        try:
            sides += [_ProjectRun(self, project, way, folder / way.name.lower()) for way in ways]
            with ThreadPoolExecutor(len(sides)) as pool:
                for number in range(len(project.edits) + 1):
                    outcomes = dict(zip([side.way for side in sides], pool.map(lambda side: side.run(number), sides), strict=True))  # noqa: B023
                    found = _found(project, number, outcomes)
                    if found.differences or found.codes:
                        return found
        finally:
            for side in sides:
                drop_database(side.database)
        return Found()

    def refused(self, project: Project, ways: Sequence[Way] = ALL) -> list[str]:
        """Check that `lint` and a run refuse a project, in the ways in which they must; return what is wrong."""
        said: list[str] = []
        for way in set(project.refused_by) & set(ways):
            side = _ProjectRun(self, project, way, self.folder / project.name / f"refused-{way.name.lower()}")
            try:
                lint, facts = side.lint(), side.facts()
                run = side.run(0)
                said += _not_refused(f"{way}: lint", project, lint.code, lint.output)
                said += _not_refused(f"{way}: the run", project, run.code, run.output)
                said += [f"{way}: although refused: {line}" for line in differing("before", facts, "after", run.facts)]
                if run.results:
                    said.append(f"{way}: although refused, it has built {', '.join(run.results)}")
            finally:
                drop_database(side.database)
        return said


class _ProjectRun:
    """A project, run in one way."""

    def __init__(self, comparison: Comparison, project: Project, way: Way, folder: Path) -> None:
        self.way = way
        self._comparison = comparison
        self._project = project
        self._folder = folder
        self._ran = 0
        self.database = create_database(comparison.server, f"{project.name}_{folder.name}"[:63].replace("-", "_"))
        name = sql.Identifier(self.database.name)
        with self.database.connect() as connection:
            connection.execute(sql.SQL("alter database {} owner to {}").format(name, sql.Identifier(BUILDER)))
            connection.execute(project.admin.encode())
            connection.execute(sql.SQL("set role {}").format(sql.Identifier(BUILDER)))
            connection.execute(project.prepare.encode())
        folder.mkdir(parents=True)
        project.write(folder / "project")
        (folder / "refresh.yaml").write_text(project.manifest(way))
        self._write_profile()
        if "packages.yml" in project.files and not any(path.startswith("dbt_packages/") for path in project.files):
            done = comparison.plain.run(
                ["deps", "--project-dir", "project", "--profiles-dir", ".", "--log-path", "logs"], folder, self._env
            )
            assert done.code == 0, done.output

    def run(self, number: int) -> Outcome:
        """Apply edit `number` (none for 0), run, and return the outcome."""
        if number:
            edit = self._project.edits[number - 1]
            with self.database.connect() as connection:
                connection.execute(sql.SQL("set role {}").format(sql.Identifier(BUILDER)))
                connection.execute(edit.sql.encode())
            for path, text in edit.files.items():
                put(self._folder / "project" / path, text)
        full_refresh = number > 0 and self._project.edits[number - 1].full_refresh
        match self.way:
            case Way.PLAIN:
                done, results = self._plain(full_refresh)
            case Way.RESUMED:
                done, results = self._resumed(f"run-{number}", ModeKind.FULL_REFRESH if full_refresh else ModeKind.REFRESH)
            case _:
                done, results = self._refreshed(full_refresh)
        return Outcome(done.code, done.output, results, self.facts())

    def lint(self) -> Done:
        """Run `refresh-runner lint`."""
        return self._ours("lint", "refresh.yaml", "--project", "project")

    def facts(self) -> Facts:
        """Return the current facts of the database."""
        kept = {previous_relation(Relation(*mart.split(".", 1))).schema for mart in self._project.marts}
        return facts_of(self.database.dsn, self._project.random, kept)

    def _plain(self, full_refresh: bool) -> tuple[Done, dict[str, str]]:
        output, code = "", 0
        options = ["--full-refresh"] if full_refresh else []
        results: dict[str, str] = {}
        variables = yaml.safe_dump(self._project.spec_of(self.way)["dbt"].get("vars", {}), allow_unicode=True)
        for command in self._project.commands:
            places = [
                "--project-dir",
                "project",
                "--profiles-dir",
                ".",
                "--target-path",
                "../target",
                "--log-path",
                "../logs",
                "--log-level-file",
                "none",
            ]
            done = self._comparison.plain.run([*command, *options, *places, "--vars", variables], self._folder, self._env)
            output, code = output + done.output, max(code, done.code)
            found = self._folder / "target" / "run_results.json"
            if found.is_file():
                results |= _states(found.read_text())
                found.unlink()
        return Done(code, output), results

    def _refreshed(self, full_refresh: bool) -> tuple[Done, dict[str, str]]:
        before = self._last_run()
        mode = ["--mode", "full-refresh"] if full_refresh else []
        read = self._ours("parse", "refresh.yaml", "--project", "project").output if self.way is Way.PARSED else ""
        done = self._ours("run", "refresh.yaml", "--project", "project", "--workdir", "work", "--termination-log", "words", *mode)
        run = self._last_run()
        text = self._kept(run) if run != before else ""
        return Done(done.code, read + done.output), _states(text) if text else {}

    def _resumed(self, run: str, mode: ModeKind) -> tuple[Done, dict[str, str]]:
        """Run two attempts as pods do, with Secrets in a folder and a work folder each; the first one is killed."""
        for key, value in {**self.database.secret, "user": BUILDER}.items():
            put(self._folder / "secrets" / "warehouse" / key, value)
        manifest = Manifest.model_validate(yaml.safe_load(self._project.manifest(self.way)))
        request = manifest.run_request().model_copy(update={"mode": mode.value})
        env = {**self._env, RUN_REQUEST_ENV: request.text, RUN_ID_ENV: run}
        places = ["--project", "project", "--secrets", "secrets", "--termination-log", "words"]
        first, second = (["run", *places, "--workdir", f"work-{run}-{attempt}"] for attempt in (1, 2))
        killed = self._comparison.ours.run([KILLED, *first], self._folder, {**env, RUN_FAILURES_ENV: "0"})
        assert killed.code == -signal.SIGKILL, f"the first attempt was not killed:\n{killed.output[-3000:]}"
        kept = self._built_by_first_attempt(run)
        done = self._comparison.ours.run(second, self._folder, {**env, RUN_FAILURES_ENV: "1"})
        text = self._kept(run)
        return Done(done.code, killed.output + done.output), kept | (_states(text) if text else {})

    def _built_by_first_attempt(self, run: str) -> dict[str, str]:
        with self.database.connect() as connection:
            query = "select node_id from public.dbt_refresh_node where run_id = %s and state = 'ok' and node_id not like 'operation.%%'"
            return {str(node): "success" for (node,) in connection.execute(query, [run])}

    def _last_run(self) -> str:
        if not self.database.rows("select to_regclass('public.dbt_refresh_run') is not null")[0][0]:
            return ""
        found = self.database.rows("select run_id from public.dbt_refresh_run order by started_at desc limit 1")
        return str(found[0][0]) if found else ""

    def _kept(self, run: str) -> str:
        with self.database.connect() as connection:
            query = "select content from public.dbt_refresh_artifact where run_id = %s and name = 'run_results.json'"
            row = connection.execute(query, [run]).fetchone()
        return gzip.decompress(row[0]).decode() if row else ""

    def _ours(self, *arguments: str) -> Done:
        return self._comparison.ours.run(list(arguments), self._folder, self._env)

    @property
    def _env(self) -> dict[str, str]:
        return {**self.database.env, "PGUSER": BUILDER, **self._project.env}

    def _write_profile(self) -> None:
        settings = self._project.spec_of(self.way)["dbt"]
        output = {
            "type": "postgres",
            "host": "{{ env_var('PGHOST') }}",
            "port": "{{ env_var('PGPORT') | int }}",
            "user": "{{ env_var('PGUSER') }}",
            "password": "{{ env_var('PGPASSWORD') }}",
            "dbname": "{{ env_var('PGDATABASE') }}",
            "schema": settings["schema"],
            "threads": settings["threads"],
        }
        target = settings.get("target", "prod")
        (self._folder / "profiles.yml").write_text(yaml.safe_dump({NAME: {"target": target, "outputs": {target: output}}}))


def differing(one: str, of_one: Mapping[str, str], other: str, of_other: Mapping[str, str]) -> list[str]:
    """Return the differences of two sets of facts, by name."""
    absent = "(nothing)"
    names = sorted(name for name in of_one.keys() | of_other.keys() if of_one.get(name) != of_other.get(name))
    # Of a relation that only one side has, no further facts are reported.
    alone = [name.removeprefix("relation ") for name in names if name.startswith("relation ") and not (name in of_one and name in of_other)]
    return [
        f"{name}: {one}: {of_one.get(name, absent)} / {other}: {of_other.get(name, absent)}"
        for name in names
        if name.startswith("relation ") or not any(each in name for each in alone)
    ]


def _found(project: Project, number: int, outcomes: Mapping[Way, Outcome]) -> Found:
    one, run = outcomes[Way.PLAIN], f"run {number + 1}"
    said: list[str] = []
    for way, other in outcomes.items():
        if way is not Way.PLAIN:
            said += differing(Way.PLAIN, one.results, way, other.results)
            said += differing(Way.PLAIN, one.facts, way, other.facts)
    wanted = {way: project.codes_of(number).get(way, 0) for way in outcomes}
    codes = [f"{run}: {way} ended with {found.code}, not {wanted[way]}" for way, found in outcomes.items() if found.code != wanted[way]]
    return Found([f"{run}: {line}" for line in said], codes, _last_words(outcomes))


def _not_refused(who: str, project: Project, code: int, output: str) -> list[str]:
    said = [] if code else [f"{who} refuses nothing"]
    return said if project.refused in output else [*said, f"{who} does not say {project.refused!r}:\n{output[-2000:]}"]


def _last_words(outcomes: Mapping[Way, Outcome]) -> list[str]:
    return [f"--- {way} ended with {found.code}:\n{found.output[-2500:]}" for way, found in outcomes.items()]


def _states(text: str) -> dict[str, str]:
    """Return the state of each node of dbt's results. Hooks are left out: their effects and the exit code are compared."""
    found = json.loads(text)["results"]
    return {
        each["unique_id"]: f"{each['status']} {'' if each['failures'] is None else each['failures']}".strip()
        for each in found
        if not each["unique_id"].startswith("operation.") and each["status"] != "no-op"
    }
