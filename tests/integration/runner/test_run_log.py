"""The run log in the warehouse: dbt_refresh_run with its steps, nodes and marts, written by real runs."""

from __future__ import annotations

from support.runner_harness import RunnerHarness

TABLES = ("run", "step", "node", "mart")


def rows(runner: RunnerHarness, columns: str, table: str, order: str) -> list[tuple[object, ...]]:
    """Return the rows of the last run in one of the tables."""
    query = f"select {columns} from dbt_refresh_{table} where run_id = 'petit-{runner.run_count}' order by {order}"
    return runner.database.rows(query)


def test_a_run_is_there_from_start_to_end_with_all_that_it_did(runner: RunnerHarness):
    """It has the steps in order, a row for each model and test, and the numbers of rows and NULLs of each mart."""
    runner.database.run("update src.lignes set zone = null where id <= 5")
    assert runner.run().code == 0
    run = rows(runner, "refresh, namespace, generation, phase, outcome, reason, marts, attempt, pod, ended_at >= started_at", "run", "1")
    assert run == [("petit", "essai", 3, "Finished", "Succeeded", "Succeeded", "2/2", 1, f"petit-{runner.run_count}-0", True)]
    steps = rows(runner, "step, state, tries, seconds >= 0, attempt", "step", "position")
    assert steps == [(name, "Succeeded", 1, True, 1) for name in ("staging", "facts", "marts", "tests", "validation", "cache")]
    nodes = rows(runner, "step, node, state, seconds > 0, rows", "node", "step, node")
    assert nodes[:5] == [
        ("facts", "fait_jours", "ok", True, 100),
        ("facts", "fait_lignes", "ok", True, 100),
        ("marts", "mart_a", "ok", True, 100),
        ("marts", "mart_b", "ok", True, 100),
        ("staging", "stg_lignes", "ok", True, None),
    ]
    assert [(step, written) for step, *_, written in nodes[5:]] == [("tests", None)] * 3
    assert rows(runner, "relation, rows, nulls, verdict", "mart", "relation") == [
        ("dwh_marts.mart_a", 100, {"zone": 5, "mois": 0}, "VALID"),
        ("dwh_marts.mart_b", 100, {"mois": 0}, "VALID"),
    ]


def test_a_model_is_recorded_with_what_it_reads(runner: RunnerHarness):
    """The page draws these; also of a model that fails. A run log of an older runner gets the column."""
    assert runner.run().code == 0
    runner.database.run("alter table dbt_refresh_node drop column parents")
    runner.database.run("alter table src.lignes drop column nap cascade")
    assert runner.run(failures=2).code == 1
    broken = ("stg_lignes", "broken", ["source.petit.src.lignes"])
    assert rows(runner, "node, state, parents", "node", "node")[0] == broken
    runner.database.run("alter table src.lignes add column nap double precision default 0")
    assert runner.run().code == 0
    assert rows(runner, "node, parents", "node", "step, node")[:5] == [
        ("fait_jours", ["model.petit.stg_lignes"]),
        ("fait_lignes", ["model.petit.stg_lignes"]),
        ("mart_a", ["model.petit.fait_lignes"]),
        ("mart_b", ["model.petit.fait_jours"]),
        ("stg_lignes", ["source.petit.src.lignes"]),
    ]
    assert [row[0] for row in rows(runner, "parents", "node", "step, node")[5:]] == [None] * 3


def test_a_failed_run_keeps_what_was_found(runner: RunnerHarness):
    """It has the verdicts, and PostgreSQL's error for a model, with the SQLSTATE."""
    runner.database.run("truncate src.lignes")
    assert runner.run(failures=2).code == 1
    assert rows(runner, "outcome, reason", "run", "1") == [("Failed", "ValidationFailed")]
    assert rows(runner, "rows, verdict", "mart", "relation") == [(0, "FAILED")] * 2
    runner.database.run("alter table src.lignes drop column nap cascade")
    assert runner.run(failures=2).code == 1
    (state, sqlstate, message), *_ = rows(runner, "state, sqlstate, message", "node", "ended_at")
    assert (state, sqlstate) == ("broken", "42703")
    assert 'column "nap" does not exist' in str(message)
    assert ("facts", "Skipped") in rows(runner, "step, state", "step", "position")


