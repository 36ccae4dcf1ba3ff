"""The objects that the operator creates."""

import json
from datetime import timedelta
from typing import Any

import pytest

from refresh_api.run_request import RunRequest
from refresh_api.spec import RefreshSpec
from refresh_operator.names import cronjob_name, rbac_name, requested_job_name
from refresh_operator.reconcile.decision import decide
from refresh_operator.settings import CaBundle, Settings
from refresh_operator.specs.cronjob import cronjob, managed_objects
from refresh_operator.specs.job import requested_job
from refresh_operator.specs.rbac import rbac
from refresh_operator.state.kube_types import Metadata
from refresh_operator.state.refresh import Refresh
from support.snapshots import NOW, SETTINGS, UID, build_managed_objects, build_refresh, build_snapshot, sample_spec


def spec_of(**changes) -> tuple[Refresh, RefreshSpec]:
    seen = build_refresh(**changes)
    assert isinstance(seen.spec, RefreshSpec)
    return seen, seen.spec


def cronjob_of(settings: Settings = SETTINGS, suspended: bool = False, **changes) -> Any:
    return cronjob(*spec_of(**changes), settings, suspended=suspended)["spec"]


def job_of(**changes) -> Any:
    return cronjob_of(**changes)["jobTemplate"]["spec"]


def pod_of(**changes) -> Any:
    return job_of(**changes)["template"]["spec"]


def environment(pod):
    return {each["name"]: each for each in pod["containers"][0]["env"]}


def test_the_cronjob_has_schedule_and_time_zone():
    """Forbid and a starting deadline are always set."""
    made = cronjob_of(schedule="0 6 * * *", timeZone="Europe/Paris", suspended=True)
    assert (made["schedule"], made["timeZone"], made["suspend"]) == ("0 6 * * *", "Europe/Paris", True)
    assert made["concurrencyPolicy"] == "Forbid"
    assert made["startingDeadlineSeconds"] > 0


def test_the_pod_gets_the_run_request():
    """It must parse back to the spec, generation and refresh that it was created from."""
    run_request = RunRequest.model_validate_json(environment(pod_of(generation=7))["REFRESH_RUN_REQUEST"]["value"])
    assert (run_request.generation, run_request.spec) == (7, build_refresh().spec)
    assert (run_request.refresh.name, run_request.refresh.namespace, run_request.refresh.uid) == ("phase2", "default", UID)


def test_kubernetes_expands_nothing_in_the_run_request():
    """A dbt variable may contain $(NAME), so each $ is doubled."""
    value = environment(pod_of(dbt={"vars": {"a": "$(POD_NAME) $$ $x"}}))["REFRESH_RUN_REQUEST"]["value"]
    assert "$$(POD_NAME) $$$$ $$x" in value


def test_a_null_dbt_variable_is_kept():
    """null is a value for dbt, not a missing variable."""
    run_request = RunRequest.model_validate_json(environment(pod_of(dbt={"vars": {"a": None}}))["REFRESH_RUN_REQUEST"]["value"])
    assert run_request.spec.dbt.vars == {"a": None}


def test_the_pod_meets_pod_security_restricted():
    """It also has a read-only root and a bounded /tmp."""
    pod = pod_of()
    container = pod["containers"][0]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["volumes"][0] == {"name": "tmp", "emptyDir": {"sizeLimit": "10Gi"}}


