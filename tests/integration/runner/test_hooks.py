"""on-run-start and on-run-end of a project run once per run, with the run's own results. A run with a failed hook never succeeds."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from refresh_api.status import Outcome, Reason, RunPhase
from refresh_examples.embedded import EmbeddedPostgres
from refresh_runner.cli.parse import cache_project
from refresh_runner.model.plan import DbtSettings
from support.eventually import eventually
from support.plain_dbt import plain_dbt
from support.postgres import create_database, drop_database
from support.runner_harness import SLOWNESS, Json, RunnerHarness, RunResult, write_project
from support.webserver import WebServer

START = [
    "create table if not exists src.audit (n serial, hook text, invocation text, schemas text, pairs text, results text, selected text)",
    "{{ noted('start') }}",
    "select pg_sleep(nap) from src.sleeps where hook = 'start'",
    "select 1 / (select n from src.divisors where hook = 'start')",
]
END = [
    "{{ noted('end') }}",
    "{% for schema in schemas %}grant select on all tables in schema {{ schema }} to lecteur_des_crochets;{% endfor %}",
    "select pg_sleep(nap) from src.sleeps where hook = 'end'",
    "select 1 / (select n from src.divisors where hook = 'end')",
]
NOTED = """
{% macro noted(hook) %}
{%- set told = [] %}
{%- for result in (results or []) | sort(attribute='node.unique_id') if result.node.unique_id in graph.nodes %}
{%- set node = result.node %}
{%- if node.resource_type != 'operation' %}
{%- do told.append([node.name, result.status, node.relation_name, graph.nodes[node.unique_id].schema] | join(' ')) %}
{%- endif %}
{%- endfor %}
{%- set named = selected_resources | select('in', graph.nodes) | sort | join(' ') %}
insert into src.audit (hook, invocation, schemas, pairs, results, selected)
values ('{{ hook }}', '{{ invocation_id }} {{ run_started_at }}', '{{ schemas | sort | join(" ") if schemas else "" }}',
    '{{ database_schemas | map("join", ".") | sort | join(" ") if database_schemas else "" }}', '{{ told | join("; ") }}', '{{ named }}')
{% endmacro %}
"""
ROOM = """
drop table if exists src.audit, src.sleeps, src.divisors;
create table src.sleeps (hook text, nap integer);
insert into src.sleeps values ('start', 0), ('end', 0);
create table src.divisors (hook text, n integer);
insert into src.divisors values ('start', 1), ('end', 1);
"""


@pytest.fixture(scope="module")
def hooked(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunnerHarness]:
    """The small project with hooks, in a separate database."""
    place = tmp_path_factory.mktemp("hooks")
    project = write_project(place / "project")
    # Only the run's models, because the runs are compared with `dbt build` without a selection.
    for name in ("stg_autres", "fait_autres"):
        (project / f"models/other/{name}.sql").unlink()
    (project / "macros/noted.sql").write_text(NOTED)
    settings = (project / "dbt_project.yml").read_text()
    listed = {"on-run-start": START, "on-run-end": END}
    hooks = "".join(
        f"{kind}:\n" + "".join(f'  - "{hook.replace(chr(34), chr(92) + chr(34))}"\n' for hook in hooks) for kind, hooks in listed.items()
    )
    (project / "dbt_project.yml").write_text(settings + hooks)
    cache_project(project, DbtSettings(8, "prod", "dwh", {}), lambda _line: None)
    runner = RunnerHarness(place, project, create_database(postgres, "crochets"), api="")
    runner.database.run("create role lecteur_des_crochets")
    yield runner
    drop_database(runner.database)


@pytest.fixture
def runner(hooked: RunnerHarness, web: WebServer) -> RunnerHarness:
    """The same, reset."""
    hooked.reset()
    hooked.database.run(ROOM)
    hooked.api = web.url
    return hooked


def audit(runner: RunnerHarness) -> list[tuple[object, ...]]:
    """Return what the hooks wrote, except values that identify a run."""
    return runner.database.rows("select hook, schemas, pairs, results, selected from src.audit order by n")


def ended(ran: RunResult) -> tuple[object, ...]:
    assert ran.termination_message is not None, ran.output
    return ran.code, ran.termination_message.phase, ran.termination_message.outcome, ran.termination_message.reason


def reads(runner: RunnerHarness, relation: str) -> object:
    return runner.database.rows(f"select has_table_privilege('lecteur_des_crochets', '{relation}', 'select')")[0][0]


@pytest.mark.slow
def test_hooks_run_once_with_what_dbt_build_would_tell_them(runner: RunnerHarness, tmp_path: Path):
    """With Swap, Direct and plain dbt, hooks write one row at start and end: of one invocation, with equal schemas and results."""
    told = {}
    for name in ("plain", "Direct", "Swap"):
        runner.reset()
        runner.database.run(ROOM)
        if name == "plain":
            done = plain_dbt(runner.project, runner.database, tmp_path, "build")
            assert done.returncode == 0, done.stdout
        else:
            ran = runner.run(runner.spec(publish=name))
            assert ran.code == 0, ran.output
            assert "OK hook: petit.on-run-end.0" in ran.messages
        told[name] = audit(runner)
        assert len(runner.database.rows("select distinct invocation from src.audit")) == 1
        assert reads(runner, "dwh_marts.mart_a") is True, name
        assert reads(runner, "dwh_facts.fait_jours") is True, name
    assert told["Swap"] == told["plain"]
    assert told["Direct"] == told["plain"]
    assert [row[0] for row in told["plain"]] == ["start", "end"]
    assert "mart_a success" in str(told["plain"][1][3])


@pytest.mark.parametrize("publish", ["Direct", "Swap"])
def test_an_on_run_end_that_fails_fails_the_run(runner: RunnerHarness, web: WebServer, publish: str):
    """The message says that the data are live. The API is not called. Without the fault, the run succeeds."""
    runner.database.run("update src.divisors set n = 0 where hook = 'end'")
    ran = runner.run(runner.spec(publish=publish))
    assert ended(ran) == (1, RunPhase.FINISHED, Outcome.FAILED, Reason.HOOK_FAILED), ran.output
    assert ran.termination_message is not None
    message = ran.termination_message.message or ""
    assert message.startswith("on-run-end failed, the new data are live: petit.on-run-end.3 failed, error: ")
    assert "division by zero" in message
    assert web.asked == []
    assert runner.database.rows("select count(*) from dwh_marts.mart_a") == [(100,)]
    assert [row[:2] for row in runner.log_rows()] == [(False, 2)]
    assert runner.database.rows("select state from dbt_refresh_node where step = 'on-run-end' order by node_id") == [
        ("ok",),
        ("ok",),
        ("ok",),
        ("broken",),
    ]
    runner.database.run("update src.divisors set n = 1")
    assert ended(runner.run(runner.spec(publish=publish)))[0] == 0


def test_an_on_run_start_that_fails_builds_nothing(runner: RunnerHarness):
    """The run fails with the hook's error. on-run-end still runs, as in dbt."""
    runner.database.run("update src.divisors set n = 0 where hook = 'start'")
    ran = runner.run()
    assert ended(ran) == (1, RunPhase.FINISHED, Outcome.FAILED, Reason.HOOK_FAILED), ran.output
    assert ran.termination_message is not None
    assert (ran.termination_message.message or "").startswith("on-run-start failed, nothing was built: petit.on-run-start.3 failed")
    assert runner.database.rows("select to_regclass('dwh_facts.fait_jours')::text") == [(None,)]
    assert [row[0] for row in audit(runner)] == ["start", "end"]


