"""Which marts of a run are built in staging relations, and what in the dbt project prevents this."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from difflib import get_close_matches

from refresh_api.spec import Publish
from refresh_runner.core.errors import RunFailedError
from refresh_runner.dbt.errors import invalid_project
from refresh_runner.dbt.graph import TableModel
from refresh_runner.dbt.project import Dbt
from refresh_runner.model.plan import Plan
from refresh_runner.model.step_results import Node
from refresh_runner.model.steps import MartCheck, TestsStep
from refresh_runner.postgres.catalog import Relation
from refresh_runner.publish.derived_names import name_conflicts


def staged_tables(plan: Plan, dbt: Dbt, built: Sequence[Node], checks: Sequence[MartCheck]) -> dict[Relation, TableModel]:
    """Return the checked marts that the run builds as tables, and therefore publishes together.

    Raise RunFailedError
    - if a mart is not in the project: it would never be built, and its old rows would stay valid forever;
    - if another model of the run reads one of the marts: it would read the staged version, or one that no longer exists;
    - if something that the run builds or tests names one of the marts without `ref`: it would read the previous data version.
    """
    known = dbt.graph.known()
    for check in checks:
        if check.relation not in known:
            raise invalid_project(f"validation.marts: {unknown_relation(check.relation, known)}")
    tables = _tables(plan, dbt, built, checks)
    check_names(dbt, built, tables)
    if detour := next(dbt.graph.live_references([*built, *_tested(plan, dbt)], tables), None) if tables else None:
        raise invalid_project(detour)
    return tables


def check_names(dbt: Dbt, built: Sequence[Node], staged: Collection[Relation] = ()) -> None:
    """Raise RunFailedError if a name that dbt or publishing uses is too long for PostgreSQL, or stands for two relations."""
    if problem := next(name_conflicts(set(dbt.graph.relations(built).values()), staged), None):
        raise invalid_project(problem)


def unknown_relation(relation: str, known: Collection[str]) -> str:
    """Return the error for a relation that is not in the project, with suggestions: the same name in another schema, or a similar name."""
    same = sorted(each for each in known if each.partition(".")[2] == relation.partition(".")[2])
    meant = same or get_close_matches(relation, sorted(known), 3)
    return f"no model of the dbt project is {relation}" + (f"; did you mean {' or '.join(meant)}?" if meant else "")


def _tables(plan: Plan, dbt: Dbt, built: Sequence[Node], checks: Sequence[MartCheck]) -> dict[Relation, TableModel]:
    if plan.publish is not Publish.SWAP:
        return {}
    tables = dbt.graph.tables(built)
    marts = {Relation(check.schema, check.table) for check in checks} & tables.keys()
    for relation in sorted(marts):
        if outside := [name for name, where in tables[relation].readers.items() if where not in marts]:
            message = f"{outside[0]} reads {relation}, which is published together with the others, but is not a table among them"
            raise invalid_project(message, f"list {outside[0]} in validation.marts as a table, or set publish: Direct")
    return {relation: tables[relation] for relation in sorted(marts)}


def _tested(plan: Plan, dbt: Dbt) -> Iterator[Node]:
    for step in plan.steps:
        if isinstance(step, TestsStep) and step.name not in plan.policy.skipped_steps:
            # The preflight of the step reports a selection that matches nothing.
            with suppress(RunFailedError):
                yield from dbt.graph.tests(step.selection)
