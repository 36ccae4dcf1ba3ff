"""Validation of manifests by the API server: valid ones are accepted, and invalid ones are rejected with a helpful message."""

import copy
import json

import pytest
import yaml

from support.snapshots import ROOT

SAMPLES = sorted((ROOT / "deploy/samples").glob("*.yaml"))


def manifest(**changes):
    """Return the phase 2 sample with changes to its spec; None removes a field."""
    whole = yaml.safe_load((ROOT / "deploy/samples/phase2.yaml").read_text())
    spec = {**whole["spec"], **changes}
    return {**whole, "spec": {key: value for key, value in spec.items() if value is not None}}


def named(name: str):
    whole = copy.deepcopy(manifest())
    whole["metadata"]["name"] = name
    return whole


def layer(**changes):
    return {"name": "staging", "select": ["stg_implantations"], **changes}


SLACK = {"channel": "#a", "webhookSecretRef": {"name": "slack", "key": "url"}}
MAIL = {"to": ["a@b.example"], "smtpSecretRef": {"name": "smtp"}}
MART = {"relation": "dwh_marts_operationnel.mart_implantation_suivi", "keyColumns": ["zone_id"]}

BAD = {
    "an unknown field": (manifest(scheduel="* * * * *"), 'unknown field "spec.scheduel"'),
    "an unknown field deep inside": (manifest(cache={"endpoints": ["/a"], "timeot": "1s"}), 'unknown field "spec.cache.timeot"'),
    "no schedule": (manifest(schedule=None), "spec.schedule: Required value"),
    "a cron line of four fields": (manifest(schedule="30 2 * *"), "write a cron line of five fields"),
    "a minute that does not exist": (manifest(schedule="60 2 * * *"), "write a cron line of five fields"),
    "a zone within the cron line": (manifest(schedule="TZ=Europe/Paris 30 2 * * *"), "write a cron line of five fields"),
    "an unknown zone": (manifest(timeZone="Europe/Pariss"), "Pariss"),
    "the local zone": (manifest(timeZone="Local"), "write the IANA name of a time zone"),
    "a duration in words": (manifest(timeout="15 minutes"), "write a duration like 90s"),
    "a duration of nothing": (manifest(timeout="0s"), "between 1s and 168h"),
    "a duration in days": (manifest(startTimeout="2d"), "write a duration like 90s"),
    "a percentage without its sign": (manifest(validation={"maxNullShare": "10", "marts": [MART]}), "write a percentage like 10%"),
    "more than the whole": (manifest(validation={"maxNullShare": "110%", "marts": [MART]}), "between 0% and 100%"),
    "a quantity in words": (manifest(resources={"limits": {"memory": "4 GB"}}), "write a quantity like 250m"),
    "a request above its limit": (
        manifest(resources={"requests": {"cpu": "3"}, "limits": {"cpu": "2"}}),
        "requests.cpu must not exceed limits.cpu",
    ),
    "no layers": (manifest(layers=[]), "spec.layers"),
    "a layer that selects nothing": (manifest(layers=[layer(select=[])]), "spec.layers[0].select"),
    "an option among the selectors": (manifest(layers=[layer(select=["--full-refresh"])]), "not an option"),
    "two layers of one name": (manifest(layers=[layer(), layer()]), "spec.layers[1]: Duplicate value"),
    "a layer with the name of another step": (manifest(layers=[layer(name="cache")]), "names of other steps"),
    "a mart listed twice": (manifest(validation={"marts": [MART, MART]}), "Duplicate value"),
    "a mart without its schema": (manifest(validation={"marts": [{"relation": "mart", "keyColumns": []}]}), "write a table as schema.name"),
    "a mart in quotes": (manifest(validation={"marts": [{"relation": 'dwh."mart"'}]}), "as PostgreSQL stores it, without quotes"),
    "a mart with a line break": (manifest(validation={"marts": [{"relation": "dwh.mart\n"}]}), "write a table as schema.name"),
    "a column with an escape sequence": (manifest(validation={"marts": [{**MART, "keyColumns": ["a\x1b[2J"]}]}), "write a column's name"),
    "too many retries": (manifest(retries=11), "spec.retries"),
    "an endpoint without its slash": (manifest(cache={"endpoints": ["api/x"]}), "write a path that begins with a slash"),
    "an address without a scheme": (
        manifest(cache={"baseURL": "dashboard-api:8000", "endpoints": ["/a"]}),
        "begins with http:// or https://",
    ),
    "two channels in one": (
        manifest(notifications=[{"slack": SLACK, "email": MAIL}]),
        "name exactly one of slack, email, teams, googleChat, pagerDuty, alertmanager and webhook",
    ),
    "no channel": (
        manifest(notifications=[{"when": ["Failed"]}]),
        "name exactly one of slack, email, teams, googleChat, pagerDuty, alertmanager and webhook",
    ),
    "warnings that nothing resolves": (
        manifest(notifications=[{"pagerDuty": {"routingKeySecretRef": {"name": "pd", "key": "key"}}, "when": ["Failed", "Warned"]}]),
        "pagerDuty and alertmanager take neither Warned nor Succeeded",
    ),
    "successes that nothing resolves": (
        manifest(notifications=[{"alertmanager": {"secretRef": {"name": "am"}}, "when": ["Failed", "Succeeded"]}]),
        "pagerDuty and alertmanager take neither Warned nor Succeeded",
    ),
    "an unknown format of a webhook": (
        manifest(notifications=[{"webhook": {"secretRef": {"name": "hook"}, "format": "XML"}}]),
        'supported values: "Plain", "CloudEvents"',
    ),
    "a label that identifies the alert": (
        manifest(notifications=[{"alertmanager": {"secretRef": {"name": "am"}, "labels": {"refresh": "x"}}}]),
        "alertname, namespace, refresh and __… are set, or reserved",
    ),
    "no mail address": (manifest(notifications=[{"email": {**MAIL, "to": ["everybody"]}}]), "write one mail address"),
    "an unknown policy": (manifest(tests={"select": ["tag:P2"], "failurePolicy": "Ignore"}), 'supported values: "Warn", "Fail"'),
    "a refresh after itself": (
        manifest(dependsOn=[{"name": "phase2-dashboards-refresh"}]),
        "spec.dependsOn: a refresh cannot depend on itself",
    ),
    "an invalid name of a namespace": (manifest(dependsOn=[{"name": "main", "namespace": "Core"}]), "write the name of a namespace"),
    "a name of 53 characters": (named("n" * 53), "at most 52 characters"),
}