def test_a_run_that_a_dead_runner_left_is_closed_by_the_next_holder(runner: RunnerHarness):
    """The holder of the lock knows that no other run is active. A run between two attempts may continue."""
    assert runner.run().code == 0
    runner.database.run(
        "insert into dbt_refresh_run (run_id, refresh, namespace, generation, mode, attempt, attempts, phase, step, started_at,"
        " attempt_started_at, heartbeat_at, kept_since, reason, message)"
        " select id, 'petit', 'essai', 1, 'refresh', 1, 3, phase, '2/6 facts', at, at, at, at, reason, message from (values"
        " ('dead', 'Running', now(), null, null), ('between', 'Retrying', now(), 'LayerFailed', 'refused'),"
        " ('given-up', 'Interrupted', now() - interval '2 days', 'Interrupted', 'interrupted by SIGTERM'))"
        " as v (id, phase, at, reason, message)"
    )
    assert runner.run().code == 0
    closed = runner.database.rows("select run_id, phase, outcome, reason, message from dbt_refresh_run where pod is null order by run_id")
    assert closed == [
        ("between", "Retrying", None, "LayerFailed", "refused"),
        ("dead", "Finished", "Failed", "RunnerLost", "runner exited without reporting during 2/6 facts"),
        ("given-up", "Finished", "Failed", "Interrupted", "interrupted by SIGTERM"),
    ]


def test_a_run_goes_on_where_its_tables_can_not_be_written(runner: RunnerHarness):
    """It logs one warning, and the row of dbt_refresh_log exists."""
    runner.database.run("create view dbt_refresh_run as select 1 as run_id")
    try:
        ran = runner.run()
    finally:
        runner.database.run("drop view dbt_refresh_run")
    assert ran.code == 0, ran.output
    assert ran.messages.count("dbt_refresh_run and its steps, nodes and marts are not up to date: ") == 1
    assert [row[0] for row in runner.log_rows()] == [True]


def test_old_runs_of_the_refresh_are_deleted_with_all_that_is_theirs(runner: RunnerHarness):
    """They are deleted after spec.history.retentionDays. Runs of other refreshes and dbt_refresh_log are kept."""
    for _ in range(3):
        assert runner.run(runner.spec(tests=None)).code == 0
    first = runner.run_count - 2
    runner.database.run(
        "update dbt_refresh_run set started_at = started_at - interval '31 days';"
        "update dbt_refresh_log set run_date = run_date - interval '9 years';"
        f"update dbt_refresh_run set refresh = 'another' where run_id = 'petit-{first}'"
    )
    assert runner.run(runner.spec(tests=None, history={"retentionDays": 30})).code == 0
    kept = {(f"petit-{first}",), (f"petit-{runner.run_count}",)}
    for table in TABLES:
        assert set(runner.database.rows(f"select run_id from dbt_refresh_{table}")) == kept
    assert len(runner.log_rows()) == 4


def test_tables_of_an_earlier_version_are_completed(runner: RunnerHarness):
    """Their rows are kept."""
    assert runner.run().code == 0
    runner.database.run("alter table dbt_refresh_run drop column fingerprint, drop column marts; drop index dbt_refresh_run_refresh")
    assert runner.run().code == 0
    assert runner.database.rows("select marts, fingerprint is null from dbt_refresh_run order by started_at") == [
        (None, True),
        ("2/2", False),
    ]
    assert runner.database.rows("select to_regclass('dbt_refresh_run_refresh') is not null") == [(True,)]
