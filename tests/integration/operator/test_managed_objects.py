"""The CronJob and RBAC objects follow their refresh, on a real API server."""

import json
import time

import pytest

from support.control_plane import needs_admission_policy
from support.eventually import eventually
from support.operator_harness import OperatorHarness
from support.snapshots import Json, sample_spec

TOO_LARGE = {"vars": {"a": 2**63}}
"""A number that the API server would change, and has no rule against."""
KEPT = {"cronjobs": "{}", "serviceaccounts": "{}-runner", "roles": "{}-runner", "rolebindings": "{}-runner"}


def test_a_new_refresh_gets_its_cronjob_and_rbac_objects(running_operator):
    """All four objects exist, and the status is Ready."""
    running_operator.create_refresh("new", schedule="30 2 * * *", timeZone="Europe/Paris")
    running_operator.wait_until_ready("new")
    for plural, name in KEPT.items():
        assert running_operator.api.get(running_operator.namespace, plural, name.format("new")), plural
    spec = running_operator.cronjob("new")["spec"]
    assert (spec["schedule"], spec["timeZone"]) == ("30 2 * * *", "Europe/Paris")
    status = running_operator.status("new")
    assert (status["phase"], status["observedGeneration"]) == ("Scheduled", 1)
    assert status["next"].endswith("02:30")


def test_open_minutes_differ_between_refreshes_and_stay_the_same(running_operator):
    """Kubernetes gets numbers, those of the next runs in the status. An edit of something else moves no run."""
    names = [f"open-{number}" for number in range(6)]
    for name in names:
        running_operator.create_refresh(name, schedule="H 6 * * *")
    for name in names:
        running_operator.wait_until_ready(name)
    schedules = {name: running_operator.cronjob(name)["spec"]["schedule"] for name in names}
    assert len(set(schedules.values())) > 3
    for name, schedule in schedules.items():
        minute = int(schedule.removesuffix(" 6 * * *"))
        assert running_operator.status(name)["next"].endswith(f"06:{minute:02}")
    running_operator.patch_spec("open-0", displayName="Ouvert")
    running_operator.wait_for(lambda: running_operator.status("open-0")["observedGeneration"] == 2, 10, "open-0")
    assert running_operator.cronjob("open-0")["spec"]["schedule"] == schedules["open-0"]
    assert "DriftCorrected" not in [reason for reason, _ in running_operator.events("open-0")]


def test_the_cronjob_follows_edits_suspend_and_resume(running_operator):
    """Each edit is applied within seconds, and its generation is recorded."""
    running_operator.create_refresh("follow")
    running_operator.wait_until_ready("follow")
    for changes in ({"schedule": "7 7 * * *"}, {"suspend": True}, {"suspend": False}):
        running_operator.patch_spec("follow", **changes)
        generation = running_operator.get_refresh("follow")["metadata"]["generation"]
        field, value = next(iter(changes.items()))
        running_operator.wait_for(lambda f=field, v=value: running_operator.cronjob("follow")["spec"][f] == v, 10, "follow")
        running_operator.wait_for(lambda g=generation: running_operator.status("follow")["observedGeneration"] == g, 10, "follow")
        wanted = "Suspended" if changes.get("suspend") else "Scheduled"
        assert (running_operator.condition("follow", "Ready"), running_operator.status("follow")["phase"]) == (("True", wanted), wanted)
    assert "DriftCorrected" not in [reason for reason, _ in running_operator.events("follow")]


def test_drift_of_a_cronjob_is_corrected_and_the_fields_are_named(running_operator):
    """Drift is corrected within ten seconds. The control: the API server accepted the edit."""
    running_operator.create_refresh("drift")
    running_operator.wait_until_ready("drift")
    pod = {"spec": {"nodeSelector": {"disk": "fast"}}}
    change = {"spec": {"schedule": "* * * * *", "suspend": True, "jobTemplate": {"spec": {"template": pod}}}}
    edited = running_operator.api.patch(running_operator.namespace, "cronjobs", "drift", change)
    assert edited["spec"]["schedule"] == "* * * * *"

    def right() -> bool:
        spec = running_operator.cronjob("drift")["spec"]
        return spec["schedule"] == "0 0 1 1 *" and not spec["suspend"] and "nodeSelector" not in str(spec)

    running_operator.wait_for(right, 10, "drift")
    told = running_operator.wait_for(lambda: dict(running_operator.events("drift")).get("DriftCorrected"), 5, "drift")
    assert all(field in told for field in ("spec.schedule", "spec.suspend", "nodeSelector"))


