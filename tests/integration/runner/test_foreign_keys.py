"""A contract's foreign key between two marts, from the dbt project to the live tables: in repeated runs, and in a retry."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from refresh_runner.cli.parse import cache_project
from refresh_runner.model.plan import DbtSettings
from support.runner_harness import SLOWNESS, RunnerHarness, in_background, write_project

CONTRACTS = """
  - name: mart_a
    config: {contract: {enforced: true}}
    columns:
      - {name: id, data_type: int, constraints: [{type: primary_key}]}
      - {name: zone, data_type: int}
      - {name: mois, data_type: int}
  - name: mart_b
    config: {contract: {enforced: true}}
    columns:
      - name: id
        data_type: int
        constraints: [{type: foreign_key, to: ref('mart_a'), to_columns: [id]}]
      - {name: mois, data_type: int}
"""


@pytest.fixture(scope="module")
def contracted(shared_runner: RunnerHarness, tmp_path_factory: pytest.TempPathFactory) -> RunnerHarness:
    """The small project, in which the second mart references the first."""
    place = tmp_path_factory.mktemp("contracted")
    project = write_project(place / "project")
    file = project / "models/properties.yml"
    properties = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**properties, "models": yaml.safe_load(CONTRACTS)}))
    b = project / "models/marts/mart_b.sql"
    b.write_text(b.read_text().replace("select id", "-- depends_on: {{ ref('mart_a') }}\nselect id"))
    cache_project(project, DbtSettings(8, "prod", "dwh", {}), lambda _line: None)
    return replace(shared_runner, folder=place, project=project)


@pytest.fixture
def marts(contracted: RunnerHarness, runner: RunnerHarness) -> RunnerHarness:
    """The same project, reset."""
    contracted.secrets, contracted.api = runner.secrets, runner.api
    return contracted


def test_it_holds_run_after_run(marts: RunnerHarness) -> None:
    """Deleted and new rows in both marts are merged. The previous version can be restored."""
    spec = marts.spec()
    del spec["tests"]
    assert marts.run(spec).code == 0
    for _ in range(2):
        marts.database.run("delete from src.lignes where id = (select min(id) from src.lignes)")
        marts.database.run("insert into src.lignes select max(id) + 1, 1, 1, 0 from src.lignes; update src.lignes set mois = 13 - mois")
        ran = marts.run(spec)
        assert ran.code == 0, ran.output
        assert "(merge)" in ran.messages
        assert "(swap)" not in ran.messages
    both = "select min(a.id), max(a.id), count(*) from dwh_marts.mart_a a join dwh_marts.mart_b b using (id)"
    assert marts.database.rows(both) == [(3, 102, 100)]
    assert marts.run(spec, mode="rollback").code == 0
    assert marts.database.rows(both) == [(2, 101, 100)]
    assert marts.database.rows(
        "select confrelid::regclass::text from pg_constraint where contype = 'f' and conrelid::regclass::text ~ 'marts.mart_b'"
    ) == [("dwh_marts.mart_a",)]


def test_a_mart_with_a_foreign_key_is_tried_again(marts: RunnerHarness) -> None:
    """Its table was locked for too long in the first try, in which dbt had already written the other mart's name into the contract."""
    spec = marts.spec()
    del spec["tests"]
    assert marts.run(spec).code == 0
    spec["layers"][2] |= {"timeout": f"{4 * SLOWNESS}s", "retries": 3}

    def lock() -> None:
        with marts.database.connect() as connection:
            connection.execute(f"begin; lock table dwh_facts.fait_jours in access exclusive mode; select pg_sleep({4 * SLOWNESS})".encode())

    # Only marts are built, so that the lock blocks nothing else.
    with in_background(lock):
        ran = marts.run({**spec, "layers": spec["layers"][2:]})
    assert ran.code == 0, ran.output
    assert "retrying mart_b" in ran.messages, ran.output
