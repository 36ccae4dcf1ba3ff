"""A refresh whose steps can be slowed down, so that a fault hits a chosen step, and the assertions on what a fault leaves behind."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from refresh_runner.postgres.advisory_lock import NAMESPACE
from support.eventually import eventually
from support.runner_harness import Json, RunnerHarness, RunResult, write_project
from support.webserver import WebServer

STEPS = ("sources", "staging", "facts", "marts", "tests", "validation", "cache")
LABELS = {step: f"{number}/{len(STEPS)} {step}" for number, step in enumerate(STEPS, 1)}
SLOW_ENDPOINT = "/a"
_LONG = 25.0

_SOURCES = """
create table src.pauses (step text primary key, seconds double precision not null);
create table src.spills (step text primary key, rows integer not null);
create table src.generation (n integer not null);
insert into src.generation values (0);
alter table src.lignes add chargee timestamptz not null default now();
create function src.attendre(here text) returns text language plpgsql as $$ begin
    perform pg_sleep((select seconds from src.pauses where step = here));
    -- A sort that exceeds work_mem is written to disk.
    perform count(*) from (
        select md5(n::text) from generate_series(1, (select rows from src.spills where step = here)) n order by 1 offset 1) sorted;
    return here;
end $$;
create view src.lent as select src.attendre('validation') as nap;
create view src.arrivees as select now() as chargee where src.attendre('sources') is not null;
"""
"""Each step calls src.attendre, which sleeps for the seconds in src.pauses and sorts the rows of src.spills on disk."""


SLOW_COMMIT = """
create or replace function src.lentement() returns trigger language plpgsql as
    $$ begin perform src.attendre('commit'); return null; end $$;
create constraint trigger lentement after insert or update on dbt_refresh_version deferrable initially deferred
    for each row execute function src.lentement();
create or replace function src.au_commit() returns trigger language plpgsql as
    $$ begin set constraints lentement deferred; return new; end $$;
create trigger au_commit before insert or update on dbt_refresh_version for each row execute function src.au_commit();
"""
"""Slows down the commit itself: a deferred trigger fires within it.

A merge has all constraints checked at once before the version is written, so the trigger has to be deferred again.
"""
NO_SLOW_COMMIT = """
drop trigger lentement on dbt_refresh_version; drop function src.lentement();
drop trigger au_commit on dbt_refresh_version; drop function src.au_commit();
"""


def _paused(step: str) -> str:
    return f"pre_hook=\"/* in {step} */ select src.attendre('{step}')\""


_FILES = {
    "models/staging/stg_lignes.sql": f"""{{{{ config(materialized='view', schema='dwh_staging', {_paused("staging")}) }}}}
        -- depends_on: {{{{ source('lenteur', 'arrivees') }}}}
        select id, zone, mois, (select n from src.generation) as generation from {{{{ source('src', 'lignes') }}}}""",
    "models/facts/fait_lignes.sql": f"""{{{{ config(schema='dwh_facts', {_paused("facts")}) }}}}
        select * from {{{{ ref('stg_lignes') }}}}""",
    "models/facts/fait_jours.sql": "{{ config(schema='dwh_facts') }} select * from {{ ref('stg_lignes') }}",
    "models/marts/mart_a.sql": f"{{{{ config(schema='dwh_marts', {_paused('marts')}) }}}} select * from {{{{ ref('fait_lignes') }}}}",
    "models/marts/mart_b.sql": "{{ config(schema='dwh_marts') }} select * from {{ ref('fait_jours') }}",
    "models/lent.yml": """
sources:
  - name: lenteur
    schema: src
    tables:
      - name: lent
      - {name: arrivees, loaded_at_field: chargee, config: {freshness: {error_after: {count: 24, period: hour}}}}""",
    "tests/pause.sql": "{{ config(tags=['P2']) }} /* in tests */ select 1 as found where src.attendre('tests') = 'never'",
}


def write_slow_project(folder: Path) -> None:
    """Write the small project with steps that take as long as src.pauses says and marts that contain the sources' generation."""
    place = write_project(folder)
    for name, text in _FILES.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)


