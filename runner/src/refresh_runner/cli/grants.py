"""`refresh-runner grants`: prints the SQL that grants a role all that a refresh needs, or what the role lacks. Executes nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from refresh_api.run_request import ExitCode
from refresh_runner.cli.environment import Environment, RunOptions, access_of, plan_of, printer, warehouse_of
from refresh_runner.cli.project_option import project_of
from refresh_runner.core.errors import RunFailedError
from refresh_runner.core.secrets import SecretFolder, SecretMissingError
from refresh_runner.dbt import spelling
from refresh_runner.dbt.open_project import open_project
from refresh_runner.dbt.project import Dbt
from refresh_runner.model.loader import InvalidRunRequestError, run_request_from_file
from refresh_runner.model.plan import Attempt, Plan
from refresh_runner.model.steps import Selection, TestsStep
from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.connection import WarehouseConnection
from refresh_runner.postgres.privileges import Grantee, Privilege, PrivilegeKind, grant_statements, grantee_of, missing, quote_identifier
from refresh_runner.publish.derived_names import previous_relation, staging_relation
from refresh_runner.publish.staged_tables import staged_tables
from refresh_runner.run import required_privileges
from refresh_runner.run.model_selection import models_of_layers

_ALL: Final = Selection(("fqn:*",))


def grants_command(options: RunOptions, grantee: Grantee | None, environment: Environment, preview: str | None = None) -> int:
    """Print the grants that the grantee needs, or without a grantee those that the warehouse's user lacks. Return the exit code.

    With `preview`, print those that this role needs to preview what the grantee builds.
    """
    Dbt.preload()
    if options.file is None:
        raise ValueError("grants requires a file")
    try:
        plan = plan_of(run_request_from_file(options.file), Attempt("grants"), environment)
        secret = plan.run_request.spec.warehouse.secret_ref.name
        access = access_of(secret, SecretFolder(options.secrets), environment.variables) if grantee is None else None
        project = project_of(plan.run_request.spec, options.project)
    except RunFailedError as error:
        printer(environment)(f"✗ {error.failure.message}")
        return ExitCode.USAGE
    except (InvalidRunRequestError, SecretMissingError, ValueError) as error:
        printer(environment)(f"✗ {error}")
        return ExitCode.USAGE
    write = printer(environment, access)
    if grantee and preview:
        return print_preview_grants(plan, project, grantee, preview, write)
    if access is None:
        return print_grants(plan, project, grantee, write) if grantee else ExitCode.USAGE
    with warehouse_of(access, "refresh-grants", environment) as warehouse:
        return print_missing(plan, project, warehouse, write)


def print_grants(plan: Plan, project: Path, grantee: Grantee, say: Callable[[str], None]) -> ExitCode:
    """Print the grants that a new role needs to run the plan. Return FAILED if the project cannot be parsed."""
    try:
        of_run, marts = _required_privileges(plan, project)
        privileges = [*required_privileges.of_tables_in_any_warehouse(plan), *of_run]
        own = {place.schema for mart in marts for place in (staging_relation(mart), previous_relation(mart))}
    except RunFailedError as error:
        say(f"-- {error.failure.message}")
        return ExitCode.FAILED
    say(f"-- Grants that the role {grantee.role} needs to run {plan.run_request.refresh.name}; execute them as the owner of the database.")
    say("-- Tables that the run reads must exist; the role becomes the owner of existing tables that it builds.")
    say(_owners_remark(grantee))
    say(f"grant connect on database {quote_identifier(grantee.database)} to {quote_identifier(grantee.role)};")
    for statement in grant_statements(_without_redundant(privileges, own), grantee, offline=True):
        say(f"{statement};")
    return ExitCode.OK


def print_preview_grants(plan: Plan, project: Path, builder: Grantee, role: str, say: Callable[[str], None]) -> ExitCode:
    """Print the grants that a role needs for previews of what `builder` builds: to read, and to create schemas of its own."""
    try:
        with open_project(project, plan.dbt, "refresh-grants") as dbt:
            models = models_of_layers(spelling.by_project(plan, dbt), dbt)
            of_project = {place.schema for place in dbt.graph.relations(dbt.graph.models(_ALL)).values()}
            touched = {*dbt.graph.reads([*models, *dbt.graph.tests_of(models)]), *dbt.graph.relations(models).values()}
    except RunFailedError as error:
        say(f"-- {error.failure.message}")
        return ExitCode.FAILED
    # of models, each run makes new tables, also those of other refreshes; sources stay
    built = {place.schema for place in touched} & of_project
    read = sorted(place for place in touched if place.schema not in built)
    name, owner = quote_identifier(role), quote_identifier(builder.role)
    say(f"-- Grants that the role {role} needs for previews of {plan.run_request.refresh.name}; execute them as a superuser.")
    say(f"-- It reads what {builder.role} builds, also later, and owns the schemas of its previews. Run the refresh once before.")
    say(f"grant connect, create on database {quote_identifier(builder.database)} to {name};")
    for schema in map(quote_identifier, sorted(built)):
        say(f"grant usage on schema {schema} to {name};")
        say(f"grant select on all tables in schema {schema} to {name};")
        say(f"alter default privileges for role {owner} in schema {schema} grant select on tables to {name};")
    for schema in map(quote_identifier, sorted({place.schema for place in read})):
        say(f"grant usage on schema {schema} to {name};")
    for place in read:
        say(f"grant select on {quote_identifier(place.schema)}.{quote_identifier(place.table)} to {name};")
    return ExitCode.OK


def print_missing(plan: Plan, project: Path, warehouse: WarehouseConnection, say: Callable[[str], None]) -> ExitCode:
    """Print the grants that the warehouse's user lacks, with the checks of a run. Return FAILED if it lacks any."""
    try:
        privileges, _ = _required_privileges(plan, project)
        with warehouse.session() as connection:
            lacking = missing(connection, [*required_privileges.of_tables(plan, connection), *privileges])
            grantee = grantee_of(connection)
    except RunFailedError as error:
        say(f"-- {error.failure.message}")
        return ExitCode.FAILED
    if any(need.kind is PrivilegeKind.OWNERSHIP for need in lacking):
        say(_owners_remark(grantee))
    for statement in grant_statements(lacking, grantee):
        say(f"{statement};")
    if not lacking:
        say(f"-- the role {grantee.role} has all privileges for a run of {plan.run_request.refresh.name}")
    return ExitCode.FAILED if lacking else ExitCode.OK


