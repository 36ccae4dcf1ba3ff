"""`refresh-runner lint`: checks a refresh without a database or a cluster. Prints one line per check."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from refresh_api import cron
from refresh_api.run_request import ExitCode, RunRequest
from refresh_runner.cli.project_option import project_of
from refresh_runner.core.errors import RunFailedError
from refresh_runner.core.secrets import SecretFolder
from refresh_runner.dbt import spelling
from refresh_runner.dbt.open_project import open_project
from refresh_runner.dbt.project import Dbt
from refresh_runner.model.loader import InvalidRunRequestError, document_of, manifest_of
from refresh_runner.model.plan import Attempt, Plan, plan_for
from refresh_runner.model.step_results import Node, count_by_kind
from refresh_runner.model.steps import LayerStep, MartCheck, SourcesStep, TestsStep
from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.conninfo import missing_keys
from refresh_runner.publish.staged_tables import check_names, staged_tables, unknown_relation

_MAX_LISTED: Final = 5
"""Maximum number of names in a message."""


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    passed: bool
    field: str
    message: str
    is_notice: bool = False
    """Whether it is only a hint, because it may be intended."""

    def __str__(self) -> str:
        """Return sign, field and message in one line."""
        sign = "!" if self.is_notice else "✓" if self.passed else "✗"
        return f"{sign} {self.field + ': ' if self.field else ''}{self.message}"


def lint(file: Path, project: Path | None, secrets: Path | None, now: datetime, say: Callable[[Check], None]) -> ExitCode:
    """Print the checks of a file's refresh. Return OK if all pass, else FAILED."""
    passed = True
    for check in _checks(file, project, secrets, now):
        say(check)
        passed = passed and check.passed
    return ExitCode.OK if passed else ExitCode.FAILED


def _checks(file: Path, project: Path | None, secrets: Path | None, now: datetime) -> Iterator[Check]:
    try:
        document = document_of(file)
        yield Check(True, "", f"{file} is valid YAML")
        run_request = manifest_of(document).run_request()
    except InvalidRunRequestError as error:
        yield from (Check(False, problem.field, problem.message) for problem in error.problems)
        return
    yield Check(True, "spec", "all fields are known and valid")
    start = next(cron.parse(run_request.schedule, run_request.spec.time_zone).after(now), None)
    yield Check(
        start is not None, "spec.schedule", f"the next run is {start:%A %Y-%m-%d %H:%M %Z}" if start else "the schedule has no future run"
    )
    if secrets is not None:
        yield from _secret_checks(run_request, SecretFolder(secrets))
    try:
        folder = project_of(run_request.spec, project)
    except RunFailedError as error:
        yield Check(False, "spec.project", error.failure.message)
        return
    yield from _project_checks(plan_for(run_request, Attempt("lint"), now.date()), folder)


def _secret_checks(run_request: RunRequest, folder: SecretFolder) -> Iterator[Check]:
    name = run_request.spec.warehouse.secret_ref.name
    yield _secret_check("spec.warehouse.secretRef", name, missing_keys(folder.read_all(name)))
    for number, notification in enumerate(run_request.spec.notifications):
        secret = notification.channel.secret
        field = f"spec.notifications[{number}].{secret.field}"
        yield _secret_check(field, secret.name, _missing_keys(folder, secret.name, secret.keys))


def _missing_keys(folder: SecretFolder, name: str, keys: Sequence[str]) -> list[str]:
    there = folder.read_all(name)
    return [key for key in keys if not there.get(key)]


def _secret_check(field: str, name: str, lacking: Sequence[str]) -> Check:
    return Check(
        not lacking, field, f"the Secret {name!r} lacks {', '.join(lacking)}" if lacking else f"the Secret {name!r} has all required keys"
    )


def _project_checks(plan: Plan, project: Path) -> Iterator[Check]:
    with ExitStack() as stack:
        try:
            dbt = stack.enter_context(open_project(project, plan.dbt, "refresh-lint"))
        except RunFailedError as error:
            yield Check(False, "dbt project", error.failure.message)
            return
        yield Check(True, "dbt project", f"{project} can be parsed")
        layers: list[tuple[str, Sequence[Node]]] = []
        tests: list[Node] = []
        for field, step in _selecting_steps(plan):
            try:
                if isinstance(step, LayerStep):
                    layers.append((field, dbt.graph.buildable(step.selection)))
                else:
                    tests += dbt.graph.tests(step.selection)
                    yield Check(True, field, f"selects {_counted(len(tests), 'test')}")
            except RunFailedError as error:
                yield Check(False, field, error.failure.message)
        yield from _layer_checks(dbt, layers)
        built = [node for _, nodes in layers for node in nodes]
        if any(isinstance(step, SourcesStep) for step in plan.steps):
            yield _sources_check(dbt, built)
        if left := [test.name for test in dbt.graph.unit_tests(built) if test not in tests]:
            message = f"selects none of {_listed(left)}, which `dbt build` would run with the models: select them, or their models"
            yield Check(True, "spec.tests.select", message, is_notice=True)
        yield from _mart_checks(spelling.by_project(plan, dbt), dbt, built)


