"""Where the operator is told which Secrets refreshes may use, no pod gets another one, and no channel's is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from support.place import WAREHOUSE, Place
from support.webserver import WebServer

LABEL = "dashboards.sigeti.io/allow"
READY = {"warehouse", "slack", "smtp"}


@pytest.fixture(scope="module")
def labelled(places: Callable[..., Place]) -> Place:
    """An operator that asks for the label; no Secret has it."""
    place = places(SECRETS_POLICY="Labelled", RESYNC="3s")
    place.secret("slack", {"url": "https://127.0.0.1:9/x"})
    place.secret("smtp", {"host": "127.0.0.1", "from": "a@b"})
    place.secret("keep", {"url": "https://127.0.0.1:9/x"})
    place.start()
    return place


def allow(place: Place, name: str, value: str | None = "true") -> None:
    place.api.patch(place.namespace, "secrets", name, {"metadata": {"labels": {LABEL: value}}})


def mounted(place: Place, name: str) -> set[str]:
    """The Secrets that the refresh's CronJob mounts."""
    template: Any = (place.cronjob(name) or {})["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return {volume["secret"]["secretName"] for volume in template["volumes"] if "secret" in volume}


def off(place: Place, name: str) -> bool:
    return bool((place.cronjob(name) or {})["spec"]["suspend"])


def said(place: Place, name: str) -> str:
    return str(next((each["message"] for each in place.status(name).get("conditions", []) if each["type"] == "Ready"), ""))


def test_a_refresh_gets_no_secret_without_the_label_and_heals_by_itself(labelled: Place):
    """It is stalled and says which are missing what; requests wait; nobody has to touch it once they have the label."""
    place = labelled
    place.refresh("one", token="now")
    place.until(lambda: place.condition("one", "Ready") == ("False", "SecretNotAllowed"), 20, "one")
    assert place.condition("one", "Stalled")[0] == "True"
    assert said(place, "one").count("it has no label dashboards.sigeti.io/allow=true") == 3
    assert "the Secret warehouse (spec.warehouse.secretRef) is not allowed" in said(place, "one")
    assert "the Secret slack (spec.notifications[0].slack.webhookSecretRef)" in said(place, "one")
    assert (mounted(place, "one"), off(place, "one"), place.jobs("one")) == (set(), True, [])
    for name in READY:
        allow(place, name)
    place.until(lambda: place.condition("one", "Ready")[0] == "True", 30, "one")
    place.until(lambda: mounted(place, "one") == READY and not off(place, "one"), 20, "one")
    place.run_of("one")


def test_a_reference_to_another_secret_takes_every_mount_of_it_away(labelled: Place):
    """Whoever edits a refresh gains nothing; the control: the edit to an allowed one works. One that is not there is not allowed either."""
    place = labelled
    for name in READY:
        allow(place, name)
    place.refresh("two")
    place.ready("two")
    place.edit("two", warehouse={"secretRef": {"name": "keep"}})
    place.until(lambda: place.condition("two", "Ready") == ("False", "SecretNotAllowed"), 20, "two")
    place.until(lambda: mounted(place, "two") == {"slack", "smtp"} and off(place, "two"), 20, "two")
    place.edit("two", warehouse={"secretRef": {"name": "nowhere"}})
    place.until(lambda: "there is none with the label" in said(place, "two"), 20, "two")
    place.secret("other", WAREHOUSE)
    allow(place, "other")
    place.edit("two", warehouse={"secretRef": {"name": "other"}})
    place.until(lambda: place.condition("two", "Ready")[0] == "True" and not off(place, "two"), 20, "two")
    assert mounted(place, "two") == {"other", "slack", "smtp"}
    # What was allowed is asked for again at each resync.
    allow(place, "other", "false")
    place.until(lambda: place.condition("two", "Ready") == ("False", "SecretNotAllowed") and off(place, "two"), 20, "two")


@pytest.fixture(scope="module")
def listed(places: Callable[..., Place]) -> Place:
    """An operator that goes by names, and may not notify."""
    place = places(SECRETS_POLICY="Listed", SECRETS_ALLOWED="warehouse,sl?ck", NOTIFY="false")
    place.start()
    return place


def test_a_list_allows_names_and_patterns(listed: Place):
    """What it does not name is refused; the operator need not ask for a Secret then."""
    place = listed
    place.refresh("three")
    place.until(lambda: place.condition("three", "Ready") == ("False", "SecretNotAllowed"), 20, "three")
    refused = "the Secret smtp (spec.notifications[1].email.smtpSecretRef) is not allowed"
    assert said(place, "three") == f"{refused}: secrets.allowed of the operator's chart does not list it"
    place.edit("three", notifications=[{"slack": {"channel": "#a", "webhookSecretRef": {"name": "slack", "key": "url"}}}])
    place.ready("three")
    assert mounted(place, "three") == {"warehouse", "slack"}


def test_an_operator_that_may_not_notify_tells_nobody(listed: Place):
    """A run that died is in the status and an event, as ever; test_telling is the control."""
    place = listed
    with WebServer() as slack:
        place.secret("slack", {"url": slack.url})
        place.refresh(
            "four",
            token="one",
            retries=0,
            notifications=[{"slack": {"channel": "#a", "webhookSecretRef": {"name": "slack", "key": "url"}}}],
        )
        job = place.run_of("four")
        place.end(job, 137, reason="OOMKilled")
        assert place.concluded("four", job)["reason"] == "OOMKilled"
        place.until(lambda: "RunFailed" in dict(place.events("four")), 20, "four")
        # A further run shows that all that followed from the first one is done.
        place.request("four", "two")
        place.run_of("four")
        assert slack.asked == []
    assert "NotificationFailed" not in json.dumps(place.events("four"))