@pytest.mark.slow
def test_where_nothing_was_published_the_marts_are_told_as_skipped(runner: RunnerHarness):
    """A failed test prevents publishing. on-run-end runs, but sees neither staging schemas nor new live marts."""
    assert runner.run().code == 0
    runner.database.run("insert into src.lignes values (1, 1, 1, 0); delete from src.audit")
    ran = runner.run(runner.spec(tests={"select": ["tag:P2"], "failurePolicy": "Fail"}))
    assert ended(ran) == (1, RunPhase.FINISHED, Outcome.FAILED, Reason.TESTS_FAILED), ran.output
    _, schemas, _, results, _ = audit(runner)[-1]
    assert schemas == "dwh_facts dwh_staging"
    assert "mart_a skipped" in str(results)
    assert "fait_lignes success" in str(results)
    assert "__next" not in str(results)


def test_a_failed_layer_has_its_on_run_end(runner: RunnerHarness):
    """Nodes that did not run appear as skipped in its results. The run has the layer's error."""
    runner.database.run("alter table src.lignes rename column mois to autre; update src.divisors set n = 0 where hook = 'end'")
    ran = runner.run()
    assert ended(ran) == (1, RunPhase.FINISHED, Outcome.FAILED, Reason.LAYER_FAILED), ran.output
    assert "on-run-end failed, nothing was published" in ran.messages
    results = str(audit(runner)[-1][3])
    assert "stg_lignes error" in results
    assert "mart_a skipped" in results


