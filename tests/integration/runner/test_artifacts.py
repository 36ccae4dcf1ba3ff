"""The files that a run stores in the warehouse, even if it fails, and the command that fetches them."""

from __future__ import annotations

import gzip
import io
import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from refresh_api.run_request import ExitCode
from refresh_runner.cli.artifacts import ArtifactQuery, artifacts_command
from refresh_runner.cli.environment import Environment
from refresh_runner.cli.parse import cache_docs
from refresh_runner.core.clock import Clock
from refresh_runner.model.plan import DbtSettings
from refresh_runner.run.cancellation import CancellationScope
from refresh_runner.run.steps import tests
from support.runner_harness import SLOWNESS, Json, RunnerHarness


def artifact(runner: RunnerHarness, run: str, name: str) -> str:
    """Return a file of a run."""
    ((content,),) = runner.database.rows(f"select content from dbt_refresh_artifact where run_id = '{run}' and name = '{name}'")
    assert isinstance(content, bytes)
    return gzip.decompress(content).decode()


def results(runner: RunnerHarness, run: str) -> dict[str, str]:
    """Return dbt's result for each node, by ID."""
    found: Json = json.loads(artifact(runner, run, "run_results.json"))
    assert found["metadata"]["dbt_schema_version"].endswith("run-results/v6.json")
    return {each["unique_id"]: each["status"] for each in found["results"]}


def asked(runner: RunnerHarness, wanted: ArtifactQuery) -> tuple[int, str]:
    """Return the exit code of the command, and its output."""
    output = io.StringIO()
    clock = Clock(lambda: datetime.now(UTC), time.monotonic, time.sleep)
    environment = Environment(runner.database.env, clock, lambda: 0.1, output, CancellationScope(), Path(os.devnull))
    return artifacts_command(wanted, None, environment), output.getvalue()


@pytest.fixture
def drawn(runner: RunnerHarness) -> Iterator[RunnerHarness]:
    """The runner, with a project whose docs are cached."""
    assert cache_docs(runner.project, DbtSettings(8, "prod", "dwh", {}), lambda _line: None) is ExitCode.OK
    yield runner
    for page in (runner.project / "target").glob("refresh_docs_*"):
        page.unlink()


def test_a_run_leaves_its_results_its_log_and_its_projects_page(drawn: RunnerHarness, tmp_path: Path) -> None:
    """All dbt commands share one file in dbt's format. The page is stored once for any number of runs. Everything can be fetched."""
    drawn.run(RUN_ID="petit-un")
    drawn.run(RUN_ID="petit-deux")
    found = results(drawn, "petit-un")
    assert found["model.petit.mart_a"] == "success"
    assert [status for id_, status in found.items() if id_.startswith("test.petit.unique_mart_a")] == ["pass"]
    assert len(found) == 8
    lines = [json.loads(line) for line in artifact(drawn, "petit-un", "run.log").splitlines()]
    assert {line["run"] for line in lines} == {"petit-un"}
    assert lines[-1]["message"].startswith("Succeeded: 5 models built")
    assert drawn.database.rows("select count(*) from dbt_refresh_docs") == [(1,)]

    code, said = asked(drawn, ArtifactQuery())
    assert code is ExitCode.OK
    assert [line.split()[:2] for line in said.splitlines()] == [
        [run, name] for run in ("petit-deux", "petit-un") for name in ("docs.html", "run.log", "run_results.json")
    ]
    page = tmp_path / "page.html"
    assert asked(drawn, ArtifactQuery("petit-deux", "docs.html", page))[0] is ExitCode.OK
    assert "model.petit.mart_a" in page.read_text()
    assert asked(drawn, ArtifactQuery("petit-deux", "nothing")) == (ExitCode.FAILED, "✗ petit-deux has no file nothing\n")


