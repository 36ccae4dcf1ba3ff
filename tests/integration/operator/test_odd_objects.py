"""No refresh, however odd, keeps the others from being served: by operator, page and plugin; on a real API server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from pydantic_core import from_json

from refresh_api.objects import unreadable
from support.operator_harness import Json, OperatorHarness
from support.page import PageProcess, grant_page_permissions, run_page
from support.snapshots import sample_spec

LISTS = {f"deep-{levels}": "[" * levels + "]" * levels for levels in (250, 3000, 9000)}
OBJECTS = {f"nested-{levels}": '{"a":' * levels + "1" + "}" * levels for levels in (250, 3000)}
HUGE = {"huge": json.dumps("x" * 900_000)}
DEEP = LISTS | OBJECTS
ODD = DEEP | HUGE
FURTHER = ("one", "two")
"""Refreshes that nothing is wrong with."""


def text_of(name: str, value: str) -> str:
    """A refresh, as JSON, with this text as a variable of dbt's."""
    head = {"apiVersion": "dashboards.sigeti.io/v1alpha1", "kind": "DashboardRefresh", "metadata": {"name": name}}
    spec = sample_spec(schedule="0 0 1 1 *", dbt={"vars": {"odd": "HERE", "plain": 1}})
    return json.dumps({**head, "spec": spec}).replace('"HERE"', value)


@pytest.fixture(scope="module")
def operator(create_operator) -> Iterator[OperatorHarness]:
    """A namespace with good refreshes and odd ones, which were there before the operator."""
    found = create_operator()
    found.stop()
    found.create_refresh(FURTHER[0])
    for name, value in ODD.items():
        found.api.create_text(found.namespace, "dashboardrefreshes", text_of(name, value))
    found.start()
    yield found
    found.stop()


def condition(operator: OperatorHarness, name: str, kind: str) -> Json:
    """One condition of a refresh that may be odd."""
    said = operator.api.read(operator.namespace, "dashboardrefreshes", name).get("status", {}).get("conditions", [])
    return next((each for each in said if each["type"] == kind), {})


def odd(like: str) -> str:
    """A change that makes a refresh as odd as another one."""
    return f'{{"spec":{{"dbt":{{"vars":{{"odd":{LISTS[like]}}}}}}}}}'


def stalled(operator: OperatorHarness, name: str) -> bool:
    """Whether a refresh says that only an edit helps."""
    return condition(operator, name, "Stalled").get("status") == "True"


def plugin(operator: OperatorHarness, *words: str) -> subprocess.CompletedProcess[str]:
    """The plugin, as people call it."""
    command = [sys.executable, "-m", "refresh_cli", *words, "-n", operator.namespace, f"--kubeconfig={operator.kubectl.kubeconfig}"]
    environment = {**os.environ, "KUBECTL": operator.kubectl.program}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_control_no_parser_takes_what_the_api_server_sends(operator):
    """Neither the list as a whole nor one event of it; so whoever parses it at once serves nobody."""
    text = operator.api.raw(operator.namespace, "dashboardrefreshes")
    with pytest.raises(ValueError, match="recursion"):
        from_json(text)
    with pytest.raises(RecursionError):
        json.loads(text)


def test_the_others_are_served_and_the_odd_ones_say_what_is_wrong_with_them(operator):
    """Those that were there at the start, and those that come while the operator watches, in seconds; no process was started anew."""
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


def test_one_that_turns_odd_keeps_its_cronjob_and_is_served_again_once_it_is_mended(operator):
    """The event of the change reaches the operator as the list did, and its history stays."""
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


def test_the_page_shows_all_of_them(operator, page):
    """It is ready, and each odd one says that it can't be read; one that turns odd later, too."""
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


def test_the_plugin_tells_of_the_odd_ones_as_of_the_others(operator):
    """The status is there, whatever the spec holds."""
    for name in (*ODD, FURTHER[0]):
        done = plugin(operator, "status", name)
        assert done.returncode == 0, done.stderr
        assert name in done.stdout
    assert "nested too deeply" in plugin(operator, "status", "deep-250").stdout


def test_what_is_left_out_is_known_by_its_path(operator):
    """The harness itself sees the odd part."""
    seen = operator.api.read(operator.namespace, "dashboardrefreshes", "deep-250")
    assert list(unreadable(seen)) == ["spec.dbt.vars.odd"]


def test_a_spec_that_no_pod_could_be_told_is_not_scheduled(operator):
    """Linux takes 128 KiB in one variable; the API server takes ten times that. The control: half of it is scheduled."""
    operator.create_refresh("half", dbt={"vars": {"odd": "x" * 60_000}})
    operator.create_refresh("long", dbt={"vars": {"odd": "x" * 140_000}})
    operator.wait_until_ready("half")
    operator.wait_for(lambda: operator.condition("long", "Stalled") == ("True", "InvalidSpec"), 20, "long")
    assert "Linux takes 131057" in operator.status("long")["message"]
    assert (operator.cronjob("half") is not None, operator.cronjob("long")) == (True, None)
    operator.patch_spec("long", dbt={"vars": {"odd": "x"}})
    operator.wait_until_ready("long")


def test_a_request_of_any_length_is_answered_and_kept_short(operator):
    """With words; the next one starts a run."""
    operator.create_refresh("asked")
    operator.wait_until_ready("asked")
    operator.request_run("asked", "y" * 200_000)
    operator.wait_for(lambda: "at most 256 are allowed" in operator.status("asked").get("requestProblem", ""), 20, "asked")
    assert len(json.dumps(operator.status("asked"))) < 10_000
    assert operator.jobs("asked") == []
    operator.request_run("asked", "now")
    operator.wait_for_job("asked")


def test_a_refresh_may_be_suspended_for_good_by_its_last_day(operator):
    """9999-12-31; it is mended by an edit, and no look at it failed."""
    operator.create_refresh("for-good", suspendUntil="9999-12-31T23:59:59Z", schedule="* * * * *")
    operator.wait_for(lambda: operator.condition("for-good", "Suspended") == ("True", "SuspendedUntil"), 20, "for-good")
    assert operator.status("for-good")["suspendedUntil"] == "9999-12-31T23:59:59Z"
    operator.patch_spec("for-good", suspendUntil=None)
    operator.wait_for(lambda: operator.status("for-good").get("nextRun"), 20, "for-good")
    assert "bug of the operator" not in operator.log.read_text()