def _sources_check(dbt: Dbt, built: Sequence[Node]) -> Check:
    try:
        return Check(True, "spec.sources", f"checks the freshness of {_counted(len(dbt.graph.sources(built)), 'source')}")
    except RunFailedError as error:
        return Check(False, "spec.sources", error.failure.message)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_MAX_LISTED]) + (f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else "")


def _layer_checks(dbt: Dbt, layers: Sequence[tuple[str, Sequence[Node]]]) -> Iterator[Check]:
    """Check that each layer reads only from earlier layers and other refreshes."""
    later = {relation for _, nodes in layers for relation in _outputs(dbt, nodes)}
    built: list[Node] = []
    for field, nodes in layers:
        built += nodes
        try:
            check_names(dbt, nodes)
        except RunFailedError as error:
            yield Check(False, field, error.failure.message)
            continue
        later -= _outputs(dbt, nodes)
        upstream = dbt.graph.upstream(nodes, built)
        needs = {need.relation: need.needed_by for need in upstream}
        if early := sorted(relation for relation in needs if relation in later):
            message = f"{needs[early[0]]} reads {early[0]}, which a later layer builds: move that layer before this one"
            yield Check(False, field, message)
            continue
        others = f"; another refresh must have built {', '.join(map(str, sorted(needs)))}" if needs else ""
        yield Check(True, field, f"selects {count_by_kind(nodes)}{others}")
        for need in upstream:
            if need.is_function and need.built_by is None:
                function = f"{need.relation}, a function of the project that no layer creates"
                yield Check(True, field, f"{need.needed_by} calls {function}: add it to this layer's select", is_notice=True)


def _outputs(dbt: Dbt, nodes: Sequence[Node]) -> set[Relation]:
    return {*dbt.graph.relations(nodes).values(), *dbt.graph.function_relations(nodes).values()}


def _selecting_steps(plan: Plan) -> Iterator[tuple[str, LayerStep | TestsStep]]:
    for number, step in enumerate(plan.steps):
        if isinstance(step, LayerStep):
            yield f"spec.layers[{number}].select ({step.name})", step
        elif isinstance(step, TestsStep):
            yield "spec.tests.select", step


def _mart_checks(plan: Plan, dbt: Dbt, built: Sequence[Node]) -> Iterator[Check]:
    known, columns, places = dbt.graph.known(), dbt.graph.columns(), set(map(str, dbt.graph.relations(built).values()))
    for number, mart in enumerate(plan.marts):
        field = f"spec.validation.marts[{number}]"
        if mart.relation not in known:
            yield Check(False, f"{field}.relation", unknown_relation(mart.relation, known))
        elif mart.relation not in places:
            yield Check(
                False,
                f"{field}.relation",
                f"no layer builds {mart.relation}: the run would validate the live table and never publish a new one",
            )
        else:
            yield _column_check(field, mart, columns.get(mart.relation, frozenset()))
    try:
        staged_tables(plan, dbt, built, [mart for mart in plan.marts if mart.relation in known])
    except RunFailedError as error:
        yield Check(False, "spec.validation.marts", f"{error.failure.message}; {error.failure.hint}")


def _column_check(field: str, mart: MartCheck, columns: frozenset[str]) -> Check:
    named = {"keyColumns": mart.key_columns, "uniqueKey": mart.unique_key, "recency.column": [mart.recency.column] if mart.recency else []}
    if not columns and any(named.values()):
        return Check(True, field, f"{mart.relation} is a model; it has no contract, so only a run can check its columns")
    for name, chosen in named.items():
        if unknown := [column for column in chosen if column not in columns]:
            return Check(False, f"{field}.{name}", f"{mart.relation} has no column {', '.join(unknown)}")
    return Check(True, field, f"{mart.relation} is a model" + (" and has its key columns" if mart.key_columns else ""))
