"""The dbt project keeps its own rules: it parses without a warning, is documented, named and tagged as agreed, and its tests pass."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import date
from hashlib import sha256
from importlib.metadata import version

import pytest
from dbt.contracts.graph.manifest import Manifest
from dbt.contracts.graph.nodes import ModelNode

from refresh_examples.embedded import EmbeddedPostgres
from refresh_examples.summaries import DASHBOARDS
from support.dbt_project import PROJECT, Dbt, failures
from support.postgres import Database, create_database, drop_database

from .conftest import Refreshed

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
PREFIXES = {"staging": "stg_", "dimensions": "dim_", "facts": "fait_", "marts": "mart_"}
KEYS = {
    "dwh_marts_operationnel.mart_implantation_suivi": ("zone_id", "annee", "mois"),
    "dwh_marts_operationnel.mart_indemnisations": ("zone_id", "annee", "mois"),
    "dwh_marts_operationnel.mart_emplois_crees": ("zone_id", "annee", "mois"),
    "dwh_marts_financier.mart_creances_agees": ("tranche_anciennete", "niveau_risque"),
}


@pytest.fixture(scope="module")
def manifest(dbt: Dbt, postgres: EmbeddedPostgres) -> Manifest:
    """The project, parsed with every warning an error."""
    return dbt.manifest(Database(postgres, postgres.access.database))


def models(manifest: Manifest) -> list[ModelNode]:
    """All models of the project."""
    return [node for node in manifest.nodes.values() if isinstance(node, ModelNode)]


def test_phase_2_is_exactly_what_the_old_flow_built(manifest: Manifest) -> None:
    """The tag P2 marks the three staging models, four facts and four marts, and nothing else."""
    assert {model.name for model in models(manifest) if "P2" in model.tags} == P2


def test_the_main_pipeline_needs_nothing_of_phase_2(manifest: Manifest) -> None:
    """No model without the tag reads one with it, and each says who builds it, so that phase 2 can ask for `main`."""
    for model in models(manifest):
        if model.name in P2:
            assert "built_by" not in model.config.meta
        else:
            assert model.config.meta["built_by"] == "main"
            assert not {parent.rsplit(".", 1)[-1] for parent in model.depends_on.nodes} & P2


def test_names_and_schemas_follow_the_layers(manifest: Manifest) -> None:
    """Folder, prefix and schema agree, names are short enough for dbt's own suffixes."""
    for model in models(manifest):
        layer = model.path.split("/")[0]
        assert model.name.startswith(PREFIXES[layer])
        assert model.schema in SCHEMAS[layer]
        assert len(model.name) <= 50
        assert layer != "marts" or model.path.split("/")[1] in model.tags


def test_facts_and_marts_are_under_contract(manifest: Manifest) -> None:
    """Their columns and types are promised; the keys that are validated may be null."""
    for model in models(manifest):
        if model.name.startswith(("fait_", "mart_", "dim_")):
            assert model.config.contract.enforced
            constrained = {name for name, column in model.columns.items() if column.constraints}
            assert all(name.endswith("_sk") for name in constrained)


def test_every_column_in_the_database_is_described(manifest: Manifest, refreshed: Refresh) -> None:
    """Documentation covers all models and columns, and is there as comments for whoever looks with psql."""
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
    assert set(columns) == {(model.name, len(model.columns)) for model in models(manifest)}
    assert all(model.description for model in models(manifest))
    assert all(source.description and all(c.description for c in source.columns.values()) for source in manifest.sources.values())


def test_every_dashboard_has_an_exposure_with_its_endpoint_and_mart(manifest: Manifest) -> None:
    """What dbt says about the dashboards is what the API serves."""
    said = {
        (exposure.config.meta["endpoint"], manifest.nodes[parent].schema, manifest.nodes[parent].name)
        for exposure in manifest.exposures.values()
        for parent in exposure.depends_on.nodes
    }
    assert said == {(f"/api/{d.name}/summary", d.schema, d.mart) for d in DASHBOARDS}