def test_deleted_objects_are_recreated(running_operator):
    """Each of the four objects is recreated within ten seconds, with a new UID."""
    running_operator.create_refresh("gone")
    running_operator.wait_until_ready("gone")
    for plural, pattern in KEPT.items():
        name = pattern.format("gone")
        before = running_operator.api.get(running_operator.namespace, plural, name)["metadata"]["uid"]
        running_operator.api.delete(running_operator.namespace, plural, name)

        def back(plural=plural, name=name, before=before) -> bool:
            found = running_operator.api.get(running_operator.namespace, plural, name)
            return found is not None and found["metadata"]["uid"] != before

        running_operator.wait_for(back, 10, "gone")


def test_drift_of_a_role_is_corrected(running_operator):
    """A runner must never be able to write more than the status of its refresh."""
    running_operator.create_refresh("role")
    running_operator.wait_until_ready("role")
    rules = running_operator.api.get(running_operator.namespace, "roles", "role-runner")["rules"]
    wide = [*rules, {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]
    running_operator.api.patch(running_operator.namespace, "roles", "role-runner", {"rules": wide})
    running_operator.wait_for(
        lambda: running_operator.api.get(running_operator.namespace, "roles", "role-runner")["rules"] == rules, 10, "role"
    )


def test_a_deleted_refresh_leaves_nothing(running_operator):
    """All its objects are deleted, including an active run, and no finalizer delays this. The control: they existed."""
    running_operator.create_refresh("end", token="one")
    job = running_operator.wait_for_job("end")
    running_operator.wait_for_pod(job)
    label = "dashboards.sigeti.io/refresh=end"
    plurals = [*KEPT, "jobs", "pods"]
    assert all(running_operator.api.items(running_operator.namespace, plural, label) for plural in plurals)
    assert "finalizers" not in running_operator.get_refresh("end")["metadata"]
    running_operator.api.delete(running_operator.namespace, "dashboardrefreshes", "end")
    eventually(
        lambda: not any(running_operator.api.items(running_operator.namespace, plural, label) for plural in plurals),
        within=60,
        context=running_operator.kubectl.describe,
    )


def test_a_cronjob_of_another_owner_is_left_alone(running_operator):
    """Once that CronJob is deleted, the operator creates its own."""
    container = {"name": "c", "image": "i"}
    template = {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}}
    body = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "foreign"},
        "spec": {"schedule": "1 1 1 1 *", "jobTemplate": template},
    }
    foreign = running_operator.api.create(running_operator.namespace, "cronjobs", body)
    running_operator.create_refresh("foreign")
    running_operator.wait_for(lambda: running_operator.condition("foreign", "Ready") == ("False", "CronJobConflict"), 10, "foreign")
    assert running_operator.condition("foreign", "Stalled")[0] == "True"
    assert running_operator.cronjob("foreign")["metadata"]["resourceVersion"] == foreign["metadata"]["resourceVersion"]
    running_operator.expect_events("foreign", "CronJobConflict")
    running_operator.api.delete(running_operator.namespace, "cronjobs", "foreign")
    running_operator.wait_until_ready("foreign")
    assert running_operator.cronjob("foreign")["spec"]["schedule"] == "0 0 1 1 *"


def test_a_terminating_cronjob_is_reported_and_recreated(running_operator):
    """It starts no runs while a finalizer holds it."""
    running_operator.create_refresh("held")
    running_operator.wait_until_ready("held")
    before = running_operator.cronjob("held")["metadata"]["uid"]
    running_operator.api.patch(running_operator.namespace, "cronjobs", "held", {"metadata": {"finalizers": ["example.org/hold"]}})
    running_operator.api.delete(running_operator.namespace, "cronjobs", "held")
    running_operator.wait_for(lambda: running_operator.condition("held", "Ready") == ("False", "CronJobTerminating"), 10, "held")
    assert running_operator.status("held")["phase"] == "Blocked"
    assert "CronJob held is terminating, held by example.org/hold" in running_operator.status("held")["message"]
    running_operator.api.patch(running_operator.namespace, "cronjobs", "held", {"metadata": {"finalizers": None}})
    running_operator.wait_for(
        lambda: (running_operator.cronjob("held") or {"metadata": {"uid": before}})["metadata"]["uid"] != before, 10, "held"
    )
    running_operator.wait_until_ready("held")