def test_a_run_that_fails_leaves_them_too(runner: RunnerHarness) -> None:
    """The files show the error, contain no secret, and are deleted with their run."""
    runner.database.run("alter table src.lignes drop column nap cascade")
    runner.run(RUN_ID="petit-trois")
    assert results(runner, "petit-trois")["model.petit.stg_lignes"] == "error"
    assert "Failed (LayerFailed)" in artifact(runner, "petit-trois", "run.log").splitlines()[-1]
    runner.database.run("update dbt_refresh_run set started_at = started_at - interval '400 days'")
    runner.run()
    assert runner.database.rows("select count(*) from dbt_refresh_artifact where run_id = 'petit-trois'") == [(0,)]


DOUBLED = "insert into src.lignes values (1, 1, 1, 0), (2, null, 1, 0), (2, null, 1, 0), (null, 7, 1, 0)"


def test_what_a_failing_test_found_is_kept(runner: RunnerHarness) -> None:
    """Even if the unpublished marts with these rows are dropped: people need the rows later, and the run must still resume correctly."""
    runner.database.run(DOUBLED)
    ran = runner.run(runner.spec(tests={"select": ["tag:P2"], "failurePolicy": "Fail", "failedRowsLimit": 5}), RUN_ID="petit-rouge")
    assert ran.code == 1
    assert runner.database.rows("select to_regclass('dwh_marts__next.mart_a')") == [(None,)]
    found = json.loads(artifact(runner, "petit-rouge", "failing_rows.json"))
    (rows,) = [rows for name, rows in found.items() if name.startswith("unique_mart_a_id")]
    assert found["not_null_mart_a_id"] == [{"id": None, "zone": 7, "mois": 1}]
    assert sorted(rows, key=lambda row: row["unique_field"]) == [{"unique_field": 1, "n_records": 2}, {"unique_field": 2, "n_records": 3}]
    # Sampling a test's rows must not count as passing it.
    assert [state for _, state in results(runner, "petit-rouge").items() if state == "fail"]
    ((state,),) = runner.database.rows("select state from dbt_refresh_node where run_id = 'petit-rouge' and node like 'unique_mart_a_id%'")
    assert state == "failed"


ODD = {
    "first_two": "select id from {{ ref('mart_a') }} order by id limit 2",
    "of_a_cte": "with a as (select * from {{ ref('petite') }}) select id from a where id < 3",
    "of_all_kinds": "select id, 'infinity'::date as jour, '\\xdead'::bytea as octets, 2.50 as prix, 9007199254740993 as grand,"
    " true as vrai, repeat('long', 100) as texte, null as rien, '{\"a\": 1}'::jsonb as objet from {{ ref('mart_a') }} where id = 1",
    "too_slow": "select id, pg_sleep(case current_setting('transaction_read_only') when 'on' then 60 else 0 end)::text as slept"
    " from {{ ref('mart_a') }}",
    "no_columns": "select from {{ ref('mart_a') }} where id = 1",
    "same_names": "select a.*, b.id from {{ ref('mart_a') }} a left join {{ ref('mart_b') }} b on b.id = -a.id where a.id = 1",
    "breaks_on_a_row": "select id, ('Dupont ' || id)::date as jour from {{ ref('mart_a') }}",
    "kept_nowhere": "{{ config(store_failures=false) }} select id from {{ ref('mart_a') }}",
}


@pytest.fixture
def odd(runner: RunnerHarness) -> Iterator[RunnerHarness]:
    """The runner, with a project of unusual tests that all fail."""
    made = [runner.project / "tests" / f"{name}.sql" for name in ODD] + [runner.project / "models" / "petite.sql"]
    made[0].parent.mkdir(exist_ok=True)
    for path, query in zip(made, ODD.values(), strict=False):
        path.write_text(query)
    made[-1].write_text("{{ config(materialized='ephemeral') }} select * from {{ ref('mart_a') }}")
    yield runner
    for path in made:
        path.unlink()


