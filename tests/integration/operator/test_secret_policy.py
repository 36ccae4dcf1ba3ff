"""With a policy for Secrets, no pod gets a denied Secret, and no denied Secret of a channel is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from support.operator_harness import WAREHOUSE, OperatorHarness
from support.webserver import WebServer

LABEL = "dashboards.sigeti.io/allow"
READY = {"warehouse", "slack", "smtp"}


@pytest.fixture(scope="module")
def labelled(create_operator: Callable[..., OperatorHarness]) -> OperatorHarness:
    """An operator that requires the label. No Secret has it."""
    operator = create_operator(SECRETS_POLICY="Labelled", RESYNC="3s", PROJECTS_ALLOWED_URLS="https://git.example.org/*")
    operator.create_secret("slack", {"url": "https://127.0.0.1:9/x"})
    operator.create_secret("smtp", {"host": "127.0.0.1", "from": "a@b"})
    operator.create_secret("keep", {"url": "https://127.0.0.1:9/x"})
    operator.start()
    return operator


def allow(operator: OperatorHarness, name: str, value: str | None = "true") -> None:
    operator.api.patch(operator.namespace, "secrets", name, {"metadata": {"labels": {LABEL: value}}})


def mounted(operator: OperatorHarness, name: str) -> set[str]:
    """Return the Secrets that the refresh's CronJob mounts."""
    template: Any = (operator.cronjob(name) or {})["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return {volume["secret"]["secretName"] for volume in template["volumes"] if "secret" in volume}


def off(operator: OperatorHarness, name: str) -> bool:
    return bool((operator.cronjob(name) or {})["spec"]["suspend"])


def said(operator: OperatorHarness, name: str) -> str:
    return str(next((each["message"] for each in operator.status(name).get("conditions", []) if each["type"] == "Ready"), ""))


def test_a_secret_without_the_label_is_denied_until_it_is_labelled(labelled: OperatorHarness):
    """The refresh is stalled and names each Secret, requests are queued, and no edit is needed afterwards."""
    operator = labelled
    operator.create_refresh("one", token="now")
    operator.wait_for(lambda: operator.condition("one", "Ready") == ("False", "SecretNotAllowed"), 20, "one")
    assert operator.condition("one", "Stalled")[0] == "True"
    assert said(operator, "one").count("missing label dashboards.sigeti.io/allow=true") == 3
    assert "Secret warehouse (spec.warehouse.secretRef) is not allowed" in said(operator, "one")
    assert "Secret slack (spec.notifications[0].slack.webhookSecretRef)" in said(operator, "one")
    assert (mounted(operator, "one"), off(operator, "one"), operator.jobs("one")) == (set(), True, [])
    for name in READY:
        allow(operator, name)
    operator.wait_for(lambda: operator.condition("one", "Ready")[0] == "True", 30, "one")
    operator.wait_for(lambda: mounted(operator, "one") == READY and not off(operator, "one"), 20, "one")
    operator.wait_for_job("one")


def test_a_reference_to_a_denied_secret_removes_its_mounts(labelled: OperatorHarness):
    """Editing a refresh must not give access. A missing Secret is denied too; an edit to an allowed one is the control."""
    operator = labelled
    for name in READY:
        allow(operator, name)
    operator.create_refresh("two")
    operator.wait_until_ready("two")
    operator.patch_spec("two", warehouse={"secretRef": {"name": "keep"}})
    operator.wait_for(lambda: operator.condition("two", "Ready") == ("False", "SecretNotAllowed"), 20, "two")
    operator.wait_for(lambda: mounted(operator, "two") == {"slack", "smtp"} and off(operator, "two"), 20, "two")
    operator.patch_spec("two", warehouse={"secretRef": {"name": "nowhere"}})
    operator.wait_for(lambda: "no such Secret with the label" in said(operator, "two"), 20, "two")
    operator.create_secret("other", WAREHOUSE)
    allow(operator, "other")
    operator.patch_spec("two", warehouse={"secretRef": {"name": "other"}})
    operator.wait_for(lambda: operator.condition("two", "Ready")[0] == "True" and not off(operator, "two"), 20, "two")
    assert mounted(operator, "two") == {"other", "slack", "smtp"}
    # Allowed Secrets are checked again at each resync.
    allow(operator, "other", "false")
    operator.wait_for(lambda: operator.condition("two", "Ready") == ("False", "SecretNotAllowed") and off(operator, "two"), 20, "two")


def test_a_denied_secret_of_a_repository_is_not_given_to_the_fetch(labelled: OperatorHarness):
    """The container that fetches could send it to any server behind the address. The control: the same Secret with the label."""
    operator = labelled
    for name in READY:
        allow(operator, name)
    operator.create_secret("repository", {"password": "p"})
    project = {"git": {"url": "https://git.example.org/velos", "secretRef": {"name": "repository"}}}
    operator.create_refresh("fetched", project=project)
    operator.wait_for(lambda: operator.condition("fetched", "Ready") == ("False", "SecretNotAllowed"), 20, "fetched")
    assert said(operator, "fetched").startswith("Secret repository (spec.project.git.secretRef) is not allowed")
    operator.wait_for(lambda: off(operator, "fetched"), 20, "fetched")
    assert mounted(operator, "fetched") == READY
    allow(operator, "repository")
    operator.wait_for(lambda: operator.condition("fetched", "Ready")[0] == "True" and not off(operator, "fetched"), 30, "fetched")
    assert mounted(operator, "fetched") == READY | {"repository"}


@pytest.fixture(scope="module")
def listed(create_operator: Callable[..., OperatorHarness]) -> OperatorHarness:
    """An operator with a list of Secrets, and notifications disabled."""
    operator = create_operator(SECRETS_POLICY="Listed", SECRETS_ALLOWED="warehouse,sl?ck", NOTIFY="false")
    operator.start()
    return operator


def test_a_list_allows_names_and_patterns(listed: OperatorHarness):
    """A Secret that is not listed is denied without a request for it."""
    operator = listed
    operator.create_refresh("three")
    operator.wait_for(lambda: operator.condition("three", "Ready") == ("False", "SecretNotAllowed"), 20, "three")
    refused = "Secret smtp (spec.notifications[1].email.smtpSecretRef) is not allowed"
    assert said(operator, "three") == f"{refused}: not listed in secrets.allowed of the operator's chart"
    operator.patch_spec("three", notifications=[{"slack": {"channel": "#a", "webhookSecretRef": {"name": "slack", "key": "url"}}}])
    operator.wait_until_ready("three")
    assert mounted(operator, "three") == {"warehouse", "slack"}


def test_an_operator_with_notifications_disabled_sends_none(listed: OperatorHarness):
    """The failed run is still in the status and an event."""
    operator = listed
    with WebServer() as slack:
        operator.create_secret("slack", {"url": slack.url})
        operator.create_refresh(
            "four",
            token="one",
            retries=0,
            notifications=[{"slack": {"channel": "#a", "webhookSecretRef": {"name": "slack", "key": "url"}}}],
        )
        job = operator.wait_for_job("four")
        operator.end_pod(job, 137, reason="OOMKilled")
        assert operator.wait_for_history("four", job)["reason"] == "OOMKilled"
        operator.wait_for(lambda: "RunFailed" in dict(operator.events("four")), 20, "four")
        # A second run shows that everything caused by the first one is finished.
        operator.request_run("four", "two")
        operator.wait_for_job("four")
        assert slack.asked == []
    assert "NotificationFailed" not in json.dumps(operator.events("four"))
