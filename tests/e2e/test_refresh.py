"""A refresh on a real cluster: applied by kubectl, run in a pod against PostgreSQL, read by kubectl."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import pytest
import yaml

from refresh_examples.sources import Sources
from refresh_examples.truth import Mart, truth
from support.eventually import eventually
from support.real_cluster import AS_OF, ROWS, SEED, sample_manifest

_BY_MONTH = ("zone_id", "annee", "mois")
MARTS = {
    "mart_implantation_suivi": ("dwh_marts_operationnel", _BY_MONTH),
    "mart_indemnisations": ("dwh_marts_operationnel", _BY_MONTH),
    "mart_emplois_crees": ("dwh_marts_operationnel", _BY_MONTH),
    "mart_creances_agees": ("dwh_marts_financier", ("tranche_anciennete", "niveau_risque")),
}
QUERIES_ON_THE_LOG = (
    "SELECT * FROM dbt_refresh_log WHERE run_date >= NOW() - INTERVAL '24 hours' ORDER BY run_date DESC",
    "SELECT * FROM dbt_refresh_log ORDER BY run_date DESC LIMIT 1",
)
ENDPOINTS = ("implantation-suivi", "indemnisations", "emplois-crees", "creances-agees")


def conditions(status: dict) -> dict[str, tuple[str, str]]:
    return {condition["type"]: (condition["status"], condition["reason"]) for condition in status["conditions"]}


def step_states(status: dict) -> dict[str, str]:
    return {step["name"]: step["state"] for step in status["run"]["steps"]}


@pytest.fixture
def broken_source(installation):
    """Remove a column of a source while the block runs, so that a staging model fails."""
    installation.psql("alter table sigeti.indemnisations rename column montant_du to montant_disparu")
    yield "montant_du"
    installation.psql("alter table sigeti.indemnisations rename column montant_disparu to montant_du")


@dataclass(frozen=True)
class Done:
    """A refresh whose first run has ended, and what that run left."""

    refresh: str
    run: dict
    status: dict


@pytest.fixture(scope="module")
def first(installation) -> Iterator[Done]:
    """A refresh shared by several tests in order: its API must prove which data it serves, and one run has ended."""
    name = "phase2-first"
    cache = yaml.safe_load(sample_manifest("phase2", name))["spec"]["cache"] | {"version": {"header": "X-Data-Version"}}
    installation.kubectl.apply(sample_manifest("phase2", name, cache=cache))
    installation.request_run(name, "first")
    done = installation.wait_for_run(name, "first")
    yield Done(name, done, installation.status(name))
    installation.kubectl.attempt("delete", "dashboardrefresh", name, "--cascade=foreground", "--wait=true")


def test_a_first_run_refreshes_the_dashboards(installation, first):
    """The whole product at once: 4/4 marts, six steps, a log row, and four endpoints that serve this run's data."""
    done, status = first.run, first.status
    assert (done["outcome"], done["marts"], done["trigger"]) == ("Succeeded", "4/4", "Requested"), done
    assert list(step_states(status).values()) == ["Succeeded"] * 6
    assert conditions(status)["Ready"] == ("True", "Scheduled")
    assert conditions(status)["LastRunSucceeded"] == ("True", "Succeeded")
    assert [endpoint["version"] for endpoint in status["run"]["endpoints"]] == [done["id"]] * 4
    row = json.loads(installation.psql(f"select row_to_json(l) from dbt_refresh_log l where run_id = '{done['id']}'", "-At"))
    assert (row["success"], row["models_updated"], row["notes"]) == (True, 4, "Phase 2 refresh - 4/4 marts validated")
    assert [done["id"] in installation.psql(query, "-At") for query in QUERIES_ON_THE_LOG] == [True, True]
    for endpoint, (mart, (schema, _)) in zip(ENDPOINTS, MARTS.items(), strict=True):
        rows = int(installation.psql(f"SELECT COUNT(*) FROM {schema}.{mart}", "-At"))
        assert installation.dashboard_summary(endpoint)["rows"] == rows > 0


def test_the_marts_equal_the_truth(installation, first):
    """Compares cell by cell with a computation in Python, independent of the SQL; the control: another day's truth differs."""
    assert first.run["outcome"] == "Succeeded"
    lines = Sources(ROWS, SEED, date.fromisoformat(AS_OF)).tables()
    earlier = date.fromisoformat(AS_OF) - timedelta(days=120)
    for mart, (schema, keys) in MARTS.items():
        found = {tuple(row[key] for key in keys): row for row in installation.rows(f"{schema}.{mart}")}
        assert found == written(truth(lines, date.fromisoformat(AS_OF))[mart])
        assert found != written(truth(lines, earlier)[mart])