@pytest.mark.slow
def test_a_skipped_run_has_no_hooks(runner: RunnerHarness):
    """If nothing has changed, no hook runs. A requested run of the same refresh runs them."""
    spec = runner.spec(unchangedPolicy="Skip")
    assert runner.run(spec, RUN_ID="petit-29000001").code == 0
    runner.database.run("delete from src.audit")
    ran = runner.run(spec, RUN_ID="petit-29000061")
    assert ran.termination_message is not None
    assert ran.termination_message.reason is Reason.NOTHING_CHANGED, ran.output
    assert audit(runner) == []
    assert runner.run(spec).code == 0
    assert [row[0] for row in audit(runner)] == ["start", "end"]


@pytest.mark.slow
@pytest.mark.parametrize("hook", ["start", "end"])
def test_sigterm_cancels_a_hook(runner: RunnerHarness, hook: str):
    """Its query ends in the warehouse, and the run names the hook."""
    runner.database.run(f"update src.sleeps set nap = 60 where hook = '{hook}'")
    process = runner.start_process(runner.spec())
    eventually(lambda: runner.running_queries("from src.sleeps"), within=40 * SLOWNESS)
    process.send_signal(signal.SIGTERM)
    ran = runner.wait_for_exit(process)
    assert ended(ran) == (143, RunPhase.INTERRUPTED, None, Reason.INTERRUPTED), ran.output
    assert ran.termination_message is not None
    assert ran.termination_message.message == f"interrupted by SIGTERM during on-run-{hook}"
    assert runner.running_queries("from src.sleeps") == []


@pytest.mark.slow
def test_a_hook_that_takes_too_long_is_cancelled_by_postgresql(runner: RunnerHarness):
    """The attempt's timeout limits it, and the error is PostgreSQL's."""
    runner.database.run(f"update src.sleeps set nap = {60 * SLOWNESS} where hook = 'end'")
    ran = runner.run(runner.spec(timeout=f"{20 * SLOWNESS}s"), failures=2)
    assert ended(ran) == (1, RunPhase.FINISHED, Outcome.FAILED, Reason.HOOK_FAILED), ran.output
    assert ran.termination_message is not None
    assert "canceling statement due to statement timeout" in (ran.termination_message.message or "")


@pytest.mark.slow
def test_a_resumed_attempt_grants_on_what_the_first_one_built(runner: RunnerHarness):
    """Each attempt is an invocation. Its schemas are those of all marts that the run publishes, including reused ones."""
    runner.database.run("update src.lignes set nap = 30 where id = 1")
    brief = {"retries": 0, "timeout": f"{2 * SLOWNESS}s"}
    spec: Json = runner.spec(retries=1, layers=[layer | brief for layer in runner.spec()["layers"]])
    first = runner.run(spec, RUN_ID="petit-resumed")
    assert ended(first)[:2] == (75, RunPhase.RETRYING), first.output
    runner.database.run("update src.lignes set nap = 0")
    second = runner.run(spec, failures=1, RUN_ID="petit-resumed")
    assert second.code == 0, second.output
    assert "kept from an earlier attempt" in second.messages
    assert [(row[0], row[1]) for row in audit(runner)] == [
        ("start", ""),
        ("end", "dwh_facts dwh_staging"),
        ("start", ""),
        ("end", "dwh_facts dwh_marts dwh_staging"),
    ]
    assert "stg_lignes" not in str(audit(runner)[-1][3])
