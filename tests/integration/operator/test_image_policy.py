"""A refresh that names an image of its own: allowed by the operator's patterns, or stalled until it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from support.operator_harness import OperatorHarness

OWN = "registry.example.org/team/velos:3"


def image_of(item: Any) -> str:
    """Return the image of a CronJob or Job."""
    spec = item["spec"].get("jobTemplate", item)["spec"]
    return str(spec["template"]["spec"]["containers"][0]["image"])


def test_an_image_is_run_where_it_is_allowed(create_operator: Callable[..., OperatorHarness]) -> None:
    """A denied one starts nothing, and the request waits; an edit to an allowed one starts it. Other refreshes run the chart's image."""
    operator = create_operator(RUNNER_ALLOWED_IMAGES="registry.example.org/team/*")
    operator.start()
    operator.create_refresh("usual")
    operator.create_refresh("velos", token="one", image="registry.example.org/others/velos:3")
    operator.wait_for(lambda: operator.condition("velos", "Ready") == ("False", "ImageNotAllowed"), 20, "velos")
    cronjob: Any = operator.cronjob("velos")
    assert (image_of(cronjob), cronjob["spec"]["suspend"], operator.jobs("velos")) == ("refresh-runner:test", True, [])
    operator.patch_spec("velos", image=OWN)
    job = operator.wait_for_job("velos")
    assert image_of(operator.api.get(operator.namespace, "jobs", job)) == OWN
    operator.wait_for(lambda: image_of(operator.cronjob("velos")) == OWN, 20, "velos")
    assert not (operator.cronjob("velos") or {})["spec"]["suspend"]
    assert image_of(operator.cronjob("usual")) == "refresh-runner:test"