def test_each_secret_is_mounted_once_and_only_the_warehouses_is_required():
    """A missing Secret of a channel, a bucket or a collector must not keep the pod from starting."""
    bucket = {"endpoint": "https://s3", "bucket": "files", "secretRef": {"name": "bucket"}}
    pod = pod_of(artifacts={"store": {"s3": bucket}}, tracing={"headersSecretRef": {"name": "collector", "key": "headers"}})
    sources = {volume["secret"]["secretName"]: volume["secret"] for volume in pod["volumes"] if "secret" in volume}
    mounts = {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts == {"/tmp"} | {f"/run/refresh/secrets/{name}" for name in ("warehouse", "slack", "smtp", "bucket", "collector")}
    assert {name for name, source in sources.items() if not source.get("optional")} == {"warehouse"}
    assert "items" not in sources["bucket"]
    assert sources["collector"]["items"] == [{"key": "headers", "path": "headers"}]
    assert sources["slack"]["items"] == [{"key": "url", "path": "url"}]


def test_a_secret_for_warehouse_and_webhook_is_one_required_volume():
    """Two volumes of the same Secret would need different keys."""
    slack = {"slack": {"channel": "#a", "webhookSecretRef": {"name": "warehouse", "key": "url"}}}
    volumes = [volume["secret"] for volume in pod_of(notifications=[slack])["volumes"] if "secret" in volume]
    assert volumes == [{"secretName": "warehouse", "defaultMode": 0o440}]


def test_deadlines_leave_time_for_the_runners_report():
    """The pod may run a minute longer than the runner, and the Job as long as all attempts and delays."""
    job = job_of(timeout="10m", retries=1, startTimeout="5m")
    assert job["template"]["spec"]["activeDeadlineSeconds"] == 660
    assert job["activeDeadlineSeconds"] >= 2 * 660 + 300
    assert job["backoffLimitPerIndex"] == 1


def test_exit_codes_decide_whether_an_attempt_counts():
    """1 and 2 fail the Job; 143 and a drained node do not count; all others do."""
    rules = job_of()["podFailurePolicy"]["rules"]
    codes = {rule["action"]: rule["onExitCodes"]["values"] for rule in rules if "onExitCodes" in rule}
    assert codes == {"FailJob": [1, 2], "Ignore": [143]}
    assert rules[-1] == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


def test_local_disk_has_a_small_default_request():
    """Kubernetes would request the whole limit of 10Gi, which fits on few nodes."""
    resources = pod_of()["containers"][0]["resources"]
    assert resources["limits"]["ephemeral-storage"] == "10Gi"
    assert resources["requests"] == {"cpu": "250m", "memory": "512Mi", "ephemeral-storage": "256Mi"}


def test_the_pod_may_patch_only_the_status_of_its_refresh():
    """A run executes code of dbt packages, and must not reach other objects."""
    _, role, binding = rbac(build_refresh())
    assert role["rules"] == [
        {"apiGroups": ["dashboards.sigeti.io"], "resources": ["dashboardrefreshes/status"], "resourceNames": ["phase2"], "verbs": ["patch"]}
    ]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "phase2-runner", "namespace": "default"}]


def test_every_object_is_owned_by_the_refresh():
    """The garbage collector then deletes it, without a finalizer and without blocking the deletion."""
    for item in build_managed_objects(build_refresh()).values():
        (owner,) = item["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["blockOwnerDeletion"]) == (UID, False), item["kind"]


def test_a_requested_job_is_owned_by_cronjob_and_refresh():
    """The CronJob limits the history, and the refresh keeps the Job if the CronJob is deleted."""
    seen, spec = spec_of()
    meta = Metadata.model_validate(build_managed_objects(seen)["CronJob"]["metadata"])
    made: Any = requested_job(seen, spec, SETTINGS, meta, "now")["metadata"]
    assert [(owner["kind"], owner["controller"]) for owner in made["ownerReferences"]] == [("CronJob", True), ("DashboardRefresh", False)]


@pytest.mark.parametrize("length", [1, 50, 51, 52])
def test_names_leave_room_for_the_suffixes_of_kubernetes(length):
    """A pod's host name is the Job's name with "-0", in at most 63 characters."""
    name = "a" * length
    assert len(requested_job_name(name, UID, "token")) + len("-0") <= 63
    assert len(cronjob_name(name)) <= 50
    assert rbac_name(name).startswith(cronjob_name(name))


def test_long_names_with_the_same_start_stay_distinct():
    """A hash keeps refreshes, requests and recreated refreshes apart."""
    assert cronjob_name("a" * 51) != cronjob_name("a" * 52)
    assert len({requested_job_name("a", UID, "1"), requested_job_name("a", UID, "2"), requested_job_name("a", "other", "1")}) == 3


def test_the_pod_gets_the_settings_of_the_chart():
    """Image, pull secrets and the link template."""
    settings = Settings(
        namespaces=(), runner_image="r:2", image_pull_policy="Always", image_pull_secrets=("a", "b"), run_url_template="http://x/{run}"
    )
    pod = pod_of(settings=settings)
    assert (pod["containers"][0]["image"], pod["containers"][0]["imagePullPolicy"]) == ("r:2", "Always")
    assert pod["imagePullSecrets"] == [{"name": "a"}, {"name": "b"}]
    assert environment(pod)["RUN_URL_TEMPLATE"]["value"] == "http://x/{run}"


def test_the_same_spec_results_in_identical_objects():
    """Otherwise the operator would replace them forever."""
    one, other = (json.dumps(managed_objects(*spec_of(), SETTINGS, suspended=False)) for _ in range(2))
    assert one == other
    assert decide(build_snapshot(build_refresh()), SETTINGS, NOW).replace == ()
    assert decide(build_snapshot(build_refresh()), SETTINGS, NOW).requeue_after <= timedelta(hours=1)
    assert sample_spec()["schedule"] in one


TEMPLATE = {
    "metadata": {"labels": {"team": "bi"}, "annotations": {"mesh": "off"}},
    "spec": {
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "batch", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}]}}},
        "priorityClassName": "low",
        "imagePullSecrets": [{"name": "registry"}],
        "containers": [{"name": "runner", "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}]}],
    },
}


