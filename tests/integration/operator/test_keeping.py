"""The CronJob and permissions follow their refresh, whatever happens to them; on a real API server."""

import json
import time

import pytest

from support.eventually import eventually
from support.place import Place
from support.worlds import Json, sample_spec

TOO_LARGE = {"vars": {"a": 2**63}}
"""A number that the API server would change, and has no rule against."""
KEPT = {"cronjobs": "{}", "serviceaccounts": "{}-runner", "roles": "{}-runner", "rolebindings": "{}-runner"}


def test_a_new_refresh_gets_its_cronjob_and_permissions(shared_place):
    """All four, and a status that says so."""
    shared_place.refresh("new", schedule="30 2 * * *", timeZone="Europe/Paris")
    shared_place.ready("new")
    for plural, name in KEPT.items():
        assert shared_place.api.get(shared_place.namespace, plural, name.format("new")), plural
    spec = shared_place.cronjob("new")["spec"]
    assert (spec["schedule"], spec["timeZone"]) == ("30 2 * * *", "Europe/Paris")
    status = shared_place.status("new")
    assert (status["phase"], status["observedGeneration"]) == ("Scheduled", 1)
    assert status["next"].endswith("02:30")


def test_the_cronjob_follows_edits_suspend_and_resume(shared_place):
    """Each edit is there within seconds, and acknowledged by its generation."""
    shared_place.refresh("follow")
    shared_place.ready("follow")
    for changes in ({"schedule": "7 7 * * *"}, {"suspend": True}, {"suspend": False}):
        shared_place.edit("follow", **changes)
        generation = shared_place.seen("follow")["metadata"]["generation"]
        field, value = next(iter(changes.items()))
        shared_place.until(lambda f=field, v=value: shared_place.cronjob("follow")["spec"][f] == v, 10, "follow")
        shared_place.until(lambda g=generation: shared_place.status("follow")["observedGeneration"] == g, 10, "follow")
        wanted = "Suspended" if changes.get("suspend") else "Scheduled"
        assert (shared_place.condition("follow", "Ready"), shared_place.status("follow")["phase"]) == (("True", wanted), wanted)
    assert "DriftCorrected" not in [reason for reason, _ in shared_place.events("follow")]


def test_a_cronjob_edited_by_hand_is_right_again_and_the_fields_are_named(shared_place):
    """Within ten seconds. The control: the edit was there."""
    shared_place.refresh("drift")
    shared_place.ready("drift")
    pod = {"spec": {"nodeSelector": {"disk": "fast"}}}
    change = {"spec": {"schedule": "* * * * *", "suspend": True, "jobTemplate": {"spec": {"template": pod}}}}
    edited = shared_place.api.patch(shared_place.namespace, "cronjobs", "drift", change)
    assert edited["spec"]["schedule"] == "* * * * *"

    def right() -> bool:
        spec = shared_place.cronjob("drift")["spec"]
        return spec["schedule"] == "0 0 1 1 *" and not spec["suspend"] and "nodeSelector" not in str(spec)

    shared_place.until(right, 10, "drift")
    told = shared_place.until(lambda: dict(shared_place.events("drift")).get("DriftCorrected"), 5, "drift")
    assert all(field in told for field in ("spec.schedule", "spec.suspend", "nodeSelector"))


def test_whatever_is_deleted_by_hand_is_back(shared_place):
    """Within ten seconds, each of the four; a new object, not the old one."""
    shared_place.refresh("gone")
    shared_place.ready("gone")
    for plural, pattern in KEPT.items():
        name = pattern.format("gone")
        before = shared_place.api.get(shared_place.namespace, plural, name)["metadata"]["uid"]
        shared_place.api.delete(shared_place.namespace, plural, name)

        def back(plural=plural, name=name, before=before) -> bool:
            found = shared_place.api.get(shared_place.namespace, plural, name)
            return found is not None and found["metadata"]["uid"] != before

        shared_place.until(back, 10, "gone")


def test_a_widened_role_is_narrowed_again(shared_place):
    """A runner must never get more than its own status."""
    shared_place.refresh("role")
    shared_place.ready("role")
    rules = shared_place.api.get(shared_place.namespace, "roles", "role-runner")["rules"]
    wide = [*rules, {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]
    shared_place.api.patch(shared_place.namespace, "roles", "role-runner", {"rules": wide})
    shared_place.until(lambda: shared_place.api.get(shared_place.namespace, "roles", "role-runner")["rules"] == rules, 10, "role")


def test_a_deleted_refresh_leaves_nothing(shared_place):
    """Everything of it goes, also a run under way; the control: it was there. No finalizer holds it up."""
    shared_place.refresh("end", token="one")
    job = shared_place.run_of("end")
    shared_place.pod_of(job)
    label = "dashboards.sigeti.io/refresh=end"
    plurals = [*KEPT, "jobs", "pods"]
    assert all(shared_place.api.items(shared_place.namespace, plural, label) for plural in plurals)
    assert "finalizers" not in shared_place.seen("end")["metadata"]
    shared_place.api.delete(shared_place.namespace, "dashboardrefreshes", "end")
    eventually(
        lambda: not any(shared_place.api.items(shared_place.namespace, plural, label) for plural in plurals),
        within=60,
        context=shared_place.kubectl.story,
    )


def test_a_foreign_cronjob_of_our_name_is_refused_and_left_alone(shared_place):
    """It belongs to somebody; once it is gone, ours is made."""
    container = {"name": "c", "image": "i"}
    template = {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}}
    body = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "foreign"},
        "spec": {"schedule": "1 1 1 1 *", "jobTemplate": template},
    }
    foreign = shared_place.api.create(shared_place.namespace, "cronjobs", body)
    shared_place.refresh("foreign")
    shared_place.until(lambda: shared_place.condition("foreign", "Ready") == ("False", "CronJobConflict"), 10, "foreign")
    assert shared_place.condition("foreign", "Stalled")[0] == "True"
    assert shared_place.cronjob("foreign")["metadata"]["resourceVersion"] == foreign["metadata"]["resourceVersion"]
    shared_place.told("foreign", "CronJobConflict")
    shared_place.api.delete(shared_place.namespace, "cronjobs", "foreign")
    shared_place.ready("foreign")
    assert shared_place.cronjob("foreign")["spec"]["schedule"] == "0 0 1 1 *"


