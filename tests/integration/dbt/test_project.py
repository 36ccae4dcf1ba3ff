"""The dbt project follows its rules: layers, grants and documentation are as agreed, and its tests pass and find broken data."""

from __future__ import annotations

import subprocess
import sys
from calendar import monthrange
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import pytest
from dbt.contracts.graph.manifest import Manifest

from refresh_examples.embedded import EmbeddedPostgres
from refresh_examples.summaries import DASHBOARDS
from support.dbt_project import PROJECT, Dbt, Variables, failures, nodes_of
from support.postgres import Database, create_database, drop_database

from .conftest import Refreshed
from .rules import layer, models

LAST, EARLIER = date(2026, 6, 30), date(2026, 2, 28)
Refresh = Callable[[int, int, date], Refreshed]

P2 = {
    *("stg_implantations", "stg_indemnisations", "stg_emplois_crees"),
    *("fait_implantations", "fait_indemnisations", "fait_emplois_crees", "fait_factures"),
    *("mart_implantation_suivi", "mart_indemnisations", "mart_emplois_crees", "mart_creances_agees"),
}
SCHEMAS = {
    "staging": {"dwh_staging"},
    "dimensions": {"dwh_dimensions"},
    "facts": {"dwh_facts"},
    "marts": {"dwh_marts_operationnel", "dwh_marts_financier"},
}
KEYS = {
    "dwh_marts_operationnel.mart_implantation_suivi": ("zone_id", "annee", "mois"),
    "dwh_marts_operationnel.mart_indemnisations": ("zone_id", "annee", "mois"),
    "dwh_marts_operationnel.mart_emplois_crees": ("zone_id", "annee", "mois"),
    "dwh_marts_financier.mart_creances_agees": ("tranche_anciennete", "niveau_risque"),
}


@pytest.fixture(scope="module")
def manifest(dbt: Dbt, postgres: EmbeddedPostgres) -> Manifest:
    """The manifest, parsed with every warning as an error."""
    return dbt.manifest(Database(postgres, postgres.access.database))


def test_phase_2_is_exactly_what_the_old_flow_built(manifest: Manifest) -> None:
    """Tag P2 has the three staging models, four facts and four marts, and nothing else."""
    assert {model.name for model in models(manifest) if "P2" in model.tags} == P2


def test_the_main_pipeline_needs_nothing_of_phase_2(manifest: Manifest) -> None:
    """No model without the tag reads one with it. Each names the refresh that builds it, so that phase 2 can depend on `main`."""
    for model in models(manifest):
        if model.name in P2:
            assert "built_by" not in model.config.meta
        else:
            assert model.config.meta["built_by"] == "main"
            assert not {parent.rsplit(".", 1)[-1] for parent in model.depends_on.nodes} & P2


def test_schemas_and_tags_follow_the_layers(manifest: Manifest) -> None:
    """Folder and schema agree, and a mart has the tag of its subject."""
    for model in models(manifest):
        assert model.schema in SCHEMAS[layer(model)]
        assert layer(model) in model.tags
        assert layer(model) != "marts" or model.path.split("/")[1] in model.tags


def test_the_keys_that_are_validated_may_be_null(manifest: Manifest) -> None:
    """Only surrogate keys are NOT NULL, or a NULL could never become a warning."""
    for model in models(manifest):
        constrained = {name for name, column in model.columns.items() if column.constraints}
        assert all(name.endswith("_sk") for name in constrained)


def test_the_selectors_divide_the_project(dbt: Dbt, postgres: EmbeddedPostgres) -> None:
    """P1 and P2 have no model in common and cover all of them, and so do the layers."""
    database = Database(postgres, postgres.access.database)

    def chosen(selector: str) -> set[str]:
        done = dbt.invoke(database, "ls", "--selector", selector, "--resource-types", "model", "--output", "name")
        assert isinstance(done.result, list), done.exception
        return set(done.result)

    main, phase2 = chosen("P1"), chosen("P2")
    assert phase2 == P2
    assert not main & phase2
    layers = [chosen(name) for name in SCHEMAS]
    assert sum(map(len, layers)) == len(set().union(*layers)) == len(main | phase2)


