"""Roles of a managed service: who owns what, by membership or SET ROLE, and who may create schemas."""

from __future__ import annotations

import psycopg
import pytest

from refresh_api.run_request import ExitCode
from refresh_api.status import Reason
from support.managed import ROLE, Warehouse

OWNER = "proprietaires"


def create_owner(warehouse: Warehouse) -> None:
    """Create the role that owns everything; ROLE is a member of it, and its sessions act as it."""
    warehouse.as_admin(f'create role {OWNER}; grant {OWNER} to "{ROLE}"; alter role "{ROLE}" set role = {OWNER}')


def swap(warehouse: Warehouse, generation: int) -> None:
    """Publish a generation by a swap: the mart has a column that its model has not."""
    warehouse.database.run("alter table dwh_marts.mart_a add column ancienne integer")
    warehouse.change_rows(generation)
    assert "(swap)" in warehouse.run().messages
    assert warehouse.live() == [(generation * 10 + 1, 100)] * 2


def owners(warehouse: Warehouse) -> set[object]:
    """Return the owners of all tables and views that runs have created."""
    query = "select distinct relowner::regrole::text from pg_class where relkind in ('r', 'v') and relnamespace::regnamespace::text"
    return {name for (name,) in warehouse.database.rows(f"{query} ~ '^(dwh_|public)'")}


def test_a_role_that_acts_as_another_needs_the_grants_of_that_one(warehouse: Warehouse) -> None:
    """Members of it own the marts together. What is missing is named for the role that lacks it: the login could not pass it on."""
    create_owner(warehouse)
    warehouse.grant(OWNER)
    warehouse.as_admin(f"revoke select on src.lignes from {OWNER}")
    refused = warehouse.runner.run()
    assert refused.termination_message is not None
    assert (refused.code, refused.termination_message.reason) == (ExitCode.FAILED, Reason.PRIVILEGE_MISSING), refused.output
    statement = f'grant select on "src"."lignes" to "{OWNER}"'
    assert statement in (refused.termination_message.message or "")
    assert warehouse.grants(None) == [f"{statement};"]
    warehouse.as_admin(statement)
    warehouse.run()
    warehouse.change_rows(1)
    assert "(merge)" in warehouse.run().messages
    swap(warehouse, 2)
    warehouse.run("rollback")
    assert warehouse.live() == [(11, 100)] * 2
    assert owners(warehouse) == {OWNER}
    assert warehouse.grants(None) == []


def test_a_search_path_belongs_to_the_login_also_if_it_acts_as_another(warehouse: Warehouse) -> None:
    """PostgreSQL reads settings of the role that logs in."""
    create_owner(warehouse)
    warehouse.grant(OWNER)
    warehouse.as_admin(f'alter role "{ROLE}" set search_path = absent')
    statements = warehouse.grants(None)
    assert statements == [f'alter role "{ROLE}" in database "{warehouse.database.name}" set search_path = "public";']
    warehouse.as_admin("\n".join(statements))
    warehouse.run()


def test_a_member_publishes_what_its_group_owns(warehouse: Warehouse) -> None:
    """By inheritance, without SET ROLE: it may replace tables of the group, and owns those that it creates."""
    create_owner(warehouse)
    warehouse.grant(OWNER)
    warehouse.run()
    warehouse.as_admin(f'alter role "{ROLE}" reset role')
    assert warehouse.grants(None) == []
    warehouse.change_rows(1)
    assert "(merge)" in warehouse.run().messages
    swap(warehouse, 2)
    warehouse.run("rollback")
    assert warehouse.live() == [(11, 100)] * 2
    assert owners(warehouse) == {OWNER, f'"{ROLE}"'}


def test_schemas_made_beforehand_replace_the_right_to_create_some(warehouse: Warehouse) -> None:
    """A managed service may refuse CREATE on the database. The control: without the schemas a run asks for exactly that right."""
    creating = f'grant create on database "{warehouse.database.name}" to "{ROLE}";'
    statements = warehouse.grants()
    assert creating in statements
    warehouse.as_admin("\n".join(each for each in statements if each != creating))
    assert warehouse.grants(None) == [creating]
    for schema in ("dwh_marts__next", "dwh_marts__previous"):
        warehouse.as_admin(f'create schema {schema}; grant usage, create on schema {schema} to "{ROLE}"')
    warehouse.run()
    with warehouse.connect(ROLE) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("create schema autre")
    swap(warehouse, 1)
    warehouse.change_rows(2)
    assert "(merge)" in warehouse.run().messages
    warehouse.run("rollback")
    assert warehouse.live() == [(11, 100)] * 2
    assert warehouse.grants(None) == []


def test_tables_that_others_have_built_are_given_to_the_role(warehouse: Warehouse) -> None:
    """The administrator, who is no superuser, must be a member of the role for that; the printed SQL says how."""
    warehouse.as_admin(
        "create schema dwh_marts; create table dwh_marts.mart_a (id int, zone int, mois int); insert into dwh_marts.mart_a values (1, 1, 1)"
    )
    statements = warehouse.grants()
    assert 'alter table if exists "dwh_marts"."mart_a" owner to "etl-role";' in statements
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="role"):
        warehouse.grant()
    assert f'-- To change owners, a role that is not a superuser must be a member: grant "{ROLE}" to current_user;' in warehouse.remarks()
    warehouse.as_admin(f'grant "{ROLE}" to current_user')
    warehouse.grant()
    assert "dwh_marts.mart_a is live" in warehouse.run().messages
    assert warehouse.grants(None) == []
