"""The runner with another project than the demo's: seeds, snapshots, incremental and ephemeral models, custom schemas."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from shutil import copytree

import pytest
import yaml

from refresh_examples.embedded import EmbeddedPostgres
from refresh_runner.cli.lint import lint
from refresh_runner.cli.parse import cache_project
from refresh_runner.model.plan import DbtSettings
from support.laptop import ROOT
from support.postgres import create_database, drop_database
from support.runner_harness import Json, RunnerHarness

PROJECT = ROOT / "examples" / "velos"
DBT = DbtSettings(8, "prod", "velos", {})


@pytest.fixture(scope="module")
def refresh() -> Json:
    """The refresh of the project."""
    return dict(yaml.safe_load((PROJECT / "refresh.yaml").read_text())["spec"])


@pytest.fixture(scope="module")
def velos(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunnerHarness]:
    """The project with its sources, before its first run. The tests of this file build on each other."""
    place = tmp_path_factory.mktemp("velos")
    # A copy, because the parsed project is cached in the project.
    project = Path(copytree(PROJECT, place / "project"))
    cache_project(project, DBT, lambda _line: None)
    runner = RunnerHarness(place, project, create_database(postgres, "velos"), api="")
    runner.reset()
    runner.secrets = {"warehouse-velos": runner.database.secret}
    runner.database.run((PROJECT / "source.sql").read_text())
    yield runner
    drop_database(runner.database)


def relations(runner: RunnerHarness) -> set[tuple[object, ...]]:
    """Return what dbt has built: schema, name and kind (r for tables, v for views)."""
    query = "select relnamespace::regnamespace::text, relname, relkind::text from pg_class where relkind in ('r', 'v')"
    return set(
        runner.database.rows(
            f"{query} and relnamespace::regnamespace::text like 'velos\\_%' and relnamespace <> 'velos_source'::regnamespace"
        )
    )


def report(runner: RunnerHarness) -> tuple[object, ...]:
    """Return the rides and takings that the dashboard shows."""
    return runner.database.rows("select sum(nb_trajets)::int, sum(centimes)::int from velos_rapport.trajets_par_jour")[0]


def test_its_refresh_fits_it(velos: RunnerHarness) -> None:
    """Lint finds no problem, and every layer has something to build."""
    said: list[str] = []
    assert lint(PROJECT / "refresh.yaml", velos.project, None, datetime.now(UTC), lambda check: said.append(str(check))) == 0, said


def test_the_first_run_builds_all_kinds(velos: RunnerHarness, refresh: Json) -> None:
    """Seed, snapshot, incremental model, view and table exist, the ephemeral model does not, and the log has its row."""
    ran = velos.run(refresh)
    assert ran.code == 0, ran.messages
    assert relations(velos) == {
        ("velos_reference", "tarifs", "r"),
        ("velos_reference", "stations_suivies", "r"),
        ("velos_preparation", "trajets", "r"),
        ("velos_rapport", "trajets_par_jour", "r"),
        ("velos_rapport", "longs_trajets", "v"),
    }
    assert report(velos) == (71, 14_767)
    assert [row[:3] for row in velos.log_rows()] == [(True, 1, "Velos refresh - 1/1 marts validated")]


def test_a_second_run_adds_what_is_new(velos: RunnerHarness, refresh: Json) -> None:
    """The incremental model keeps rides that the source has deleted, and the snapshot keeps a station's old name."""
    velos.database.run("delete from velos_source.trajets; insert into velos_source.trajets values (73, 1, 'jour', '2026-06-04 10:00', 10)")
    velos.database.run("update velos_source.stations set nom = 'Gare centrale' where station_id = 1")
    ran = velos.run(refresh)
    assert ran.code == 0, ran.messages
    assert report(velos) == (72, 14_817)
    assert velos.database.rows(
        "select nom, dbt_valid_to is null from velos_reference.stations_suivies where station_id = 1 order by 2"
    ) == [
        ("Gare", False),
        ("Gare centrale", True),
    ]
    assert velos.database.rows("select distinct nom from velos_rapport.trajets_par_jour where station_id = 1") == [("Gare centrale",)]


def test_a_failed_run_changes_in_place_what_is_not_published(velos: RunnerHarness, refresh: Json) -> None:
    """As documented: the listed table stays unchanged, but the incremental model and the view on it show the new ride."""
    before = report(velos)
    velos.database.run(
        "insert into velos_source.trajets values (74, 1, 'jour', '2026-06-05 10:00', 90), (75, 1, 'jour', '2026-06-05', null)"
    )
    ran = velos.run(refresh)
    assert ran.code == 1
    assert "not_null_trajets_minutes" in ran.messages
    assert report(velos) == before
    assert velos.database.rows("select count(*) from velos_preparation.trajets where trajet_id > 73") == [(2,)]
    assert velos.database.rows("select trajet_id from velos_rapport.longs_trajets where trajet_id > 73") == [(74,)]


def test_a_view_on_a_published_table_is_refused(velos: RunnerHarness, refresh: Json, tmp_path: Path) -> None:
    """Even if it reads the table through an ephemeral model: it would keep reading the replaced table."""
    project = Path(copytree(velos.project, tmp_path / "project"))
    (project / "models/rapport/passage.sql").write_text(
        "{{ config(materialized='ephemeral') }} select * from {{ ref('trajets_par_jour') }}"
    )
    (project / "models/rapport/vitrine.sql").write_text("{{ config(materialized='view') }} select * from {{ ref('passage') }}")
    velos.database.run(
        "delete from velos_preparation.trajets where minutes is null; delete from velos_source.trajets where minutes is null"
    )
    ran = RunnerHarness(tmp_path, project, velos.database, "", velos.secrets).run(refresh)
    assert ran.code == 1
    assert "vitrine reads velos_rapport.trajets_par_jour" in ran.messages
