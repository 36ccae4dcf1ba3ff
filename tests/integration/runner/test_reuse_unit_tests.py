"""Unit tests with `unchangedPolicy: Reuse` keep a verdict while SQL, fixtures, expected rows and the columns of inputs are the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from refresh_examples.embedded import EmbeddedPostgres
from support.postgres import create_database, drop_database
from support.reuse_project import ReuseProject
from support.runner_harness import HAS_OPTIONAL_PATCHES, RunnerHarness

pytestmark = [
    pytest.mark.skipif(not HAS_OPTIONAL_PATCHES, reason="without the optional patches of dbt everything is built"),
    pytest.mark.slow,
]

UNIT_TESTS = """
unit_tests:
  - name: u_a
    model: m_a
    given: [{input: ref('f_a'), rows: [{id: 1, v: 5}, {id: 2, v: -1}]}]
    expect: {rows: [{id: 1, v: 5}]}
  - name: u_b
    model: m_b
    given:
      - {input: ref('f_b'), rows: [{id: 1, w: 5}]}
      - {input: ref('codes'), format: sql, rows: "select 1 as id, 'un' as nom"}
    expect: {format: sql, rows: "select 1 as id, 5 as w, 'un' as nom"}
"""


@pytest.fixture(scope="module")
def shared(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReuseProject]:
    """The project in a database of its own."""
    folder = tmp_path_factory.mktemp("unit")
    database = create_database(postgres, "unit")
    yield ReuseProject.create(RunnerHarness(folder, folder / "project", database, api=""))
    drop_database(database)


@pytest.fixture
def stands(shared: ReuseProject) -> ReuseProject:
    """The project with two unit tests, after its first run."""
    shared.reset("Swap")
    shared.edit("models/properties.yml", lambda text: text + UNIT_TESTS)
    # dbt reads the columns of the inputs in the warehouse, so the unit tests compile once the models exist.
    assert shared.run() >= {"u_a", "u_b"}
    return shared


def units(stands: ReuseProject, **changes: object) -> set[str]:
    """Run, and return the unit tests that were not reused; a plan has said the same."""
    forecast = stands.forecast("refresh", **changes)
    found = {name for name in stands.run("refresh", **changes) if name.startswith("u_")}
    assert {name for name in forecast.built if name.startswith("u_")} <= found
    assert found <= forecast.built.keys() | forecast.open.keys()
    return found


def test_a_unit_test_keeps_its_verdict_whatever_the_data(stands: ReuseProject) -> None:
    """It reads no table. The control is an edit of the model, which it does notice."""
    assert units(stands) == set()
    assert "reusing u_a: nothing that it depends on has changed" in stands.log
    stands.runner.database.run("update src.a set v = 6 where id = 7")
    assert units(stands) == set()
    stands.edit("models/marts/m_a.sql", lambda text: text.replace("v >= 0", "v >= 1"))
    assert units(stands) == {"u_a"}


def test_whatever_a_verdict_depends_on_runs_the_unit_test(stands: ReuseProject) -> None:
    """Comments do not; fixtures, expected rows, macros, overrides, and the types of an input's columns do."""
    stands.edit("models/marts/m_a.sql", lambda text: "-- un commentaire\n" + text)
    assert units(stands) == set()
    stands.edit("models/properties.yml", lambda text: text.replace("{id: 2, v: -1}", "{id: 3, v: -1}"))
    assert units(stands) == {"u_a"}
    stands.edit(
        "models/properties.yml",
        lambda text: text.replace("id: 1, v: 5}, {id: 3", "id: 4, v: 5}, {id: 3").replace("[{id: 1, v: 5}]", "[{id: 4, v: 5}]"),
    )
    assert units(stands) == {"u_a"}
    stands.edit("models/properties.yml", lambda text: text.replace("5 as w, 'un'", "2 + 3 as w, 'un'"))
    assert units(stands) == {"u_b"}
    stands.edit("models/marts/m_a.sql", lambda text: text.replace("id, v from", "id, {{ doubled('v') }} / 2 as v from"))
    assert units(stands) == {"u_a"}
    stands.edit("macros/macros.sql", lambda text: text.replace("* 2", "* 4 / 2"))
    assert units(stands) == {"u_a"}
    # The type of a column of its input, which the run changes first.
    stands.edit("models/facts/f_b.sql", lambda text: text.replace(" as w", "::bigint as w"))
    assert units(stands) == {"u_b"}
    assert units(stands) == set()
    assert units(stands, tests={"select": ["fqn:*"], "retries": 0, "reuse": "Never"}) == {"u_a", "u_b"}


def test_a_unit_test_that_depends_on_the_time_or_has_failed_runs_each_time(stands: ReuseProject) -> None:
    """By PostgreSQL's parse of its model with the fixtures and of what is expected; and a failure is seen again."""
    stands.edit("models/properties.yml", lambda text: text.replace("5 as w, 'un'", "5 * (now() <> 'epoch')::int as w, 'un'"))
    assert units(stands) == {"u_b"}
    assert units(stands) == {"u_b"}
    assert "testing u_b: it calls" in stands.log
    stands.edit("models/properties.yml", lambda text: text.replace("[{id: 1, v: 5}]", "[{id: 1, v: 6}]"))
    warn = {"select": ["fqn:*"], "retries": 0, "failurePolicy": "Warn"}
    assert units(stands, tests=warn) == {"u_a", "u_b"}
    assert units(stands, tests=warn) == {"u_a", "u_b"}
    assert "testing u_a: it has failed" in stands.log


def test_without_the_recipe_a_stale_verdict_would_stay(stands: ReuseProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: if the recipe lacks SQL, fixtures and expected rows, a unit test that must fail keeps its verdict."""
    monkeypatch.setattr("refresh_runner.dbt.candidates.Candidates._recipe", lambda _self, node, *_: node.unique_id)
    stands.run(mode="full-refresh")
    stands.edit("models/properties.yml", lambda text: text.replace("[{id: 1, v: 5}]", "[{id: 1, v: 6}]"))
    assert units(stands) == set()
