"""The operator as a process: probes, signals and watched namespaces."""

import json
import time

import httpx
import pytest

from cluster.ports import free_port


def test_it_responds_to_probes_and_stops_quickly(fresh_operator):
    """It exits with 0 within three seconds of SIGTERM, so that another one can take over. Every log line is JSON."""
    endpoint = f"http://127.0.0.1:{free_port()}/healthz"
    fresh_operator.settings = {"HEALTH_ENDPOINT": endpoint}
    fresh_operator.start()

    def alive() -> bool:
        try:
            return httpx.get(endpoint, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    fresh_operator.wait_for(alive, 20)
    fresh_operator.create_refresh("lines")
    fresh_operator.wait_until_ready("lines")
    fresh_operator.wait_for(lambda: fresh_operator.responds(endpoint.replace("healthz", "readyz")), 10)
    figures = httpx.get(endpoint.replace("healthz", "metrics"), trust_env=False).text
    assert f'dashboardrefresh_ready{{namespace="{fresh_operator.namespace}",refresh="lines"}} 1.0' in figures
    fresh_operator.api.delete(fresh_operator.namespace, "cronjobs", "lines")
    corrected = f'dashboardrefresh_drift_corrections_total{{kind="CronJob",namespace="{fresh_operator.namespace}",refresh="lines"}} 1.0'
    fresh_operator.wait_for(lambda: corrected in httpx.get(endpoint.replace("healthz", "metrics"), trust_env=False).text, 10)
    fresh_operator.request_run("lines", "one")
    job = fresh_operator.wait_for_job("lines")
    fresh_operator.wait_for(lambda: f'"run":"{job}"' in fresh_operator.log.read_text().replace(": ", ":"), 10)
    told = time.monotonic()
    assert fresh_operator.stop() == 0
    assert time.monotonic() - told < 3
    lines = [json.loads(line) for line in fresh_operator.log.read_text().splitlines()]
    assert {line["refresh"] for line in lines if "refresh" in line} == {"lines"}
    assert {line["run"] for line in lines if "run" in line} == {job}
    assert not alive()


@pytest.mark.slow
@pytest.mark.parametrize("told", ["nothing", "the other namespace", "the whole cluster"])
def test_it_watches_only_the_configured_namespaces(create_operator, told):
    """One, the other or both of two namespaces, with permissions for just those."""
    other = create_operator()
    listed = ([f"watch.namespaces={{{other.namespace}}}"], {"WATCH_NAMESPACES": other.namespace})
    wide = (["watch.clusterWide=true"], {"WATCH_CLUSTER_WIDE": "true"})
    values, settings = {"nothing": ([], {}), "the other namespace": listed, "the whole cluster": wide}[told]
    own = create_operator(*values, **settings)
    own.start()
    refreshes = {"its own": (own, "here"), "the other": (other, "there")}
    for operator, name in refreshes.values():
        operator.create_refresh(name)
    kept = {"nothing": ["its own"], "the other namespace": ["the other"], "the whole cluster": ["its own", "the other"]}[told]
    for operator, name in (refreshes[each] for each in kept):
        operator.wait_until_ready(name)
    assert [each for each, (operator, name) in refreshes.items() if operator.cronjob(name) is not None] == kept
    own.stop()