@pytest.mark.slow
def test_a_test_whose_rows_cant_be_kept_costs_the_others_nothing(odd: RunnerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test is queried separately, and the file can hold every value that PostgreSQL can write."""
    monkeypatch.setattr(tests, "_SAMPLE_TIMEOUT", timedelta(seconds=3 * SLOWNESS))
    ran = odd.run(odd.spec(tests={"select": ["test_type:singular"], "failedRowsLimit": 5}), RUN_ID="petit-etrange")
    assert f"{len(ODD)} of {len(ODD)} tests failed" in ran.messages
    found = json.loads(artifact(odd, "petit-etrange", "failing_rows.json"))
    assert found["first_two"] == [{"id": 1}, {"id": 2}]
    assert found["of_a_cte"] == [{"id": 1}, {"id": 2}]
    (row,) = found["of_all_kinds"]
    assert list(row) == ["id", "jour", "octets", "prix", "grand", "vrai", "texte", "rien", "objet"]
    assert row == {
        "id": 1,
        "jour": "infinity",
        "octets": "\\xdead",
        "prix": "2.50",
        "grand": "9007199254740993",
        "vrai": True,
        "texte": "long" * 49 + "lon…",
        "rien": None,
        "objet": '{"a": 1}',
    }
    assert found["same_names"] == [{"id": 1, "zone": 1, "mois": 2, "id_2": None}]
    assert found["no_columns"] == [{}]
    assert found.keys() == ODD.keys() - {"too_slow", "kept_nowhere", "breaks_on_a_row"}
    assert "cannot sample the rows of breaks_on_a_row: InvalidDatetimeFormat (22007)" in ran.messages
    assert "Dupont" not in ran.messages
    assert "cannot sample the rows of too_slow: canceling statement due to statement timeout" in ran.messages
    assert "no rows are stored for breaks_on_a_row, kept_nowhere, too_slow" in ran.messages


def test_what_an_earlier_attempt_found_is_not_kept_once_it_is_mended(runner: RunnerHarness) -> None:
    """A later attempt of the same run, whose tests pass, must not show the rows of the earlier one."""
    runner.database.run(DOUBLED)
    spec = runner.spec(tests={"select": ["tag:P2"], "failurePolicy": "Fail", "failedRowsLimit": 5})
    count = "select count(*) from dbt_refresh_artifact where run_id = 'petit-encore' and name = 'failing_rows.json'"
    assert runner.run(spec, RUN_ID="petit-encore").code == 1
    assert runner.database.rows(count) == [(1,)]
    # Not in the sources: the later attempt keeps the existing facts.
    runner.database.run("truncate dwh_facts.fait_lignes, dwh_facts.fait_jours")
    runner.database.run("insert into dwh_facts.fait_lignes values (1, 1, 1); insert into dwh_facts.fait_jours values (1, 1)")
    assert runner.run(spec, failures=1, RUN_ID="petit-encore").code == 0
    assert runner.database.rows(count) == [(0,)]


def test_only_as_many_rows_are_kept_as_are_asked_for(runner: RunnerHarness) -> None:
    """None are stored by default, nor after a run whose tests pass."""
    runner.database.run(DOUBLED)
    runner.run(runner.spec(tests={"select": ["tag:P2"], "failedRowsLimit": 1}), RUN_ID="petit-une")
    runner.run(runner.spec(tests={"select": ["tag:P2"]}), RUN_ID="petit-aucune")
    runner.database.run("truncate src.lignes; insert into src.lignes values (1, 1, 1, 0)")
    runner.run(runner.spec(tests={"select": ["tag:P2"], "failedRowsLimit": 5}), RUN_ID="petit-verte")
    kept = runner.database.rows("select run_id from dbt_refresh_artifact where name = 'failing_rows.json'")
    assert kept == [("petit-une",)]
    assert {len(rows) for rows in json.loads(artifact(runner, "petit-une", "failing_rows.json")).values()} == {1}