def test_an_earlier_version_is_put_back_by_an_annotation(installation, first):
    """A rollback is only safe if scheduled runs do not overwrite it: publishing is held until a run with mode `resume`."""
    earlier = (date.fromisoformat(AS_OF) - timedelta(days=400)).isoformat()
    installation.kubectl(
        "patch", "dashboardrefresh", first.refresh, "--type=merge", "-p", json.dumps({"spec": {"dbt": {"vars": {"as_of": earlier}}}})
    )
    rows = installation.dashboard_summary("implantation-suivi")["rows"]
    installation.request_run(first.refresh, "other-data")
    assert installation.wait_for_run(first.refresh, "other-data")["outcome"] == "Succeeded"
    assert installation.dashboard_summary("implantation-suivi")["rows"] < rows

    installation.request_run(first.refresh, "back", "rollback")
    back = installation.wait_for_run(first.refresh, "back")
    assert (back["outcome"], back["reason"], back["marts"]) == ("Succeeded", "RolledBack", "4/4"), back
    assert installation.dashboard_summary("implantation-suivi")["rows"] == rows
    assert [each["version"] for each in installation.status(first.refresh)["run"]["endpoints"]] == [first.run["id"]] * 4

    installation.request_run(first.refresh, "held", "refresh")
    held = installation.wait_for_run(first.refresh, "held")
    assert (held["outcome"], held["reason"]) == ("Skipped", "PublishingHeld"), held


def test_a_deleted_refresh_leaves_nothing(installation, first):
    """CronJob, Jobs, pods and permissions are owned by the refresh; anything left would run again."""
    label = f"dashboards.sigeti.io/refresh={first.refresh}"
    kinds = "cronjobs,jobs,pods,serviceaccounts,roles,rolebindings"
    assert len(installation.kubectl.names(kinds, "-l", label)) >= 6
    installation.kubectl("delete", "dashboardrefresh", first.refresh)
    eventually(
        lambda: installation.kubectl.names(kinds, "-l", label) == [], within=60, context=lambda: installation.kubectl.describe("pods")
    )


def test_a_broken_model_fails_the_run_and_tells_everybody(installation, apply_phase2, broken_source):
    """The status contains the model's own error, later steps are skipped, both notifications arrive, and Ready stays True."""
    name = apply_phase2()
    installation.request_run(name, "broken")
    done = installation.wait_for_run(name, "broken")
    status = installation.status(name)
    assert (done["outcome"], done["reason"]) == ("Failed", "LayerFailed"), done
    assert "stg_indemnisations" in done["message"]
    assert broken_source in done["message"]
    assert step_states(status) == {"staging": "Failed", **dict.fromkeys(["facts", "marts", "tests", "validation", "cache"], "Skipped")}
    assert conditions(status)["LastRunSucceeded"] == ("False", "LayerFailed")
    assert conditions(status)["Ready"][0] == "True"
    assert installation.psql(f"select success from dbt_refresh_log where run_id = '{done['id']}'", "-At").strip() == "f"
    told = [message for message in installation.inbox_messages() if done["id"] in message["text"]]
    assert {message["channel"] for message in told} == {"slack", "email"}


def test_an_api_that_is_away_is_a_warning(installation, apply_phase2):
    """The data are new although the cache is not, so that the run is Warned and not Failed."""
    name = apply_phase2()
    installation.kubectl("scale", "deployment/dashboard-api", "--replicas=0")
    installation.kubectl("wait", "--for=delete", "pod", "-l", "app=dashboard-api", "--timeout=60s")
    try:
        installation.request_run(name, "no-api")
        done = installation.wait_for_run(name, "no-api")
    finally:
        installation.kubectl("scale", "deployment/dashboard-api", "--replicas=1")
        installation.kubectl("rollout", "status", "deployment/dashboard-api")
    assert (done["outcome"], done["reason"], done["marts"]) == ("Warned", "SucceededWithWarnings", "4/4"), done
    assert step_states(installation.status(name))["cache"] == "Warned"


@pytest.mark.slow
def test_a_token_asks_for_one_run_also_across_a_restart_of_the_operator(installation, apply_phase2):
    """A restart must not start a second Job for a token that is already handled; a new token starts one."""
    name = apply_phase2()
    installation.request_run(name, "once")
    first = installation.wait_for_run(name, "once")
    installation.kubectl("rollout", "restart", "deployment/dashboard-refresh")
    installation.kubectl("rollout", "status", "deployment/dashboard-refresh", "--timeout=90s", timeout=120)
    installation.kubectl("annotate", "dashboardrefresh", name, "--overwrite", "dashboards.sigeti.io/requestedAt=once", "note=touched")
    installation.request_run(name, "twice")
    second = installation.wait_for_run(name, "twice")
    assert [run["id"] for run in installation.status(name)["history"]] == [second["id"], first["id"]]


def written(mart: Mart) -> dict[tuple, dict]:
    """Return a mart's rows as PostgreSQL writes them in JSON."""

    def text(value: object) -> object:
        return value.isoformat() if isinstance(value, date) else value

    return {tuple(text(part) for part in key): {column: text(value) for column, value in row.items()} for key, row in mart.items()}
