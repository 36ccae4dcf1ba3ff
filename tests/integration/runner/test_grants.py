"""A role with exactly the privileges that `refresh-runner grants` prints can do everything.

Missing ones are reported before anything is changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from refresh_api.run_request import ExitCode
from refresh_api.status import Outcome, Reason
from refresh_runner.dbt.project import Dbt
from refresh_runner.model.plan import DbtSettings
from refresh_runner.model.step_results import NodeState
from refresh_runner.model.steps import Selection
from refresh_runner.postgres.conninfo import from_variables
from refresh_runner.postgres.privileges import Grantee
from support.grants import printed_grants
from support.runner_harness import RunnerHarness, write_project

ROLE = "etl-role"
PASSWORD = "kept-from-all-others"


def grants(runner: RunnerHarness, place: Path, grantee: Grantee | None, **changes: object) -> tuple[int, list[str]]:
    """Return the exit code and the statements."""
    return printed_grants(runner, place, grantee, {"PGUSER": ROLE, "PGPASSWORD": PASSWORD}, **changes)


@pytest.fixture
def role(runner: RunnerHarness) -> Iterator[RunnerHarness]:
    """The runner, with a role that has no privileges."""
    database = runner.database.name
    runner.database.run(
        f"""drop schema if exists dwh_marts__previous cascade;
        create role "{ROLE}" login password '{PASSWORD}';
        revoke all on database "{database}" from public; revoke all on schema public from public"""
    )
    runner.secrets["warehouse"] |= {"user": ROLE, "password": PASSWORD}
    yield runner
    runner.database.run(
        f"""reassign owned by "{ROLE}" to current_user; drop owned by "{ROLE}"; drop role "{ROLE}";
        grant connect, temporary on database "{database}" to public; grant usage on schema public to public"""
    )


def outcome(runner: RunnerHarness, mode: str = "refresh") -> tuple[object, object]:
    ran = runner.run(mode=mode)
    assert ran.termination_message is not None, ran.output
    return ran.termination_message.outcome, ran.termination_message.reason


def test_a_role_with_these_rights_alone_can_do_everything(role: RunnerHarness, tmp_path: Path):
    """Build, publish by swapping and by merging, roll back, resume, and write the run log and every table of the runner."""
    code, statements = grants(role, tmp_path, Grantee(ROLE, role.database.name))
    assert code is ExitCode.OK
    role.database.run("\n".join(statements))
    done = (Outcome.SUCCEEDED, Reason.SUCCEEDED)
    assert outcome(role) == done
    role.database.run("truncate src.lignes; insert into src.lignes select n, n, 1, 0 from generate_series(1, 50) n")
    assert outcome(role) == done
    role.database.run("alter table dwh_marts.mart_a add column autre integer")
    assert outcome(role) == done
    assert outcome(role, "rollback") == (Outcome.SUCCEEDED, Reason.ROLLED_BACK)
    assert outcome(role, "resume") == done
    assert [row[0] for row in role.log_rows()] == [True] * 5
    assert role.database.rows("select count(*) from dbt_refresh_run where outcome = 'Succeeded'") == [(5,)]
    assert grants(role, tmp_path, None) == (ExitCode.OK, [])


@pytest.mark.slow
def test_reuse_needs_temporary_views_and_a_table(role: RunnerHarness, tmp_path: Path):
    """With what is printed for unchangedPolicy: Reuse, nodes are reused. A refresh without it needs neither."""
    role.database.run("\n".join(grants(role, tmp_path, Grantee(ROLE, role.database.name))[1]))
    assert outcome(role) == (Outcome.SUCCEEDED, Reason.SUCCEEDED)
    role.database.run(f'revoke create on schema public from "{ROLE}"')
    assert outcome(role) == (Outcome.SUCCEEDED, Reason.SUCCEEDED)
    refused = role.run(role.spec(unchangedPolicy="Reuse")).termination_message
    assert refused is not None
    assert refused.reason is Reason.PRIVILEGE_MISSING
    role.database.run("\n".join(grants(role, tmp_path, Grantee(ROLE, role.database.name), unchangedPolicy="Reuse")[1]))
    assert grants(role, tmp_path, None, unchangedPolicy="Reuse") == (ExitCode.OK, [])
    for _ in range(2):
        assert role.run(role.spec(unchangedPolicy="Reuse")).code == ExitCode.OK
    assert ("reused",) in role.database.rows("select state from dbt_refresh_node where node = 'mart_b'")


TAKEN = {
    'revoke create on database "{db}" from "etl-role"': 'grant create on database "{db}" to "etl-role"',
    'revoke usage on schema src from "etl-role"': 'grant usage on schema "src" to "etl-role"',
    'revoke select on src.lignes from "etl-role"': 'grant select on "src"."lignes" to "etl-role"',
    'revoke create on schema dwh_facts from "etl-role"': 'grant usage, create on schema "dwh_facts" to "etl-role"',
    "create table dwh_marts.mart_a ()": 'alter table "dwh_marts"."mart_a" owner to "etl-role"',
}
"""What takes a right away, and what gives it back."""


def test_rights_that_are_missing_are_named_with_what_gives_them(role: RunnerHarness, tmp_path: Path):
    """They are reported before anything is built. Once the printed statements are executed, the run succeeds."""
    database = role.database.name
    role.database.run("\n".join(grants(role, tmp_path, Grantee(ROLE, database))[1]))
    role.database.run('revoke create on schema public from "etl-role"')
    assert refused(role) == ['grant usage, create on schema "public" to "etl-role"']
    role.database.run('grant create on schema public to "etl-role"')
    for statement in TAKEN:
        role.database.run(statement.format(db=database))
    wanted = sorted(each.format(db=database) for each in TAKEN.values())
    assert refused(role) == wanted
    assert role.database.rows("select count(*) from pg_class where relname = 'stg_lignes'") == [(0,)]
    code, lacking = grants(role, tmp_path, None)
    assert code is ExitCode.FAILED
    assert sorted(lacking) == [f"{each};" for each in wanted]
    role.database.run("\n".join(lacking))
    assert outcome(role) == (Outcome.SUCCEEDED, Reason.SUCCEEDED)


def test_a_role_that_may_make_no_schemas_publishes_in_those_that_were_made_for_it(role: RunnerHarness, tmp_path: Path):
    """The schemas are kept, even if empty, because they are the administrator's.

    The control: without them, the role lacks the privilege to create them.
    """
    database = role.database.name
    statements = grants(role, tmp_path, Grantee(ROLE, database))[1]
    creating = f'grant create on database "{database}" to "{ROLE}";'
    assert creating in statements
    role.database.run("\n".join(each for each in statements if each != creating))
    assert refused(role) == [creating.rstrip(";")]
    role.database.run(
        "".join(
            f'create schema dwh_marts__{name}; grant usage, create on schema dwh_marts__{name} to "{ROLE}";'
            for name in ("next", "previous")
        )
    )
    for mode in ("refresh", "refresh", "rollback"):
        assert outcome(role, mode)[0] == Outcome.SUCCEEDED
    assert role.database.rows("select to_regnamespace('dwh_marts__next') is not null, count(*) from dwh_marts__previous.mart_a") == [
        (True, 100)
    ]
    assert grants(role, tmp_path, None) == (ExitCode.OK, [])


def refused(runner: RunnerHarness) -> list[str]:
    """Return the statements that a failed run prints."""
    ran = runner.run()
    assert ran.termination_message is not None
    assert (ran.code, ran.termination_message.reason) == (ExitCode.FAILED, Reason.PRIVILEGE_MISSING), ran.output
    said = (ran.termination_message.message or "").partition("lacks required privileges: ")[2]
    return sorted(said.partition("; cannot write dbt_refresh_log")[0].split("; "))


def test_waiting_for_replicas_needs_a_right_that_no_other_run_asks_for(role: RunnerHarness, tmp_path: Path):
    """It is printed for a new role. Once it is granted, nothing is missing. A run without it still continues."""
    cache = {"baseURL": role.api, "endpoints": ["/a"], "waitForReplicas": "5s"}
    grantee, right = Grantee(ROLE, role.database.name), f'grant pg_read_all_stats to "{ROLE}";'
    _, plain = grants(role, tmp_path, grantee)
    _, waiting = grants(role, tmp_path, grantee, cache=cache)
    assert (right in plain, [each for each in waiting if each not in plain]) == (False, [right])
    role.database.run("\n".join(plain))
    assert grants(role, tmp_path, None, cache=cache) == (ExitCode.FAILED, [right])
    ran = role.run(role.spec(cache=cache))
    assert ran.termination_message is not None
    assert ran.termination_message.outcome is Outcome.SUCCEEDED, ran.output
    role.database.run(right)
    assert grants(role, tmp_path, None, cache=cache) == (ExitCode.OK, [])


STORES = "{{ config(store_failures=true, tags=['P2']) }} select * from {{ ref('mart_a') }} where id < 4"


@pytest.mark.slow
def test_a_test_that_stores_what_it_finds_needs_its_schema(role: RunnerHarness, tmp_path: Path) -> None:
    """`grants` prints the privilege, and a run reports it before it builds anything.

    Without it, the other tests have their usual results.
    """
    project, database = write_project(tmp_path / "project"), role.database
    with (project / "dbt_project.yml").open("a") as file:
        file.write("test-paths: [tests]\n")
    (project / "tests").mkdir()
    (project / "tests" / "stores.sql").write_text(STORES)
    ours = replace(role, folder=tmp_path, project=project)
    _, statements = grants(ours, tmp_path, Grantee(ROLE, database.name))
    audit = [statement for statement in statements if "dbt_test__audit" in statement]
    assert audit
    database.run("create schema dbt_test__audit;" + "".join(statement for statement in statements if statement not in audit))
    ran = ours.run()
    assert ran.termination_message is not None
    assert ran.termination_message.reason is Reason.PRIVILEGE_MISSING
    assert 'on schema "dbt_test__audit"' in ran.messages
    assert database.rows("select to_regclass('dwh_marts.mart_a') is null") == [(True,)], "nothing was built"
    database.run("".join(audit))
    ran = ours.run()
    assert "stores: Got 3 results" in ran.messages, "the control: with the schema it is stored, and told"
    assert database.rows("select count(*) from dbt_test__audit.stores") == [(3,)]

    database.run(f'drop schema dbt_test__audit cascade; revoke create on database "{database.name}" from "{ROLE}"')
    access = from_variables({**database.env, "PGUSER": ROLE, "PGPASSWORD": PASSWORD})
    settings = DbtSettings(2, "prod", "dwh", {"as_of": "2026-02-03"})
    dbt = Dbt(project, tmp_path / "dbt", access, settings, "stores", lambda _level, _line: None)
    dbt.parse()
    tests = dbt.graph.tests(Selection(("mart_a", "stores")))
    found = {each.node.name: each.state for each in dbt.test(tests, timedelta(minutes=1)).nodes}
    assert found == {"stores": NodeState.BROKEN, "unique_mart_a_id": NodeState.OK, "not_null_mart_a_id": NodeState.OK}
    assert len(dbt.completed) == len(found) - 1
