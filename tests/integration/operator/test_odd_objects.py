"""A malformed refresh must not affect others in operator, page and plugin, on a real API server."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from pydantic_core import from_json

from refresh_api.objects import unreadable
from support.operator_harness import Json, OperatorHarness
from support.page import PageProcess, grant_page_permissions, run_page
from support.plugin import plugin
from support.snapshots import sample_spec

LISTS = {f"deep-{levels}": "[" * levels + "]" * levels for levels in (250, 3000, 9000)}
OBJECTS = {f"nested-{levels}": '{"a":' * levels + "1" + "}" * levels for levels in (250, 3000)}
HUGE = {"huge": json.dumps("x" * 900_000)}
DEEP = LISTS | OBJECTS
ODD = DEEP | HUGE
FURTHER = ("one", "two")
"""Refreshes that nothing is wrong with."""


def text_of(name: str, value: str) -> str:
    """Return a refresh as JSON, with this text as a dbt variable."""
    head = {"apiVersion": "dashboards.sigeti.io/v1alpha1", "kind": "DashboardRefresh", "metadata": {"name": name}}
    spec = sample_spec(schedule="0 0 1 1 *", dbt={"vars": {"odd": "HERE", "plain": 1}})
    return json.dumps({**head, "spec": spec}).replace('"HERE"', value)


@pytest.fixture(scope="module")
def operator(create_operator) -> Iterator[OperatorHarness]:
    """A namespace with valid and malformed refreshes that existed before the operator started."""
    found = create_operator()
    found.stop()
    found.create_refresh(FURTHER[0])
    for name, value in ODD.items():
        found.api.create_text(found.namespace, "dashboardrefreshes", text_of(name, value))
    found.start()
    yield found
    found.stop()


def condition(operator: OperatorHarness, name: str, kind: str) -> Json:
    """Return one condition of a refresh that may be malformed."""
    said = operator.api.read(operator.namespace, "dashboardrefreshes", name).get("status", {}).get("conditions", [])
    return next((each for each in said if each["type"] == kind), {})


def odd(like: str) -> str:
    """Return a change that makes a refresh malformed like another one."""
    return f'{{"spec":{{"dbt":{{"vars":{{"odd":{LISTS[like]}}}}}}}}}'


def stalled(operator: OperatorHarness, name: str) -> bool:
    """Return whether the condition Stalled of a refresh is true."""
    return condition(operator, name, "Stalled").get("status") == "True"


def test_control_no_parser_reads_what_the_api_server_sends(operator):
    """Neither the whole list nor a single event: an operator that parsed them at once would stop for all refreshes."""
    text = operator.api.raw(operator.namespace, "dashboardrefreshes")
    with pytest.raises(ValueError, match="recursion"):
        from_json(text)
    with pytest.raises(RecursionError):
        json.loads(text)


def test_malformed_refreshes_are_stalled_and_others_reconciled(operator):
    """Both those that existed at the start and those created later, without a restart of the operator."""
    operator.wait_until_ready(FURTHER[0])
    for name in ODD:
        operator.wait_for(lambda name=name: stalled(operator, name), 20, FURTHER[0])
    said = {name: condition(operator, name, "Ready") for name in ODD}
    assert {each["reason"] for each in said.values()} == {"Unreadable"}
    assert all("spec.dbt.vars.odd" in each["message"] for each in said.values()), said
    assert all("nested too deeply" in said[name]["message"] for name in LISTS)
    assert "900002 bytes" in said["huge"]["message"]
    assert "Stalled" in operator.kubectl("get", "dr", "deep-3000")
    begun = time.monotonic()
    operator.create_refresh(FURTHER[1])
    operator.wait_until_ready(FURTHER[1])
    assert time.monotonic() - begun < 10
    operator.request_run(FURTHER[0], "now")
    operator.wait_for_job(FURTHER[0])
    assert operator.stop() == 0, "the operator has ended before"
    assert "bug of the operator" not in operator.log.read_text()
    operator.start()


def test_a_refresh_that_becomes_malformed_keeps_its_cronjob_and_recovers(operator):
    """The watch delivers its change, and its history is kept."""
    operator.create_refresh("turns")
    operator.wait_until_ready("turns")
    before = operator.cronjob("turns")["spec"]
    operator.api.replace_text(operator.namespace, "dashboardrefreshes", "turns", odd("deep-3000"))
    operator.wait_for(lambda: stalled(operator, "turns"), 20, FURTHER[0])
    assert operator.cronjob("turns")["spec"] == before
    for name in ("turns", "deep-3000"):
        operator.api.replace_text(operator.namespace, "dashboardrefreshes", name, '{"spec":{"dbt":{"vars":{"odd":null}}}}')
        operator.wait_until_ready(name)
    operator.api.replace_text(operator.namespace, "dashboardrefreshes", "deep-3000", odd("deep-3000"))
    operator.wait_for(lambda: stalled(operator, "deep-3000"), 20, FURTHER[0])


@pytest.fixture(scope="module")
def page(operator, helm, tmp_path_factory) -> Iterator[PageProcess]:
    """A page of that namespace."""
    home = tmp_path_factory.mktemp("odd-page")
    account = grant_page_permissions(operator.kubectl, operator.api, helm, home / "account")
    with run_page(operator.api.server, operator.namespace, account, home) as found:
        yield found


def test_the_page_shows_malformed_refreshes(operator, page):
    """The page is ready, and each malformed refresh has an issue, including one that becomes malformed later."""
    names = {each["name"]: each for each in page.json("/")["refreshes"]}
    assert set(ODD) | {FURTHER[0]} <= set(names)
    for name in ODD:
        issues = {each["reason"]: each["message"] for each in names[name]["health"]["issues"]}
        assert "spec.dbt.vars.odd" in issues["Unreadable"]
        assert page.get(f"/refreshes/{operator.namespace}/{name}").status_code == 200
    operator.create_refresh("later")
    operator.api.replace_text(operator.namespace, "dashboardrefreshes", "later", odd("deep-250"))
    operator.wait_for(lambda: "Unreadable" in page.get(f"/refreshes/{operator.namespace}/later.json").text, 10)
    assert page.get("/").status_code == 200


@pytest.mark.slow
def test_the_plugin_shows_malformed_refreshes(operator):
    """Their status is readable, whatever the spec contains."""
    for name in (*ODD, FURTHER[0]):
        done = plugin(operator, "status", name)
        assert done.returncode == 0, done.stderr
        assert name in done.stdout
    assert "nested too deeply" in plugin(operator, "status", "deep-250").stdout


def test_control_the_dropped_part_is_known_by_its_path(operator):
    """The harness itself reads these objects with the same parser."""
    seen = operator.api.read(operator.namespace, "dashboardrefreshes", "deep-250")
    assert list(unreadable(seen)) == ["spec.dbt.vars.odd"]


def test_a_spec_too_long_for_a_pod_is_not_scheduled(operator):
    """Linux limits a variable to 128 KiB, the API server an object to ten times that. Half of it is the control."""
    operator.create_refresh("half", dbt={"vars": {"odd": "x" * 60_000}})
    operator.create_refresh("long", dbt={"vars": {"odd": "x" * 140_000}})
    operator.wait_until_ready("half")
    operator.wait_for(lambda: operator.condition("long", "Stalled") == ("True", "InvalidSpec"), 20, "long")
    assert "Linux allows at most 131051" in operator.status("long")["message"]
    assert (operator.cronjob("half") is not None, operator.cronjob("long")) == (True, None)
    operator.patch_spec("long", dbt={"vars": {"odd": "x"}})
    operator.wait_until_ready("long")


def test_a_long_request_is_rejected_and_recorded_shortened(operator):
    """The message says why, and the next request starts a run."""
    operator.create_refresh("asked")
    operator.wait_until_ready("asked")
    operator.request_run("asked", "y" * 200_000)
    operator.wait_for(lambda: "at most 256 are allowed" in operator.status("asked").get("requestError", ""), 20, "asked")
    assert len(json.dumps(operator.status("asked"))) < 10_000
    assert operator.jobs("asked") == []
    operator.request_run("asked", "now")
    operator.wait_for_job("asked")


def test_a_suspension_until_year_9999_can_be_ended_by_an_edit(operator):
    """Dates at the end of the calendar must not fail a reconciliation."""
    operator.create_refresh("for-good", suspendUntil="9999-12-31T23:59:59Z", schedule="* * * * *")
    operator.wait_for(lambda: operator.condition("for-good", "Suspended") == ("True", "SuspendedUntil"), 20, "for-good")
    assert operator.status("for-good")["suspendedUntil"] == "9999-12-31T23:59:59Z"
    operator.patch_spec("for-good", suspendUntil=None)
    operator.wait_for(lambda: operator.status("for-good").get("nextScheduleTime"), 20, "for-good")
    assert "bug of the operator" not in operator.log.read_text()