def test_a_pod_template_only_adds_to_the_pod():
    """The operator's labels, the run request and the security settings cannot be overridden."""
    plain, added = pod_of(), pod_of(podTemplate=TEMPLATE)
    assert added["nodeSelector"] == {"disk": "fast"}
    assert added["tolerations"] == [{"key": "batch", "operator": "Exists"}]
    assert added["priorityClassName"] == "low"
    assert added["imagePullSecrets"] == [{"name": "registry"}]
    assert environment(added)["HTTPS_PROXY"]["value"] == "http://proxy:3128"
    assert added["securityContext"] == plain["securityContext"]
    for key in ("args", "securityContext", "volumeMounts", "resources"):
        assert added["containers"][0][key] == plain["containers"][0][key]
    kept_cronjob: Any = managed_objects(*spec_of(podTemplate=TEMPLATE), SETTINGS, suspended=False)[-1]
    metadata = kept_cronjob["spec"]["jobTemplate"]["spec"]["template"]["metadata"]
    assert metadata["labels"]["team"] == "bi"
    assert metadata["labels"]["dashboards.sigeti.io/refresh"] == "phase2"


def test_services_neither_select_the_pod_nor_set_its_variables():
    """A readiness gate that is never set keeps it out of endpoints. Names of Services are chosen by others."""
    pod = pod_of()
    assert pod["readinessGates"] == [{"conditionType": "dashboards.sigeti.io/serves"}]
    assert pod["enableServiceLinks"] is False


def test_runs_send_traces_to_the_collector_of_the_chart():
    """Unless the pod template names another one. Control: without one in the chart, the pod has no such variable."""
    settings = Settings(namespaces=(), runner_image="i", otlp_endpoint="http://collector:4318")
    own = {"spec": {"containers": [{"name": "runner", "env": [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://other:4318"}]}]}}

    def collectors(pod: Any) -> list[str]:
        return [each["value"] for each in pod["containers"][0]["env"] if each["name"] == "OTEL_EXPORTER_OTLP_ENDPOINT"]

    assert collectors(pod_of(settings=settings)) == ["http://collector:4318"]
    assert collectors(pod_of(settings=settings, podTemplate=own)) == ["http://other:4318"]
    assert collectors(pod_of()) == []


def test_the_pod_gets_certificates_and_proxies_of_the_chart():
    """Variables in the pod template take precedence."""
    proxies = (("HTTPS_PROXY", "http://proxy:3128"), ("NO_PROXY", ".svc"))
    settings = Settings(namespaces=(), runner_image="i", ca_bundle=CaBundle("company-ca", "ca.crt"), proxies=proxies)
    pod = pod_of(settings=settings)
    found = environment(pod)
    assert (found["SSL_CERT_FILE"]["value"], found["HTTPS_PROXY"]["value"]) == ("/etc/refresh-ca/ca.crt", "http://proxy:3128")
    assert "company-ca" in [volume.get("configMap", {}).get("name") for volume in pod["volumes"]]
    assert "/etc/refresh-ca" in [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]
    own = {"spec": {"containers": [{"name": "runner", "env": [{"name": "HTTPS_PROXY", "value": "http://other:1"}]}]}}
    names = [each["name"] for each in pod_of(settings=settings, podTemplate=own)["containers"][0]["env"]]
    assert names.count("HTTPS_PROXY") == 1