def test_a_cronjob_that_a_finalizer_keeps_is_named_and_heals_by_itself(shared_place):
    """While it is there it starts nothing; without the finalizer it goes, and a new one is made."""
    shared_place.refresh("held")
    shared_place.ready("held")
    before = shared_place.cronjob("held")["metadata"]["uid"]
    shared_place.api.patch(shared_place.namespace, "cronjobs", "held", {"metadata": {"finalizers": ["example.org/hold"]}})
    shared_place.api.delete(shared_place.namespace, "cronjobs", "held")
    shared_place.until(lambda: shared_place.condition("held", "Ready") == ("False", "BeingDeleted"), 10, "held")
    assert shared_place.status("held")["phase"] == "Blocked"
    assert "CronJob held was deleted and is kept by example.org/hold" in shared_place.status("held")["message"]
    shared_place.api.patch(shared_place.namespace, "cronjobs", "held", {"metadata": {"finalizers": None}})
    shared_place.until(lambda: (shared_place.cronjob("held") or {"metadata": {"uid": before}})["metadata"]["uid"] != before, 10, "held")
    shared_place.ready("held")


def test_a_missing_secret_is_named_and_heals_by_itself(shared_place):
    """First the Secret, then the key that it lacks; nobody has to touch the refresh."""
    shared_place.refresh("secret", warehouse={"secretRef": {"name": "late"}})
    shared_place.until(lambda: shared_place.condition("secret", "Ready") == ("False", "SecretNotFound"), 10, "secret")
    assert "late" in shared_place.status("secret")["message"]
    assert shared_place.status("secret")["phase"] == "Blocked"
    shared_place.secret("late", {"host": "h", "dbname": "d", "user": "u"})
    shared_place.until(lambda: "no key password" in shared_place.status("secret")["message"], 10, "secret")
    shared_place.api.patch(shared_place.namespace, "secrets", "late", {"stringData": {"password": "secret-word"}})
    shared_place.ready("secret")
    assert "secret-word" not in shared_place.log.read_text() + str(shared_place.seen("secret"))


def test_a_spec_that_only_the_operator_can_judge_stalls_and_recovers(shared_place):
    """What is in dbt's variables passes the schema; the field is named, and the fix is all that it needs."""
    shared_place.refresh("large", dbt=TOO_LARGE)
    shared_place.until(lambda: shared_place.condition("large", "Stalled") == ("True", "InvalidSpec"), 10, "large")
    assert shared_place.status("large")["message"].startswith("spec.dbt.vars: ")
    assert shared_place.cronjob("large") is None
    shared_place.edit("large", dbt={"vars": {"a": str(2**63)}})
    shared_place.ready("large")
    assert shared_place.condition("large", "Stalled")[0] == "False"


def test_a_bad_edit_leaves_the_old_cronjob_running(shared_place):
    """Dashboards stay fresh while somebody looks for the mistake."""
    shared_place.refresh("older", schedule="5 5 * * *")
    shared_place.ready("older")
    shared_place.edit("older", schedule="6 6 * * *", dbt=TOO_LARGE)
    shared_place.until(lambda: shared_place.condition("older", "Stalled")[0] == "True", 10, "older")
    assert shared_place.cronjob("older")["spec"]["schedule"] == "5 5 * * *"


def test_long_names_work(shared_place):
    """52 characters, the most that are taken: its CronJob's name is shorter, and its pods' host names fit."""
    name = "n" * 52
    shared_place.refresh(name, token="long")
    job = shared_place.run_of(name)
    assert shared_place.pod_of(job)["spec"]["hostname"] == f"{job}-0"


@pytest.fixture(scope="module")
def apart(places) -> Place:
    """A place whose permissions and log are these tests' own."""
    place = places()
    place.start()
    return place


