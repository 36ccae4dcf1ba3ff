"""Parity with the Prefect flow: the samples match it, and every fact of it has a test."""

import re
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path

import yaml

from refresh_api import cron
from refresh_api import steps as contract
from refresh_api.run_request import Manifest
from refresh_api.steps import FailurePolicy

ROOT = Path(__file__).parents[2]


def manifest(name: str) -> Manifest:
    return Manifest.model_validate(yaml.safe_load((ROOT / "deploy" / "samples" / f"{name}.yaml").read_text()))


PHASE2, MAIN = manifest("phase2"), manifest("main")
MARTS = ["mart_implantation_suivi", "mart_indemnisations", "mart_emplois_crees", "mart_creances_agees"]


def absent(tests: list[str]) -> list[str]:
    """Return the tests, as file and function, that do not exist."""

    def exists(test: str) -> bool:
        path, _, function = test.partition("::")
        return bool(function) and re.search(rf"def {re.escape(function)}\(", (ROOT / path).read_text()) is not None

    return [test for test in tests if not (ROOT / test.partition("::")[0]).is_file() or not exists(test)]


def test_every_fact_names_a_test_that_exists():
    """By file and function, so that a renamed test is noticed."""
    assert absent([fact["test"] for fact in yaml.safe_load((ROOT / "tests" / "parity.yaml").read_text())]) == []
    assert absent(["tests/unit/test_parity.py::test_of_nothing", "tests/nowhere.py::test_a"]) != []


def test_every_fault_names_tests_that_exist():
    """Every fault from F1 on is listed and has at least one test."""
    faults = yaml.safe_load((ROOT / "tests" / "faults.yaml").read_text())
    assert [fault["fault"] for fault in faults] == [f"F{number}" for number in range(1, len(faults) + 1)]
    assert all(fault["tests"] for fault in faults)
    assert absent([test for fault in faults for test in fault["tests"]]) == []


def test_the_layers_build_the_models_of_the_old_flow():
    """Three staging models, four facts, four marts, in this order."""
    assert {layer.name: layer.select for layer in PHASE2.spec.layers} == {
        "staging": ["stg_implantations", "stg_indemnisations", "stg_emplois_crees"],
        "facts": ["fait_implantations", "fait_indemnisations", "fait_emplois_crees", "fait_factures"],
        "marts": MARTS,
    }


def test_the_steps_keep_their_limits():
    """120 seconds and one retry, also for tests; failing tests warn."""
    tests = PHASE2.spec.tests
    assert tests is not None
    steps: list[contract.Layer | contract.Tests] = [*PHASE2.spec.layers, tests]
    assert {(step.timeout, step.retries) for step in steps} == {("120s", 1)}
    assert (tests.select, tests.failure_policy) == (["tag:P2"], FailurePolicy.WARN)


def test_the_marts_are_validated_by_their_keys():
    """Three marts by zone and month, receivables by age and risk, each in its schema."""
    validation = PHASE2.spec.validation
    assert validation is not None
    by_month = ["zone_id", "annee", "mois"]
    assert {mart.relation: mart.key_columns for mart in validation.marts} == {
        "dwh_marts_operationnel.mart_implantation_suivi": by_month,
        "dwh_marts_operationnel.mart_indemnisations": by_month,
        "dwh_marts_operationnel.mart_emplois_crees": by_month,
        "dwh_marts_financier.mart_creances_agees": ["tranche_anciennete", "niveau_risque"],
    }
    assert validation.max_null_share == "10%"


def test_the_cache_step_calls_the_four_endpoints():
    """Each with 30 seconds."""
    cache = PHASE2.spec.cache
    assert cache is not None
    assert cache.timeout == "30s"
    assert cache.endpoints == [
        f"/api/{name}/summary" for name in ("implantation-suivi", "indemnisations", "emplois-crees", "creances-agees")
    ]


def test_phase2_runs_eight_times_a_day():
    """At half past two, five, eight and so on, in UTC."""
    assert (PHASE2.metadata.name, PHASE2.spec.schedule, PHASE2.spec.time_zone) == (
        "phase2-dashboards-refresh",
        "30 2,5,8,11,14,17,20,23 * * *",
        "Etc/UTC",
    )
    midnight = datetime(2026, 11, 23, tzinfo=UTC)
    runs = list(takewhile(lambda start: start < midnight + timedelta(days=1), cron.parse(PHASE2.spec.schedule).after(midnight)))
    assert len(runs) == 8


def test_main_runs_every_ten_minutes_without_p2():
    """All models without tag P2, then their tests."""
    tests = MAIN.spec.tests
    assert tests is not None
    assert MAIN.spec.schedule == "*/10 * * * *"
    assert [layer.exclude for layer in MAIN.spec.layers] == [["tag:P2"]]
    assert tests.exclude == ["tag:P2"]


def test_the_marts_stand_where_they_stood():
    """By folder and tag."""
    models = ROOT / "dbt_project" / "models" / "marts"
    folders = {path.stem: path.parent.name for path in models.rglob("mart_*.sql") if path.stem in MARTS}
    assert folders == {**dict.fromkeys(MARTS[:3], "operationnel"), MARTS[3]: "financier"}


def test_the_labels_are_kept():
    """Users select by `-l production`."""
    labels = yaml.safe_load((ROOT / "deploy" / "samples" / "phase2.yaml").read_text())["metadata"]["labels"]
    assert labels == dict.fromkeys(["phase2", "dashboards", "nouveaux-marts", "production"], "true")


def test_the_run_keeps_its_limits():
    """CPU, memory, disk, threads, time and retries."""
    spec = PHASE2.spec
    limits = spec.resources.limits
    assert (limits.cpu, limits.memory, limits.ephemeral_storage) == ("2", "4Gi", "10Gi")
    assert (spec.dbt.threads, spec.timeout, spec.retries) == (8, "15m", 2)
