"""A small dbt project for `unchangedPolicy: Reuse`: pure and other models on three sources, and what its marts must contain."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from refresh_runner.cli.parse import cache_project
from refresh_runner.model.plan import DbtSettings
from support.plan_command import plan_of
from support.runner_harness import Json, RunnerHarness, RunResult

_PROJECT: Final = """
name: reprise
version: "1.0.0"
config-version: 2
profile: reprise
models:
  reprise:
    +materialized: table
    facts: {+schema: dwh_facts}
    marts: {+schema: dwh_marts}
seeds: {reprise: {+schema: dwh_facts}}
vars: {factor: 2}
"""
_PROPERTIES: Final = """
sources:
  - {name: src, tables: [{name: a}, {name: b}, {name: c}]}
models:
  - {name: m_a, columns: [{name: id, data_tests: [unique, not_null]}]}
  - {name: m_b, columns: [{name: id, data_tests: [unique]}]}
"""
_MACROS: Final = """
{% macro generate_schema_name(name, node) %}{{ name or target.schema }}{% endmacro %}
{% macro doubled(column) %}{{ column }} * 2{% endmacro %}
"""
MODELS: Final = {
    "facts/s_a": "{{ config(materialized='view') }} select id, v from {{ source('src', 'a') }}",
    "facts/f_a": "select id, v * {{ var('factor') }} as v from {{ ref('s_a') }}",
    "facts/f_b": "select id, {{ doubled('w') }} as w from {{ source('src', 'b') }}",
    "facts/f_c": "{{ config(materialized='incremental', unique_key='id') }} select id, x from {{ source('src', 'c') }}",
    "facts/f_now": "select id, now() as seen from {{ source('src', 'b') }}",
    "marts/m_a": "select id, v from {{ ref('f_a') }} where v >= 0",
    "marts/m_b": "select f.id, f.w, c.nom from {{ ref('f_b') }} f left join {{ ref('codes') }} c on c.id = f.id",
    "marts/m_c": "select count(*) as n, sum(x) as x from {{ ref('f_c') }}",
    "marts/m_now": "select count(*) as n from {{ ref('f_now') }}",
}
MARTS: Final = ("m_a", "m_b", "m_c", "m_now")
TRUTH: Final = {
    "m_a": "select id, v * 2 as v from src.a where v * 2 >= 0",
    "m_b": "select f.id, f.w * 2, c.nom from src.b f left join (values (1, 'un'), (2, 'deux')) c (id, nom) on c.id = f.id",
    "m_c": "select count(*), sum(x) from src.c",
    "m_now": "select count(*) from src.b",
}
_RESET: Final = """
drop schema if exists src, dwh, dwh_facts, dwh_marts, dwh_marts__next, dwh_marts__previous cascade;
drop table if exists dbt_refresh_result, dbt_refresh_version, dbt_refresh_relation, dbt_refresh_log, dbt_refresh_step, dbt_refresh_node;
drop table if exists dbt_refresh_mart, dbt_refresh_artifact, dbt_refresh_docs, dbt_refresh_project, dbt_refresh_run;
create schema src;
create table src.a as select n as id, n % 7 as v from generate_series(1, 50) n;
create table src.b as select n as id, n % 5 as w from generate_series(1, 40) n;
create table src.c as select n as id, n % 3 as x from generate_series(1, 30) n;
"""
_minutes: Final = itertools.count(29_500_000)


@dataclass(frozen=True)
class ReuseForecast:
    """The lines of a plan about what would be reused."""

    lines: list[str]

    @property
    def built(self) -> dict[str, str]:
        """The nodes that would be built or tested in any case, with the line for each."""
        return self._named(r"(?:building|testing) (\w+):")

    @property
    def open(self) -> dict[str, str]:
        """The nodes about which only the run can decide."""
        return self._named(r"(?:building|testing) (\w+) (?:if|unless) ")

    def _named(self, pattern: str) -> dict[str, str]:
        return {found[1]: line for line in self.lines if (found := re.match(pattern, line))}


@dataclass
class ReuseProject:
    """The project in a folder, and a runner for it."""

    runner: RunnerHarness
    publish: str = "Swap"
    last: RunResult | None = None
    files: dict[str, str] = field(default_factory=dict)

    @classmethod
    def create(cls, runner: RunnerHarness) -> ReuseProject:
        """Write the project into the runner's folder."""
        project = cls(runner)
        for name, text in _files().items():
            project.write(name, text)
        return project

    def reset(self, publish: str) -> None:
        """Restore files, sources and warehouse."""
        self.publish = publish
        self.runner.database.run(_RESET)
        self.runner.secrets = {"warehouse": self.runner.database.secret}
        edited = [name for name, text in _files().items() if self.files.get(name) != text]
        for name in edited:
            self.write(name, _files()[name])
        if edited or not list(self.runner.project.glob("target/refresh_*.json")):
            cache_project(self.runner.project, DbtSettings(8, "prod", "dwh", {}), lambda _line: None)

    def write(self, name: str, text: str) -> None:
        """Write a file of the project."""
        path = self.runner.project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self.files[name] = text

    def edit(self, name: str, change: Callable[[str], str]) -> None:
        """Change a file of the project."""
        self.write(name, change(self.files[name]))

    def spec(self, **changes: object) -> Json:
        """Return the spec of a refresh that builds all, in one layer."""
        return {
            "schedule": "0 * * * *",
            "warehouse": {"secretRef": {"name": "warehouse"}},
            "layers": [{"name": "models", "select": ["fqn:*"], "retries": 0}],
            "tests": {"select": ["fqn:*"], "retries": 0},
            "validation": {"marts": [{"relation": f"dwh_marts.{mart}", "minRows": 0} for mart in MARTS]},
            "unchangedPolicy": "Reuse",
            "publish": self.publish,
            "retries": 0,
            **changes,
        }

    def run(self, mode: str = "refresh", **changes: object) -> set[str]:
        """Run the refresh successfully; return the names of the models and tests that were not reused."""
        self.runner.database.settle()
        self.last = self.runner.run(self.spec(**changes), mode=mode, RUN_ID=f"reprise-{next(_minutes)}")
        assert self.last.code == 0, self.last.output
        return self.built()

    def forecast(self, mode: str = "refresh", **changes: object) -> ReuseForecast:
        """Return what `refresh-runner plan` says of this refresh."""
        self.runner.database.settle()
        code, said = plan_of(self.runner, self.spec(**changes), self.runner.project.parent, mode)
        assert code == 0, said
        return ReuseForecast([line[17:] for line in said.splitlines() if line.startswith("unchanged")])

    def built(self) -> set[str]:
        """Return what the last run built or tested."""
        query = "select node from dbt_refresh_node where state <> 'reused' and run_id = (select run_id from dbt_refresh_run"
        return {str(name) for (name,) in self.runner.database.rows(f"{query} order by started_at desc limit 1)")}

    def wrong(self, **truths: str) -> dict[str, list[tuple[object, ...]]]:
        """Return the rows by which each mart differs from what a build of the whole would give, if it does."""
        found = {}
        for mart, query in {**TRUTH, **truths}.items():
            table = f"dwh_marts.{mart}"
            rows = self.runner.database.rows(f"(table {table} except all ({query})) union all (({query}) except all table {table})")
            if rows:
                found[mart] = rows
        return found

    @property
    def log(self) -> str:
        """The messages of the last run."""
        assert self.last is not None
        return self.last.messages


def _files() -> dict[str, str]:
    return {
        "dbt_project.yml": _PROJECT,
        "models/properties.yml": _PROPERTIES,
        "macros/macros.sql": _MACROS,
        "seeds/codes.csv": "id,nom\n1,un\n2,deux\n",
        **{f"models/{name}.sql": f"{query}\n" for name, query in MODELS.items()},
    }