def _owners_remark(grantee: Grantee) -> str:
    return f"-- To change owners, a role that is not a superuser must be a member: grant {quote_identifier(grantee.role)} to current_user;"


def _required_privileges(plan: Plan, project: Path) -> tuple[list[Privilege], list[Relation]]:
    """Return the privileges that a run needs, and the marts that it builds in staging relations."""
    with open_project(project, plan.dbt, "refresh-grants") as dbt:
        plan = spelling.by_project(plan, dbt)
        models = models_of_layers(plan, dbt)
        tests = [test for step in plan.steps if isinstance(step, TestsStep) for test in dbt.graph.tests(step.selection)]
        marts: list[Relation] = list(staged_tables(plan, dbt, models, plan.marts))
        return [*required_privileges.of_run(plan, dbt, models, tests, marts), *required_privileges.of_replica_wait(plan)], marts


def _without_redundant(privileges: list[Privilege], own: Collection[str]) -> list[Privilege]:
    """Drop privileges that another statement implies, and those on schemas that the runner creates, which its role owns."""
    made = {need.schema for need in privileges if need.kind is PrivilegeKind.CREATE} - set(own)
    doubled = {PrivilegeKind.USAGE, PrivilegeKind.CREATE_SCHEMA}
    privileges = [need for need in privileges if need.schema not in own or need.kind is PrivilegeKind.CREATE_SCHEMA]
    return [need for need in privileges if not (need.kind in doubled and need.schema in made)]