def test_every_column_in_the_database_is_described(manifest: Manifest, refreshed: Refresh) -> None:
    """Documentation covers all models and columns, and is stored as comments for users of psql."""
    database = refreshed(1, 2_000, LAST).database
    undescribed = database.rows(
        """
        select n.nspname, c.relname, a.attname from pg_class c
        join pg_namespace n on n.oid = c.relnamespace
        join pg_attribute a on a.attrelid = c.oid and a.attnum >= 0 and not a.attisdropped
        left join pg_description d on d.objoid = c.oid and d.objsubid = a.attnum
        where n.nspname like 'dwh\\_%' and c.relkind in ('r', 'v') and coalesce(d.description, '') = ''
        """
    )
    assert undescribed == []
    columns = database.rows("select table_name, count(*) from information_schema.columns where table_schema like 'dwh\\_%' group by 1")
    # The journals beside the facts are not models.
    assert set(columns) - {("reperes", 7)} == {(model.name, len(model.columns)) for model in models(manifest)}


def test_every_dashboard_has_an_exposure_with_its_endpoint_and_mart(manifest: Manifest) -> None:
    """The exposures describe what the API serves."""
    said = {
        (exposure.config.meta["endpoint"], manifest.nodes[parent].schema, manifest.nodes[parent].name)
        for exposure in manifest.exposures.values()
        for parent in exposure.depends_on.nodes
    }
    assert said == {(f"/api/{d.name}/summary", d.schema, d.mart) for d in DASHBOARDS}


@pytest.mark.parametrize(("seed", "as_of"), [(1, LAST), pytest.param(2, EARLIER, marks=pytest.mark.slow)])
def test_all_data_tests_pass_on_generated_data(dbt: Dbt, refreshed: Refresh, manifest: Manifest, seed: int, as_of: date) -> None:
    """Normal, messy data fail no test and cause no warning; both halves of the project have tests."""
    case = refreshed(seed, 2_000, as_of)
    done = dbt.invoke(case.database, "test", "--exclude-resource-type", "unit_test", variables={"as_of": as_of.isoformat()})
    assert failures(done) == {}
    ran = [manifest.nodes[name] for name in nodes_of(done) if name.startswith("test.")]
    phase2 = [test for test in ran if {name.rpartition(".")[2] for name in test.depends_on_nodes} & P2]
    assert min(len(phase2), len(ran) - len(phase2)) > 30


@pytest.mark.slow
def test_unit_tests_pass(dbt: Dbt, refreshed: Refresh) -> None:
    """Unit tests cover the difficult rules at their boundaries."""
    as_of = {"as_of": LAST.isoformat()}
    ran = dbt.succeed(refreshed(3, 60, LAST).database, "test", "--select", "test_type:unit", variables=as_of)
    assert len(ran) >= 12


@pytest.fixture
def spoilt(postgres: EmbeddedPostgres, refreshed: Refresh) -> Database:
    """A refreshed database that tests may break; dropped afterwards."""
    return create_database(postgres, "gate", template=refreshed(3, 60, LAST).database.name)


def test_broken_data_fail_the_tests_that_watch_them(dbt: Dbt, spoilt: Database) -> None:
    """The positive control: every kind of test finds its fault, and no other test fails."""
    spoilt.run(
        """
        insert into dwh_facts.fait_emplois_crees select * from dwh_facts.fait_emplois_crees;
        update dwh_marts_operationnel.mart_indemnisations set montant_paye = montant_paye + 1, montant_du = montant_du + 1
            where ctid = '(0,1)';
        update dwh_facts.fait_implantations set statut = 'perdue' where ctid = '(0,1)';
        update dwh_facts.fait_indemnisations set zone_id = null where ctid in (select ctid from dwh_facts.fait_indemnisations limit 6);
        update dwh_marts_financier.mart_creances_agees set montant_encours = -1, montant_net = montant_net + 1 where ctid = '(0,1)';
        update dwh_facts.fait_factures set zone_id = 0, date_emission = date_emission - 93 where ctid is not null;
        delete from dwh_marts_operationnel.mart_emplois_crees;
        insert into dwh_marts_operationnel.mart_indemnisations select * from dwh_marts_operationnel.mart_indemnisations;
        """
    )
    done = dbt.invoke(spoilt, "test", "--select", "tag:P2", "--exclude-resource-type", "unit_test", variables={"as_of": LAST.isoformat()})
    drop_database(spoilt)
    failed = failures(done)
    found = {name.split(".")[2]: said.partition(":")[0] for name, said in failed.items()}
    expected = {
        "unique_fait_emplois_crees_emploi_sk": "fail",
        "row_count_at_most_of_mart_indemnisations_ref_fait_indemnisations_": "fail",
        "not_empty_mart_emplois_crees_": "fail",
        "not_negative_mart_creances_agees_montant_encours": "fail",
        "creances_match_sources": "fail",
        "null_share_below_fait_indemnisations_zone_id__0_1": "warn",
        "recent_within_fait_factures_date_emission__92": "warn",
        "relationships_fait_factures_zone_id__zone_id__ref_dim_zones_": "warn",
    }
    assert expected == {name: found.get(name) for name in expected}, found
    for beginning in (
        "accepted_values_fait_implantations_statut",
        "totals_match_mart_indemnisations_montant_paye",
        "total_matches_source_mart_",
    ):
        assert any(name.startswith(beginning) for name in found), found
    assert not any("mart_implantation_suivi" in name for name in found)