@dataclass
class SlowRefresh:
    """A warehouse and its refresh; every update of the sources is a generation, which readers find in both marts."""

    runner: RunnerHarness
    web: WebServer
    generation: int = 0

    def prepare(self) -> None:
        """Create the sources and publish marts of the first generation."""
        self.runner.reset()
        self.runner.database.run(_SOURCES)
        self.next_generation()
        assert self.runner.run(self.spec()).code == 0

    def spec(self, **changes: object) -> Json:
        """Return the spec with changes; by default no step is tried twice within an attempt."""
        spec = self.runner.spec(lock={"policy": "Wait", "waitTimeout": "60s"}, timeout="90s")
        layers = [{**layer, "retries": 0} for layer in spec["layers"]]
        marts = [*spec["validation"]["marts"], {"relation": "src.lent", "keyColumns": ["nap"]}]
        tests = {"select": ["tag:P2"], "retries": 0, "failurePolicy": "Fail"}
        return {**spec, "sources": {"stalePolicy": "Fail"}, "layers": layers, "tests": tests, "validation": {"marts": marts}, **changes}

    def next_generation(self) -> None:
        """Update every row of the sources."""
        self.generation += 1
        self.runner.database.run(f"update src.generation set n = {self.generation}")

    def slow_down(self, step: str, seconds: float = _LONG) -> None:
        """Make a step take this many seconds longer; `cache` waits until `speed_up`."""
        if step == "cache":
            self.web.slow.add(SLOW_ENDPOINT)
        else:
            self.runner.database.run(f"insert into src.pauses values ('{step}', {seconds})")

    def spill_to_disk(self, step: str, rows: int) -> None:
        """Make a step sort this many rows of 14 bytes on disk."""
        self.runner.database.run(f"insert into src.spills values ('{step}', {rows})")

    def speed_up(self) -> None:
        """Undo every `slow_down` and `spill_to_disk`."""
        self.web.slow.discard(SLOW_ENDPOINT)
        self.runner.database.run("delete from src.pauses; delete from src.spills")

    def start_until_in_step(self, step: str, run: str, seconds: float = _LONG, **changes: object) -> subprocess.Popen[str]:
        """Start a run as a process and return it once it is in this step, with its query running or its HTTP call waiting."""
        self.slow_down(step, seconds)
        asked = len(self.web.asked)
        process = self.runner.start_process(self.spec(**changes), RUN_ID=run)
        marker = {"sources": '"arrivees"', "validation": '"lent"', "commit": "commit"}.get(step, f"in {step} ")

        def in_step() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"the run ended before {step}: {process.communicate()[0]}")
            return len(self.web.asked) > asked if step == "cache" else bool(self.runner.running_queries(marker))

        def end() -> str:
            process.kill()
            return str(process.communicate()[0])

        eventually(in_step, within=90, context=end)
        return process

    def run_next_attempt(self, run: str, failures: int = 1) -> RunResult:
        """Run another attempt of a run of which `failures` have failed."""
        return self.runner.run(self.spec(), failures, RUN_ID=run)

    def assert_next_attempt_succeeds(self, run: str, failures: int = 1) -> RunResult:
        """Assert that the next attempt succeeds, publishes and leaves nothing behind; return it."""
        self.speed_up()
        again = self.run_next_attempt(run, failures)
        assert again.code == 0, again.output
        assert self.live_generations() == {self.generation}
        self.assert_clean_after(run, rows=1)
        return again

    def assert_no_session_is_left(self) -> None:
        """Assert that no session of a run is connected and no advisory lock is held."""
        ours = "select pid, query from pg_stat_activity where application_name like 'petit-%' or application_name like 'fault-%'"
        eventually(lambda: self.runner.database.rows(ours) == [], within=6, context=lambda: str(self.runner.database.rows(ours)))
        locks = f"select pid from pg_locks where locktype = 'advisory' and classid in ({NAMESPACE}, {NAMESPACE + 1})"
        assert self.runner.database.rows(locks) == []

    def live_generations(self) -> set[object]:
        """Return the generations that one query of both marts sees; more than one means a half-published state."""
        query = "select generation from dwh_marts.mart_a union select generation from dwh_marts.mart_b"
        return {row[0] for row in self.runner.database.rows(query)}

    def outcome(self, run: str) -> tuple[object, ...]:
        """Return phase, outcome and reason of a run from dbt_refresh_run."""
        (found,) = self.runner.database.rows(f"select phase, outcome, reason from dbt_refresh_run where run_id = '{run}'")
        return found

    def assert_clean_after(self, run: str, rows: int) -> None:
        """Assert what holds after any fault: no session, lock or staging relation is left, the log is right, the next run succeeds.

        `rows` is the number of rows of the run in dbt_refresh_log.
        """
        self.assert_no_session_is_left()
        left = """select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname like '%\\_\\_next' or n.nspname like '%\\_\\_replaced' or c.relname like '%\\_\\_dbt\\_%'"""
        assert self.runner.database.rows(left) == []
        assert len(self.live_generations()) == 1
        assert len(self.runner.database.rows(f"select 1 from dbt_refresh_log where run_id = '{run}'")) == rows
        assert self.outcome(run)[0] == "Finished"
        self.speed_up()
        self.next_generation()
        ran = self.runner.run(self.spec())
        assert ran.code == 0, ran.output
        assert self.live_generations() == {self.generation}
        assert self.runner.database.rows(left) == []
