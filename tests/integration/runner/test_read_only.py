"""A read-only server, and a role without a schema, are reported as such before anything is changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from refresh_api.status import Reason
from support.runner_harness import RunnerHarness


@contextmanager
def a_role(runner: RunnerHarness, *settings: str) -> Iterator[None]:
    """Run as a role with these settings and no privileges."""
    runner.database.run("create role lecteur_sans_ecrire login password 'lecteur_sans_ecrire-9'")
    for setting in settings:
        runner.database.run(f"alter role lecteur_sans_ecrire set {setting}")
    runner.secrets["warehouse"] |= {"user": "lecteur_sans_ecrire", "password": "lecteur_sans_ecrire-9"}
    try:
        yield
    finally:
        runner.database.run("drop owned by lecteur_sans_ecrire; drop role lecteur_sans_ecrire")


def test_a_read_only_server_is_tried_again_and_named(runner: RunnerHarness):
    """As after a failover: the next attempt may reach the primary. The control: otherwise the run gets to the check of privileges."""
    with a_role(runner, "default_transaction_read_only = on"):
        ran = runner.run()
        assert ran.code == 75
        assert "is read-only (default_transaction_read_only is on)" in ran.messages
        last = runner.run(failures=2)
        runner.database.run("alter role lecteur_sans_ecrire reset default_transaction_read_only")
        control = runner.run(failures=2)
    assert last.termination_message is not None
    assert control.termination_message is not None
    assert (last.code, last.termination_message.reason) == (1, Reason.WAREHOUSE_UNREACHABLE)
    assert control.termination_message.reason is Reason.PRIVILEGE_MISSING


@pytest.mark.parametrize("path", ["''", 'nowhere, "$user"'])
def test_a_role_without_a_schema_to_work_in_is_told_what_to_set(runner: RunnerHarness, path: str):
    """Its log would have no schema. The message contains a statement that solves this."""
    with a_role(runner, f"search_path = {path}"):
        ran = runner.run()
        assert ran.termination_message is not None
        assert (ran.code, ran.termination_message.reason) == (1, Reason.PRIVILEGE_MISSING)
        name = str(runner.database.rows("select current_database()")[0][0])
        statement = f'alter role "lecteur_sans_ecrire" in database "{name}" set search_path = "public"'
        assert statement in (ran.termination_message.message or "")
        runner.database.run(statement)
        again = runner.run()
        assert again.termination_message is not None
        assert "search_path" not in (again.termination_message.message or "")


@pytest.mark.parametrize(("sqlstate", "code"), [("25006", 75), ("53300", 75), ("3D000", 1)])
def test_a_model_that_fails_by_the_server_is_tried_again(runner: RunnerHarness, sqlstate: str, code: int):
    """The SQLSTATE alone decides. The control is an error that is not transient."""
    fails = f"raise exception 'so it is' using errcode = '{sqlstate}';"
    runner.database.run(f"create function src.zut() returns int language plpgsql as $f$ begin {fails} end $f$")
    runner.database.run(
        "alter table src.lignes rename to vraies; create view src.lignes as select id, zone, src.zut() as mois, nap from src.vraies"
    )
    layers = [{"name": "staging", "select": ["stg_lignes", "fait_jours"], "retries": 0}]
    ran = runner.run(runner.spec(layers=layers, tests=None, validation=None, cache=None))
    assert ran.code == code, ran.messages