GOOD = {
    "only what is needed": {
        "apiVersion": "dashboards.sigeti.io/v1alpha1",
        "kind": "DashboardRefresh",
        "metadata": {"name": "small"},
        "spec": {"schedule": "0 6 * * MON-FRI", "warehouse": {"secretRef": {"name": "w"}}, "layers": [layer()]},
    },
    "the phase 2 sample": manifest(),
    "a name of 52 characters": named("n" * 52),
    "a zone with three parts": manifest(timeZone="America/Argentina/Buenos_Aires"),
    "whole numbers as quantities": manifest(resources={"requests": {"cpu": 1}, "limits": {"cpu": 2, "memory": "4Gi"}}),
    "an hour and a half": manifest(timeout="1h30m"),
    "a refresh after another one": manifest(dependsOn=[{"name": "main"}]),
    "a refresh after one of the same name elsewhere": manifest(dependsOn=[{"name": "phase2-dashboards-refresh", "namespace": "core"}]),
    "names that PostgreSQL must quote": manifest(
        validation={
            "marts": [
                {
                    "relation": "À part, 100%.mart à l'ancienne v1.2",
                    "keyColumns": ["a b", "Zone"],
                    "recency": {"column": "é", "maxAgeDays": 1},
                }
            ]
        }
    ),
    "no notifications": manifest(notifications=None),
}


def applied(contract, whole) -> tuple[bool, str]:
    """Return whether `kubectl apply` succeeds, and its output; nothing is stored."""
    done = contract.attempt("apply", "--dry-run=server", "-f", "-", stdin=json.dumps(whole))
    return done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("whole", "says"), BAD.values(), ids=BAD.keys())
def test_a_bad_one_is_refused_in_words(contract, whole, says):
    """`kubectl apply` names the field, or says what to write instead."""
    taken, words = applied(contract, whole)
    assert not taken
    assert says in words


@pytest.mark.parametrize("whole", GOOD.values(), ids=GOOD.keys())
def test_a_good_one_is_taken(contract, whole):
    """Control of all rejections: these manifests are accepted."""
    taken, words = applied(contract, whole)
    assert taken, words


@pytest.mark.parametrize("file", SAMPLES, ids=[file.stem for file in SAMPLES])
def test_the_samples_are_taken_as_they_are(contract, file):
    """With `kubectl apply -f`, as in the README."""
    assert applied(contract, yaml.safe_load(file.read_text()))[0]


def test_defaults_are_filled_in(contract):
    """`kubectl get -o yaml` shows the defaults of a short manifest."""
    done = contract("apply", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(GOOD["only what is needed"]))
    spec = json.loads(done)["spec"]
    assert (spec["timeZone"], spec["timeout"], spec["retries"], spec["suspend"]) == ("Etc/UTC", "15m", 2, False)
    assert spec["layers"][0]["timeout"] == "120s"
    assert spec["dbt"]["threads"] == 8


def test_two_messages_come_at_once(contract):
    """A user who made two mistakes sees both."""
    _, words = applied(contract, manifest(schedule="bad", timeout="soon"))
    assert "spec.schedule" in words
    assert "spec.timeout" in words
