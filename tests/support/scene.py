"""A refresh that can be hit in each of its steps, and what must be true after it was: the stage of the runner's fault tests."""

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
    -- What does not fit into memory is written to the disk.
    perform count(*) from (
        select md5(n::text) from generate_series(1, (select rows from src.spills where step = here)) n order by 1 offset 1) sorted;
    return here;
end $$;
create view src.lent as select src.attendre('validation') as nap;
create view src.arrivees as select now() as chargee where src.attendre('sources') is not null;
"""
"""Each step asks how long it takes, and how much it writes to the disk on its way."""


SLOW_COMMIT = """
create or replace function src.lentement() returns trigger language plpgsql as
    $$ begin perform src.attendre('commit'); return null; end $$;
create constraint trigger lentement after insert or update on dbt_refresh_version deferrable initially deferred
    for each row execute function src.lentement();
"""
"""A deferred trigger fires within the commit itself."""


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
    """Change the small project so that each step takes as long as src.pauses says, and marts carry the sources' generation."""
    place = write_project(folder)
    for name, text in _FILES.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text)


@dataclass
class Scene:
    """One warehouse and its refresh, from fault to fault."""

    runner: RunnerHarness
    web: WebServer
    generation: int = 0

    def prepare(self) -> None:
        """Sources, and marts of a first generation."""
        self.runner.reset()
        self.runner.database.run(_SOURCES)
        self.next_generation()
        assert self.runner.run(self.spec()).code == 0

    def spec(self, **changes: object) -> Json:
        """Return the refresh; no step is tried twice within an attempt, unless a test says so."""
        spec = self.runner.spec(lock={"onHeld": "Wait", "wait": "60s"}, timeout="90s")
        layers = [{**layer, "retries": 0} for layer in spec["layers"]]
        marts = [*spec["validation"]["marts"], {"relation": "src.lent", "keys": ["nap"]}]
        tests = {"select": ["tag:P2"], "retries": 0, "onFailure": "Fail"}
        return {**spec, "sources": {"onStale": "Fail"}, "layers": layers, "tests": tests, "validation": {"marts": marts}, **changes}

    def next_generation(self) -> None:
        """Change every row of the sources."""
        self.generation += 1
        self.runner.database.run(f"update src.generation set n = {self.generation}")

    def pause(self, step: str, seconds: float = _LONG) -> None:
        """Have a step take long."""
        if step == "cache":
            self.web.slow.add(SLOW_ENDPOINT)
        else:
            self.runner.database.run(f"insert into src.pauses values ('{step}', {seconds})")

    def spill(self, step: str, rows: int) -> None:
        """Have a step write so many rows to the disk, 14 bytes each, and sort them."""
        self.runner.database.run(f"insert into src.spills values ('{step}', {rows})")

    def wake(self) -> None:
        """Nothing takes long any more."""
        self.web.slow.discard(SLOW_ENDPOINT)
        self.runner.database.run("delete from src.pauses; delete from src.spills")

    def start_until(self, step: str, run: str, seconds: float = _LONG, **changes: object) -> subprocess.Popen[str]:
        """Start a run as a process of its own; it is in this step when it is returned: its query runs, or its call is answered slowly."""
        self.pause(step, seconds)
        asked = len(self.web.asked)
        process = self.runner.start_process(self.spec(**changes), RUN_ID=run)
        marker = {"sources": '"arrivees"', "validation": '"lent"', "commit": "commit"}.get(step, f"in {step} ")

        def in_step() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"it ended before it was in {step}: {process.communicate()[0]}")
            return len(self.web.asked) > asked if step == "cache" else bool(self.runner.running_queries(marker))

        def end() -> str:
            process.kill()
            return str(process.communicate()[0])

        eventually(in_step, within=90, context=end)
        return process

    def again(self, run: str, failures: int = 1) -> RunResult:
        """Run a further attempt."""
        return self.runner.run(self.spec(), failures, RUN_ID=run)

    def assert_it_goes_on(self, run: str, failures: int = 1) -> RunResult:
        """A further attempt finds nothing in its way, publishes, and leaves all well; returns it."""
        self.wake()
        again = self.again(run, failures)
        assert again.code == 0, again.output
        assert self.live() == {self.generation}
        self.assert_all_well_after(run, rows=1)
        return again

    def nobody_is_at_work(self) -> None:
        """No session of a run is there, and nobody holds the warehouse."""
        ours = "select pid, query from pg_stat_activity where application_name like 'petit-%' or application_name like 'fault-%'"
        eventually(lambda: self.runner.database.rows(ours) == [], within=6, context=lambda: str(self.runner.database.rows(ours)))
        locks = f"select pid from pg_locks where locktype = 'advisory' and classid in ({NAMESPACE}, {NAMESPACE + 1})"
        assert self.runner.database.rows(locks) == []

    def live(self) -> set[object]:
        """Return the generations that readers see, in one snapshot of both marts."""
        query = "select generation from dwh_marts.mart_a union select generation from dwh_marts.mart_b"
        return {row[0] for row in self.runner.database.rows(query)}

    def outcome(self, run: str) -> tuple[object, ...]:
        """Return what dbt_refresh_run says of a run."""
        (found,) = self.runner.database.rows(f"select phase, outcome, reason from dbt_refresh_run where run_id = '{run}'")
        return found

    def assert_all_well_after(self, run: str, rows: int) -> None:
        """The run ended well or badly, but truly: nothing is left of it, its row and log are right, and the next run works.

        `rows` are those that dbt_refresh_log must have of it.
        """
        self.nobody_is_at_work()
        left = """select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname like '%\\_\\_next' or n.nspname like '%\\_\\_replaced' or c.relname like '%\\_\\_dbt\\_%'"""
        assert self.runner.database.rows(left) == []
        assert len(self.live()) == 1
        assert len(self.runner.database.rows(f"select 1 from dbt_refresh_log where run_id = '{run}'")) == rows
        assert self.outcome(run)[0] == "Finished"
        self.wake()
        self.next_generation()
        ran = self.runner.run(self.spec())
        assert ran.code == 0, ran.output
        assert self.live() == {self.generation}
        assert self.runner.database.rows(left) == []