def standing(database: Database, names: set[str]) -> set[tuple[object, ...]]:
    """Return these relations with their object ids, which change when a relation is created again."""
    query = "select relname, oid from pg_class where relkind in ('r', 'v') and relnamespace::regnamespace::text like 'dwh%'"
    return {row for row in database.rows(query) if row[0] in names}


@pytest.mark.slow
def test_neither_refresh_touches_what_the_other_builds(dbt: Dbt, spoilt: Database, manifest: Manifest) -> None:
    """`main` after phase 2, and phase 2 after `main`: relations of the other refresh keep their IDs. The control: its own change."""
    main = {model.name for model in models(manifest)} - P2
    for selector, own, others in (("P1", main, P2), ("P2", P2, main)):
        before = standing(spoilt, own), standing(spoilt, others)
        dbt.succeed(spoilt, "run", "--selector", selector, variables={"as_of": LAST.isoformat()})
        assert len(before[1]) == len(others)
        assert standing(spoilt, others) == before[1]
        assert not standing(spoilt, own) & before[0]
    drop_database(spoilt)


@pytest.mark.slow
def test_dashboards_may_read_the_marts_alone(tmp_path: Path, spoilt: Database) -> None:
    """A role that a run grants may read all marts, also after a rebuild, and neither facts nor staging."""
    role = "lecteurs"
    variables: Variables = {"as_of": LAST.isoformat(), "roles_dashboards": [role]}
    spoilt.run(f"create role {role}")
    Dbt(tmp_path, variables=variables).succeed(spoilt, "run", "--select", "mart_emplois_crees", "mart_creances_agees", variables=variables)
    readable = spoilt.rows(
        f"""
        select relname from pg_class c join pg_namespace n on n.oid = relnamespace
        where nspname like 'dwh%' and has_schema_privilege('{role}', n.oid, 'usage') and has_table_privilege('{role}', c.oid, 'select')
            and relkind in ('r', 'v')
        """
    )
    schemas = spoilt.rows(f"select nspname from pg_namespace where nspname like 'dwh%' and has_schema_privilege('{role}', oid, 'usage')")
    drop_database(spoilt)
    assert set(readable) == {("mart_emplois_crees",), ("mart_creances_agees",)}
    assert set(schemas) == {("dwh_marts_operationnel",), ("dwh_marts_financier",)}


INTRUDER = "create table public.intrus (n integer)"
NOT_SQL: dict[str, tuple[Variables, str]] = {
    "a role and a statement": ({"roles_dashboards": [f"public; {INTRUDER}"]}, "is not the name of a role"),
    "a role that ends its quotes": ({"roles_dashboards": [f'x"; {INTRUDER}; --']}, "is not the name of a role"),
    "an object for roles": ({"roles_dashboards": {"lecteurs": True}}, "must be a list of roles"),
    "a year and a statement": ({"calendrier_premiere_annee": f"2015, 1, 1) as premier) as x; {INTRUDER}; --"}, "must be a year between"),
    "a year in quotes": ({"calendrier_premiere_annee": "2015"}, "must be a year between"),
}


@pytest.fixture(scope="module")
def with_roles(postgres: EmbeddedPostgres, refreshed: Refresh) -> Iterator[Database]:
    """A separate warehouse with oddly named roles."""
    database = create_database(postgres, "roles", template=refreshed(3, 60, LAST).database.name)
    roles = '"Lecteurs du BI", "prenom.nom@exemple.org"'
    for role in roles.split(", "):
        database.run(f"create role {role}")
    yield database
    database.run(f"drop owned by {roles}; drop role {roles}")
    drop_database(database)