def test_a_missing_secret_is_named_and_found_without_an_edit(running_operator):
    """First the Secret is missing, then one of its keys."""
    running_operator.create_refresh("secret", warehouse={"secretRef": {"name": "late"}})
    running_operator.wait_for(lambda: running_operator.condition("secret", "Ready") == ("False", "SecretNotFound"), 10, "secret")
    assert "late" in running_operator.status("secret")["message"]
    assert running_operator.status("secret")["phase"] == "Blocked"
    running_operator.create_secret("late", {"host": "h", "dbname": "d", "user": "u"})
    running_operator.wait_for(lambda: "no key password" in running_operator.status("secret")["message"], 10, "secret")
    running_operator.api.patch(running_operator.namespace, "secrets", "late", {"stringData": {"password": "secret-word"}})
    running_operator.wait_until_ready("secret")
    assert "secret-word" not in running_operator.log.read_text() + str(running_operator.get_refresh("secret"))


def test_a_spec_that_passes_the_schema_can_be_invalid(running_operator):
    """The schema cannot check dbt's variables. The field is named, and a fix is enough to recover."""
    running_operator.create_refresh("large", dbt=TOO_LARGE)
    running_operator.wait_for(lambda: running_operator.condition("large", "Stalled") == ("True", "InvalidSpec"), 10, "large")
    assert running_operator.status("large")["message"].startswith("spec.dbt.vars: ")
    assert running_operator.cronjob("large") is None
    running_operator.patch_spec("large", dbt={"vars": {"a": str(2**63)}})
    running_operator.wait_until_ready("large")
    assert running_operator.condition("large", "Stalled")[0] == "False"


def test_an_invalid_edit_keeps_the_old_cronjob(running_operator):
    """Dashboards stay fresh while somebody fixes the mistake."""
    running_operator.create_refresh("older", schedule="5 5 * * *")
    running_operator.wait_until_ready("older")
    running_operator.patch_spec("older", schedule="6 6 * * *", dbt=TOO_LARGE)
    running_operator.wait_for(lambda: running_operator.condition("older", "Stalled")[0] == "True", 10, "older")
    assert running_operator.cronjob("older")["spec"]["schedule"] == "5 5 * * *"


def test_long_names_work(running_operator):
    """A name of 52 characters, the maximum, needs a shorter CronJob name, and pods with valid host names."""
    name = "n" * 52
    running_operator.create_refresh(name, token="long")
    job = running_operator.wait_for_job(name)
    assert running_operator.wait_for_pod(job)["spec"]["hostname"] == f"{job}-0"


@pytest.fixture(scope="module")
def apart(create_operator) -> OperatorHarness:
    """An operator whose permissions and log only these tests use."""
    operator = create_operator()
    operator.start()
    return operator


def test_a_revoked_permission_is_reported_until_it_is_restored(apart):
    """Ready is False with the reason Forbidden while the operator cannot read CronJobs."""
    apart.create_refresh("rights")
    apart.wait_until_ready("rights")
    role = apart.api.get(apart.namespace, "roles", "op-dashboard-refresh")
    without = [rule for rule in role["rules"] if "cronjobs" not in rule["resources"]]
    apart.api.patch(apart.namespace, "roles", "op-dashboard-refresh", {"rules": without})
    apart.patch_spec("rights", displayName="New")
    apart.wait_for(lambda: apart.condition("rights", "Ready") == ("False", "Forbidden"), 15, "rights")
    assert "cronjobs" in apart.status("rights")["message"]
    apart.api.patch(apart.namespace, "roles", "op-dashboard-refresh", {"rules": role["rules"]})
    apart.wait_until_ready("rights")


def test_an_idle_operator_writes_nothing(apart):
    """The API server counts the requests. The control is an edit, which is counted."""
    said = len(apart.log.read_text())
    for number in range(5):
        apart.create_refresh(f"rest-{number}")
    for number in range(5):
        apart.wait_until_ready(f"rest-{number}")

    def versions() -> list[str]:
        return [
            item["metadata"]["resourceVersion"]
            for plural in (*KEPT, "dashboardrefreshes", "events")
            for item in apart.api.items(apart.namespace, plural)
            if not item["metadata"]["name"].startswith("op-")
        ]

    def at_rest() -> bool:
        before = versions()
        time.sleep(1)
        return before == versions()

    eventually(at_rest, within=15)
    before = versions()
    # every refresh is reconciled again, because each was changed
    for number in range(5):
        apart.api.patch(apart.namespace, "cronjobs", f"rest-{number}", {"metadata": {"annotations": {"note": "touched"}}})
    touched = versions()
    assert len(set(touched) - set(before)) == 5
    time.sleep(3)  # the one place where nothing must happen
    assert versions() == touched
    assert "replaced" not in apart.log.read_text()[said:]
    apart.patch_spec("rest-0", displayName="New")
    apart.wait_for(lambda: len(set(versions()) - set(touched)) >= 2, 10, "rest-0")


