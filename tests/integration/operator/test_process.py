"""The operator as a process: it says whether it lives, ends when told, and watches what it is told to watch."""

import json
import time

import httpx
import pytest

from cluster.ports import free_port


def test_it_answers_its_probes_and_ends_quickly(own_place):
    """200 while it lives; exit code 0 within three seconds of being told, for another one to take over; every line of its log is JSON."""
    endpoint = f"http://127.0.0.1:{free_port()}/healthz"
    own_place.settings = {"HEALTH_ENDPOINT": endpoint}
    own_place.start()

    def alive() -> bool:
        try:
            return httpx.get(endpoint, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    own_place.until(alive, 20)
    own_place.refresh("lines")
    own_place.ready("lines")
    own_place.until(lambda: own_place.answers(endpoint.replace("healthz", "readyz")), 10)
    figures = httpx.get(endpoint.replace("healthz", "metrics"), trust_env=False).text
    assert f'dashboardrefresh_ready{{namespace="{own_place.namespace}",refresh="lines"}} 1.0' in figures
    own_place.api.delete(own_place.namespace, "cronjobs", "lines")
    corrected = f'dashboardrefresh_drift_corrections_total{{kind="CronJob",namespace="{own_place.namespace}",refresh="lines"}} 1.0'
    own_place.until(lambda: corrected in httpx.get(endpoint.replace("healthz", "metrics"), trust_env=False).text, 10)
    own_place.request("lines", "one")
    job = own_place.run_of("lines")
    own_place.until(lambda: f'"run":"{job}"' in own_place.log.read_text().replace(": ", ":"), 10)
    told = time.monotonic()
    assert own_place.stop() == 0
    assert time.monotonic() - told < 3
    lines = [json.loads(line) for line in own_place.log.read_text().splitlines()]
    assert {line["refresh"] for line in lines if "refresh" in line} == {"lines"}
    assert {line["run"] for line in lines if "run" in line} == {job}
    assert not alive()


@pytest.mark.parametrize("told", ["nothing", "the other namespace", "the whole cluster"])
def test_it_watches_what_it_is_told(places, told):
    """Of two namespaces it keeps the refreshes of its own, by a list those of the other, or both; with the permissions for just that."""
    other = places()
    listed = ([f"watch.namespaces={{{other.namespace}}}"], {"WATCH_NAMESPACES": other.namespace})
    wide = (["watch.clusterWide=true"], {"WATCH_CLUSTER_WIDE": "true"})
    values, settings = {"nothing": ([], {}), "the other namespace": listed, "the whole cluster": wide}[told]
    own = places(*values, **settings)
    own.start()
    refreshes = {"its own": (own, "here"), "the other": (other, "there")}
    for place, name in refreshes.values():
        place.refresh(name)
    kept = {"nothing": ["its own"], "the other namespace": ["the other"], "the whole cluster": ["its own", "the other"]}[told]
    for place, name in (refreshes[each] for each in kept):
        place.ready(name)
    assert [each for each, (place, name) in refreshes.items() if place.cronjob(name) is not None] == kept
    own.stop()