@pytest.mark.slow
@pytest.mark.parametrize(("variables", "says"), NOT_SQL.values(), ids=NOT_SQL.keys())
def test_a_variable_is_no_sql(tmp_path: Path, dbt: Dbt, with_roles: Database, variables: Variables, says: str) -> None:
    """Variables are validated at parse time and with a stored manifest; the control is the next test, with odd but valid values."""
    whole: Variables = {"as_of": LAST.isoformat(), **variables}
    with pytest.raises(AssertionError, match=says):
        Dbt(tmp_path, variables=whole).manifest(with_roles)
    done = dbt.invoke(with_roles, "run", "--select", "dim_calendrier", variables=whole)
    assert not done.success
    assert says in str(done.exception) + str(failures(done))
    assert with_roles.rows("select to_regclass('public.intrus')") == [(None,)]


@pytest.mark.slow
@pytest.mark.parametrize("roles", [["Lecteurs du BI", "prenom.nom@exemple.org", "public"], "Lecteurs du BI"])
def test_roles_of_any_name_may_read(tmp_path: Path, with_roles: Database, roles: list[str] | str) -> None:
    """Upper case, blanks, a single role, PUBLIC. The test runs twice, because the second run must not revoke anything."""
    variables: Variables = {"as_of": LAST.isoformat(), "roles_dashboards": roles, "calendrier_premiere_annee": 2016}
    for _ in range(2):
        Dbt(tmp_path, variables=variables).succeed(with_roles, "run", "--select", "mart_emplois_crees", variables=variables)
        for role in [roles] if isinstance(roles, str) else roles:
            mart = "dwh_marts_operationnel.mart_emplois_crees"
            assert with_roles.rows(f"select has_table_privilege('{role}', '{mart}', 'select')") == [(True,)]


def test_the_calendar_is_pythons(refreshed: Refresh) -> None:
    """Every day from 2015 to the end of next year, with ISO 8601 week, month and quarter."""
    days = refreshed(3, 60, LAST).database.rows(
        """
        select jour, annee, mois, jour_mois, annee_iso, semaine_iso, jour_semaine, est_weekend, trimestre,
            premier_jour_mois, dernier_jour_mois
        from dwh_dimensions.dim_calendrier order by jour
        """
    )
    first, last = date(2015, 1, 1), date(2027, 12, 31)
    expected = []
    for day in (first + timedelta(days=number) for number in range((last - first).days + 1)):
        month = day.replace(day=1), day.replace(day=monthrange(day.year, day.month)[1])
        expected.append((day, day.year, day.month, day.day, *day.isocalendar(), day.isoweekday() > 5, (day.month + 2) // 3, *month))
    assert days == expected


@pytest.mark.parametrize(("seed", "rows", "as_of"), [(1, 2_000, LAST), (3, 60, LAST)])
def test_the_share_of_null_keys_is_far_below_the_limit(refreshed: Refresh, seed: int, rows: int, as_of: date) -> None:
    """Normal data have records without zone or date, but never enough for a warning."""
    database = refreshed(seed, rows, as_of).database
    for mart, keys in KEYS.items():
        shares = ", ".join(f"avg(({key} is null)::int)" for key in keys)
        (row,) = database.rows(f"select {shares} from {mart}")
        assert max(float(str(share)) for share in row) < 0.07, mart


def test_an_as_of_that_is_no_date_is_refused(dbt: Dbt, refreshed: Refresh) -> None:
    """A typo in a variable is an error that contains the value, and not a wrong number."""
    done = dbt.invoke(refreshed(3, 60, LAST).database, "run", "--select", "fait_factures", variables={"as_of": "30/06/2026"})
    assert not done.success
    assert "not '30/06/2026'" in str(done.exception) + str(failures(done))


@pytest.mark.slow
def test_the_sql_is_clean(request: pytest.FixtureRequest) -> None:
    """sqlfluff finds nothing; files found clean before are not checked again."""
    files = [PROJECT / ".sqlfluff", *sorted(path for folder in ("macros", "models", "tests") for path in (PROJECT / folder).rglob("*.sql"))]
    digest = sha256(b"".join(path.read_bytes() for path in files) + version("sqlfluff").encode()).hexdigest()
    cache = request.config.cache
    assert cache
    if cache.get("sqlfluff/clean", None) == digest:
        return
    command = [sys.executable, "-m", "sqlfluff", "lint", "models", "tests", "--disable-progress-bar", "--nocolor"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    cache.set("sqlfluff/clean", digest)