@pytest.mark.parametrize("selection", [["--select", "tag:P2"], ["--exclude", "tag:P2"]], ids=["P2", "P1"])
@pytest.mark.parametrize(("seed", "as_of"), [(1, LAST), (2, EARLIER)])
def test_all_data_tests_pass_on_generated_data(dbt: Dbt, refreshed: Refresh, seed: int, as_of: date, selection: list[str]) -> None:
    """Normal data, messy as they are, fail no test; both halves of the project have tests."""
    case = refreshed(seed, 2_000, as_of)
    ran = dbt.succeed(case.database, "test", *selection, "--exclude-resource-type", "unit_test", variables={"as_of": as_of.isoformat()})
    assert len(ran) > 20


def test_unit_tests_pass(dbt: Dbt, refreshed: Refresh) -> None:
    """The trickier rules hold at their borders."""
    as_of = {"as_of": LAST.isoformat()}
    ran = dbt.succeed(refreshed(3, 60, LAST).database, "test", "--select", "test_type:unit", variables=as_of)
    assert len(ran) >= 12


@pytest.fixture
def spoilt(postgres: EmbeddedPostgres, refreshed: Refresh) -> Database:
    """A refreshed database to break."""
    return create_database(postgres, "gate", template=refreshed(3, 60, LAST).database.name)


def test_broken_data_fail_the_tests_that_watch_them(dbt: Dbt, spoilt: Database) -> None:
    """Positive control: a doubled key, a lost amount, a foreign word and a negative sum are all seen."""
    spoilt.run(
        """
        insert into dwh_facts.fait_emplois_crees select * from dwh_facts.fait_emplois_crees limit 1;
        update dwh_marts_operationnel.mart_indemnisations set montant_paye = montant_paye + 1 where ctid = '(0,1)';
        update dwh_facts.fait_implantations set statut = 'perdue' where ctid = '(0,1)';
        update dwh_marts_financier.mart_creances_agees set montant_encours = -1 where ctid = '(0,1)';
        delete from dwh_marts_operationnel.mart_emplois_crees;
        """
    )
    done = dbt.invoke(spoilt, "test", "--select", "tag:P2", "--exclude-resource-type", "unit_test")
    drop_database(spoilt)
    failed = {name.split(".")[2] for name in failures(done)}
    assert {
        "unique_fait_emplois_crees_emploi_sk",
        "not_empty_mart_emplois_crees_",
        "not_negative_mart_creances_agees_montant_encours",
        "totals_match_mart_indemnisations_montant_paye__ref_fait_indemnisations___montant_paye",
    } <= failed
    assert any(name.startswith("accepted_values_fait_implantations_statut") for name in failed)
    assert not any("mart_implantation_suivi" in name for name in failed)


@pytest.mark.parametrize(("seed", "rows", "as_of"), [(1, 2_000, LAST), (3, 60, LAST)])
def test_the_share_of_null_keys_is_far_below_the_limit(refreshed: Refresh, seed: int, rows: int, as_of: date) -> None:
    """Normal data have records without zone or date, but never enough of them to warn."""
    database = refreshed(seed, rows, as_of).database
    for mart, keys in KEYS.items():
        shares = ", ".join(f"avg(({key} is null)::int)" for key in keys)
        (row,) = database.rows(f"select {shares} from {mart}")
        assert max(float(str(share)) for share in row) < 0.07, mart


def test_an_as_of_that_is_no_date_is_refused(dbt: Dbt, refreshed: Refresh) -> None:
    """A slip in a variable is an error that shows the value, not a wrong number."""
    done = dbt.invoke(refreshed(3, 60, LAST).database, "run", "--select", "fait_factures", variables={"as_of": "30/06/2026"})
    assert not done.success
    assert "not '30/06/2026'" in str(done.exception) + str(failures(done))


def test_the_sql_is_clean(request: pytest.FixtureRequest) -> None:
    """sqlfluff finds nothing; what it has found clean before it need not read again."""
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