def test_a_permission_taken_away_shows_and_comes_back(apart):
    """Ready=False/Forbidden while the operator may not see CronJobs; the control: it was ready before."""
    apart.refresh("rights")
    apart.ready("rights")
    role = apart.api.get(apart.namespace, "roles", "op-dashboard-refresh")
    without = [rule for rule in role["rules"] if "cronjobs" not in rule["resources"]]
    apart.api.patch(apart.namespace, "roles", "op-dashboard-refresh", {"rules": without})
    apart.edit("rights", title="New")
    apart.until(lambda: apart.condition("rights", "Ready") == ("False", "Forbidden"), 15, "rights")
    assert "cronjobs" in apart.status("rights")["message"]
    apart.api.patch(apart.namespace, "roles", "op-dashboard-refresh", {"rules": role["rules"]})
    apart.ready("rights")


def test_at_rest_nothing_is_written(apart):
    """Not by the operator: counted by the API server itself. The control: an edit is counted."""
    said = len(apart.log.read_text())
    for number in range(5):
        apart.refresh(f"rest-{number}")
    for number in range(5):
        apart.ready(f"rest-{number}")

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
    # every refresh is looked at again, since each is touched by somebody
    for number in range(5):
        apart.api.patch(apart.namespace, "cronjobs", f"rest-{number}", {"metadata": {"annotations": {"note": "touched"}}})
    touched = versions()
    assert len(set(touched) - set(before)) == 5
    time.sleep(3)  # the one place where nothing must happen
    assert versions() == touched
    assert "replaced" not in apart.log.read_text()[said:]
    apart.edit("rest-0", title="New")
    apart.until(lambda: len(set(versions()) - set(touched)) >= 2, 10, "rest-0")


def test_the_operator_writes_nothing_into_the_users_metadata(shared_place):
    """No annotation, no finalizer: what GitOps compares stays as it was."""
    made = shared_place.refresh("gitops")
    shared_place.ready("gitops")
    seen = shared_place.seen("gitops")
    assert seen["spec"] == made["spec"]
    ours = {key: value for key, value in seen["metadata"].items() if key not in ("resourceVersion", "managedFields")}
    assert ours == {key: value for key, value in made["metadata"].items() if key not in ("resourceVersion", "managedFields")}
    assert made["spec"]["layers"][0]["name"] == sample_spec()["layers"][0]["name"]


def test_stale_data_shows_by_the_clock_alone(shared_place):
    """Fresh after a run, stale when its time is over though nothing happens; kubectl wait takes both, Ready does not change."""
    shared_place.refresh("stale", token="one", freshness={"maxStaleness": "3s"})
    shared_place.until(lambda: shared_place.condition("stale", "DataFresh") == ("False", "NeverLoaded"), 10, "stale")
    job = shared_place.run_of("stale")
    shared_place.end(job)
    shared_place.kubectl("wait", "dr/stale", "--for=condition=DataFresh", "--timeout=10s")
    shared_place.kubectl("wait", "dr/stale", "--for=condition=DataFresh=False", "--timeout=10s")
    assert shared_place.condition("stale", "DataFresh") == ("False", "Stale")
    assert shared_place.condition("stale", "Ready") == ("True", "Scheduled")
    shared_place.told("stale", "DataStale")


def test_a_pod_template_is_kept_and_what_kubernetes_refuses_is_said(shared_place):
    """At rest with it; one that a policy of the cluster refuses stalls the refresh in the policy's own words, and the fix recovers."""
    toleration = {"key": "batch", "operator": "Exists", "effect": "NoSchedule"}
    node_affinity = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [IN_ZONE]}]}}
    spec: Json = {"nodeSelector": {"disk": "fast"}, "tolerations": [toleration], "affinity": {"nodeAffinity": node_affinity}}
    shared_place.refresh("template", podTemplate={"spec": spec})
    shared_place.ready("template")
    version = shared_place.cronjob("template")["metadata"]["resourceVersion"]
    refuse_slow_disks(shared_place)
    shared_place.edit("template", podTemplate={"spec": {"nodeSelector": {"disk": "slow"}}})
    shared_place.until(lambda: shared_place.condition("template", "Stalled") == ("True", "InvalidSpec"), 10, "template")
    assert "no slow disks here" in shared_place.status("template")["message"]
    assert shared_place.cronjob("template")["metadata"]["resourceVersion"] == version
    shared_place.edit("template", podTemplate={"spec": {"nodeSelector": {"disk": "fast"}}})
    shared_place.ready("template")
    assert "DriftCorrected" not in [reason for reason, _ in shared_place.events("template")]


IN_ZONE = {"key": "zone", "operator": "In", "values": ["a"]}


def refuse_slow_disks(place):
    """Have the API server refuse CronJobs for slow disks in a namespace, and wait until it does."""
    name = f"slow-{place.namespace}"
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
    here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": place.namespace}}}
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"], "matchResources": here},
    }
    place.kubectl.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": [policy, binding]}))
    patch = {"spec": {"jobTemplate": {"spec": {"template": {"spec": {"nodeSelector": {"disk": "slow"}}}}}}}
    words = ("patch", "cronjob", "template", "--dry-run=server", "--type=merge", "--patch", json.dumps(patch))
    eventually(lambda: "no slow disks here" in place.kubectl.attempt(*words).stderr, within=30)