def test_the_operator_does_not_change_metadata_of_the_refresh(running_operator):
    """GitOps tools would report annotations and finalizers as drift."""
    made = running_operator.create_refresh("gitops")
    running_operator.wait_until_ready("gitops")
    seen = running_operator.get_refresh("gitops")
    assert seen["spec"] == made["spec"]
    ours = {key: value for key, value in seen["metadata"].items() if key not in ("resourceVersion", "managedFields")}
    assert ours == {key: value for key, value in made["metadata"].items() if key not in ("resourceVersion", "managedFields")}
    assert made["spec"]["layers"][0]["name"] == sample_spec()["layers"][0]["name"]


def test_data_becomes_stale_by_time_alone(running_operator):
    """kubectl wait works with both states, and Ready does not change."""
    running_operator.create_refresh("stale", token="one", freshness={"maxStaleness": "3s"})
    running_operator.wait_for(lambda: running_operator.condition("stale", "DataFresh") == ("False", "NeverLoaded"), 10, "stale")
    job = running_operator.wait_for_job("stale")
    running_operator.end_pod(job)
    running_operator.kubectl("wait", "dr/stale", "--for=condition=DataFresh", "--timeout=10s")
    running_operator.kubectl("wait", "dr/stale", "--for=condition=DataFresh=False", "--timeout=10s")
    assert running_operator.condition("stale", "DataFresh") == ("False", "Stale")
    assert running_operator.condition("stale", "Ready") == ("True", "Scheduled")
    running_operator.expect_events("stale", "DataStale")


@needs_admission_policy
def test_a_rejected_pod_template_stalls_with_the_policys_message(running_operator):
    """A valid template causes no repeated writes. After a fix the refresh recovers."""
    toleration = {"key": "batch", "operator": "Exists", "effect": "NoSchedule"}
    node_affinity = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [IN_ZONE]}]}}
    spec: Json = {"nodeSelector": {"disk": "fast"}, "tolerations": [toleration], "affinity": {"nodeAffinity": node_affinity}}
    running_operator.create_refresh("template", podTemplate={"spec": spec})
    running_operator.wait_until_ready("template")
    version = running_operator.cronjob("template")["metadata"]["resourceVersion"]
    refuse_slow_disks(running_operator)
    running_operator.patch_spec("template", podTemplate={"spec": {"nodeSelector": {"disk": "slow"}}})
    running_operator.wait_for(lambda: running_operator.condition("template", "Stalled") == ("True", "InvalidSpec"), 10, "template")
    assert "no slow disks here" in running_operator.status("template")["message"]
    assert running_operator.cronjob("template")["metadata"]["resourceVersion"] == version
    running_operator.patch_spec("template", podTemplate={"spec": {"nodeSelector": {"disk": "fast"}}})
    running_operator.wait_until_ready("template")
    assert "DriftCorrected" not in [reason for reason, _ in running_operator.events("template")]


IN_ZONE = {"key": "zone", "operator": "In", "values": ["a"]}


def refuse_slow_disks(operator):
    """Make the API server reject CronJobs for slow disks in a namespace, and wait until it does."""
    name = f"slow-{operator.namespace}"
    slow = "object.spec.jobTemplate.spec.template.spec.?nodeSelector['disk'].orValue('') == 'slow'"
    rules = [{"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["cronjobs"]}]
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": rules},
            "validations": [{"expression": f"!({slow})", "message": "no slow disks here"}],
        },
    }
    here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": operator.namespace}}}
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"], "matchResources": here},
    }
    operator.kubectl.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": [policy, binding]}))
    patch = {"spec": {"jobTemplate": {"spec": {"template": {"spec": {"nodeSelector": {"disk": "slow"}}}}}}}
    words = ("patch", "cronjob", "template", "--dry-run=server", "--type=merge", "--patch", json.dumps(patch))
    eventually(lambda: "no slow disks here" in operator.kubectl.attempt(*words).stderr, within=30)
