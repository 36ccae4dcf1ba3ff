"""API server and models accept the same specs, and Kubernetes accepts the CronJob of each accepted spec without changes."""

from __future__ import annotations

import copy
import json
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from refresh_api.objects import Json
from refresh_api.spec import RefreshSpec
from refresh_operator.code_policy import CodeRules
from refresh_operator.settings import Settings
from refresh_operator.specs.cronjob import cronjob
from refresh_operator.specs.diff import differences
from refresh_operator.state.refresh import parse_refresh
from support.apiserver import ApiServer
from support.snapshots import UID, minutes_from_now
from support.spec_validation import FULL_SPEC, as_ascii, mutants, validate_by_both, with_value

SETTINGS = Settings(namespaces=("default",), runner_image="refresh-runner:1", code_rules=CodeRules(urls=("https://*/*", "ssh://*/*")))
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
FUZZ_CASES = os.environ.get("FUZZ_CASES")
"""Number of specs that `make fuzz` tries, by its seed; `make test` always tries the same few."""


@pytest.fixture(scope="module")
def doors(contract: object, api: ApiServer) -> ApiServer:
    """An API server with the CRD."""
    assert contract
    return api


def test_the_full_spec_is_taken_by_all(doors):
    """Control of the tests below: what is rejected is the change to this spec. A unit test checks that it has every field."""
    assert why_not_at_rest(doors, FULL_SPEC) == ""


def test_the_doors_disagree_on_nothing(doors):
    """Hypothesis changes the full spec in one or two places: letters, types, nulls, numbers, lengths, keys."""

    cases, quiet = int(FUZZ_CASES or 250), list(HealthCheck)

    @settings(max_examples=cases, derandomize=not FUZZ_CASES, deadline=None, database=None, suppress_health_check=quiet)
    @given(mutants())
    def agree(spec):
        verdict = validate_by_both(doors, spec)
        assert verdict.agreed or any(each in verdict.models_say for each in ("dbt.vars", "webhook.body")), (
            f"{as_ascii(spec)}\nserver: {verdict.server_says or 'taken'}\nmodels: {verdict.models_say or 'taken'}"
        )
        if verdict.read and verdict.stored:
            assert RefreshSpec.model_validate(verdict.stored) == verdict.read, as_ascii(spec)
            assert why_not_at_rest(doors, spec) == "", as_ascii(spec)

    agree()


def why_not_at_rest(doors: ApiServer, spec: dict) -> str:
    """Return Kubernetes' error for the CronJob of a spec, or what it changes in it; empty if the operator would find no drift."""
    metadata: Json = {"name": "doors", "namespace": "default", "uid": UID, "generation": 1, "creationTimestamp": minutes_from_now(0)}
    refresh = parse_refresh({"metadata": metadata, "spec": spec})
    if not isinstance(refresh.spec, RefreshSpec):
        return f"{refresh.spec}"
    desired = cronjob(refresh, refresh.spec, SETTINGS, suspended=False)
    taken, answer = doors.dry_run_create("default", "cronjobs", desired)
    return str(differences(desired, answer) or "") if taken else str(answer["message"])


def pod(**spec: Any) -> dict[str, Any]:
    """Return a spec with a pod template."""
    return {"podTemplate": {"spec": spec}}


def labelled(key: str, value: str = "x") -> dict[str, Any]:
    return {"podTemplate": {"metadata": {"labels": {key: value}}}}


def annotated(key: str, value: str = "x") -> dict[str, Any]:
    return {"podTemplate": {"metadata": {"annotations": {key: value}}}}


def variable(name: str, value: str = "x") -> dict[str, Any]:
    return pod(containers=[{"name": "runner", "env": [{"name": name, "value": value}]}])


def selecting(*selectors: str) -> dict[str, Any]:
    return {"layers": [{"name": "a", "select": list(selectors)}]}


def quantities(**limits: Any) -> dict[str, Any]:
    return {"resources": {"requests": {}, "limits": limits}}


def fetched(url: str = "https://git.example.org/data/velos.git", **git: Any) -> dict[str, Any]:
    return {"project": {"git": {"url": url, **git}}}


def stored(**bucket: Any) -> dict[str, Any]:
    """Return a spec whose files go to a bucket."""
    return {"artifacts": {"store": {"s3": {"endpoint": "https://s3", "bucket": "bucket", "secretRef": {"name": "b"}, **bucket}}}}


def previewed(secret: str = "p", **fields: Any) -> dict[str, Any]:
    """Return a spec with previews, by the Secret of this name."""
    return {**fetched(secretRef={"name": "g"}), "preview": {"warehouse": {"secretRef": {"name": secret}}}, **fields}


URL_SAYS = "write https://HOST/PATH or ssh://USER@HOST/PATH, without a password, which belongs in secretRef"
NO_URLS = {
    "a password": "https://user:secret@git.example.org/data/velos",
    "a token": "https://token@git.example.org/data/velos",
    "a password for ssh": "ssh://git:secret@git.example.org/data/velos",
    "plain HTTP": "http://git.example.org/data/velos",
    "git's own protocol": "git://git.example.org/data/velos",
    "a scheme in capitals": "HTTPS://git.example.org/data/velos",
    "no scheme, as scp writes it": "git@git.example.org:data/velos",
    "a file": "file:///srv/velos",
    "a folder": "/srv/velos",
    "a helper of git": "ext::sh -c x",
    "no path": "https://git.example.org",
    "an empty path": "https://git.example.org/",
    "an empty part": "https://git.example.org/data//velos",
    "a folder above": "https://git.example.org/data/../secret/velos",
    "an encoded folder above": "https://git.example.org/data/%2e%2e/secret/velos",
    "a half encoded folder above": "https://git.example.org/data/.%2E/secret/velos",
    "an encoded slash": "https://git.example.org/data%2Fvelos",
    "a query": "https://git.example.org/data/velos?ref=x",
    "a fragment": "https://git.example.org/data/velos#main",
    "an option for a host": "ssh://-oProxyCommand=x/data/velos",
    "an option for a user": "ssh://-l@git.example.org/data/velos",
    "a blank": "https://git.example.org/data/my velos",
    "a line break": "https://git.example.org/data/velos\n",
    "a backslash": "https://git.example.org\\@evil.example/data/velos",
    "a letter of another script": "https://git.example.org/données/velos",
    "a host of another script": "https://gіt.example.org/data/velos",
}
URLS = {
    "a port": "https://git.example.org:8443/data/velos",
    "a user of ssh": "ssh://git@git.example.org:2222/~data/velos.git",
    "ssh without a user": "ssh://git.example.org/data/velos",
    "an address of IPv6": "https://[2001:db8::1]:8443/data/velos",
    "a slash at the end": "https://git.example.org/data/velos/",
    "many folders": "https://git.example.org/a/b/_git/my%20project/+x/b..c",
}


def sourced(**changes: Any) -> dict[str, Any]:
    """Return a project from a source of Flux, with changes."""
    source = {"kind": "GitRepository", "name": "warehouse", **changes}
    return {"project": {"sourceRef": {key: value for key, value in source.items() if value is not None}}}


def checked(ref: Any, **project: Any) -> dict[str, Any]:
    """Return a project that is checked for new commits, with changes."""
    return {"project": {"onProjectChange": "Run", **fetched(ref=ref)["project"], **project}}


WEEK = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
PAGED = {"pagerDuty": {"routingKeySecretRef": {"name": "pd", "key": "key"}}}
SLACK_HOOK = {"slack": {"channel": "#a", "webhookSecretRef": {"name": "slack", "key": "url"}}}


def quiet(**hours: Any) -> dict[str, Any]:
    return {"notifications": [{**SLACK_HOOK, "quietHours": [hours]}]}


RANGES = [
    *(">=1.2 <2", "^1.2", "~1.2.3", "1.x", "1.2.*", "*", "v1", "=1.2.3", "!=1.2.3 >1", ">= 1.2, < 2", "1.2 - 1.4", "1.2||^2 || 3"),
    ">=2.0.0-rc.1 <3.0.0-0",
]
NO_RANGES = [
    "",
    " ",
    "latest",
    "v",
    "1.2.3.4",
    ">",
    "=>1",
    "1.2 -1",
    "1.x-rc",
    "1.2.3-",
    "1.2.3-a..b",
    "^1 ||",
    "|| 1",
    "1.2\n",
    "1e3",
    ">=1.2  <2",
]
NO_REFS = {
    "an option": "--upload-pack=x",
    "a dash at the beginning": "-main",
    "a slash at the beginning": "/main",
    "a blank": "my branch",
    "a line break": "main\n",
    "a commit before it": "main~1",
    "a colon": "main:refs/heads/x",
    "a wildcard": "release/*",
    "a character that does not show": "ma\u200bin",
}
NO_PATHS = {
    "a folder above": "../dbt",
    "a folder above, further below": "dbt/../../x",
    "a folder of the machine": "/etc",
    "git's own folder": "dbt/.git",
    "an empty part": "dbt//models",
    "a slash at the end": "dbt/",
    "a blank": "my dbt",
    "a backslash": "dbt\\models",
    "a line break": "dbt\nmodels",
}
SHORT = "write the full hash of a commit: 40 hexadecimal digits"
REF = "write the name of a branch or tag, like main or release/2"
VARIABLES = """PATH HOME TMPDIR TEMP TMP SHELL USER ENV BASH_ENV IFS PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONINSPECT PYTHONUSERBASE
PYTHONWARNINGS PYTHONBREAKPOINT LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT GLIBC_TUNABLES GCONV_PATH LOCPATH MALLOC_TRACE HOSTALIASES RES_OPTIONS
LOCALDOMAIN KUBERNETES_SERVICE_HOST KUBERNETES_SERVICE_PORT KUBECONFIG PGHOST PGHOSTADDR PGSERVICEFILE PGOPTIONS PGPASSFILE PGSSLROOTCERT
PGSYSCONFDIR DBT_PROFILES_DIR DBT_PROJECT_DIR DBT_TARGET_PATH DBT_ENGINE_X DBT_ENV_SECRET_X REFRESH_RUN_REQUEST REFRESH_ANYTHING RUN_ID
RUN_FAILURES POD_NAME API_BASE_URL RUN_URL_TEMPLATE SSL_CERT_FILE SSL_CERT_DIR SSLKEYLOGFILE OPENSSL_CONF OPENSSL_MODULES
REQUESTS_CA_BUNDLE CURL_CA_BUNDLE KRB5_CONFIG KRB5CCNAME XDG_CONFIG_HOME GIT_SSH_COMMAND NETRC TZDIR PSYCOPG_IMPL _PYTHON_SYSCONFIGDATA_NAME
DO_NOT_TRACK PERL5LIB NODE_OPTIONS""".split()
LABELS = """app.kubernetes.io/name app.kubernetes.io/instance app.kubernetes.io/managed-by app k8s-app name component run job-name
controller-uid pod-template-hash batch.kubernetes.io/job-name dashboards.sigeti.io/refresh sub.dashboards.sigeti.io/x kubernetes.io/x
x.k8s.io/y pod-security.kubernetes.io/enforce azure.workload.identity/use aadpodidbinding istio.io/rev APP""".split()
ANNOTATIONS = """container.apparmor.security.beta.kubernetes.io/runner seccomp.security.alpha.kubernetes.io/pod kubernetes.io/config.source
kubectl.kubernetes.io/default-container cdi.k8s.io/gpu dashboards.sigeti.io/request sidecar.istio.io/userVolume sidecar.istio.io/proxyImage
inject.istio.io/templates vault.hashicorp.com/agent-inject k8s.v1.cni.cncf.io/networks iam.amazonaws.com/role
io.kubernetes.cri-o.userns-mode run.oci.handler cni.projectcalico.org/ipAddrs config.linkerd.io/proxy-image
instrumentation.opentelemetry.io/inject-python openshift.io/scc""".split()
REFUSED = {
    **{f"variable {name}": (variable(name), "this variable is protected") for name in VARIABLES},
    **{f"label {key}": (labelled(key), "this label is protected") for key in LABELS},
    **{f"annotation {key}": (annotated(key), "this annotation is protected") for key in ANNOTATIONS},
    "a priority of the system": (pod(priorityClassName="system-node-critical"), "the cluster's own pods"),
    "a variable with NUL": (variable("A", "a\x00b"), "without control characters"),
    "65 dbt variables": ({"dbt": {"vars": {f"v{number}": 1 for number in range(65)}}}, "64"),
    "65 variables": (pod(containers=[{"name": "runner", "env": [{"name": f"V{number}"} for number in range(65)]}]), "64"),
    "33 labels": ({"podTemplate": {"metadata": {"labels": {f"l{number}": "x" for number in range(33)}}}}, "32"),
    "33 annotations": ({"podTemplate": {"metadata": {"annotations": {f"l{number}": "x" for number in range(33)}}}}, "32"),
    "33 labels of nodes": (pod(nodeSelector={f"l{number}": "x" for number in range(33)}), "32"),
    "a blank that does not break in a selector": (selecting("a\u00a0b"), "one dbt selector"),
    "a unit separator in a selector": (selecting("a\x1fb"), "one dbt selector"),
    "a NUL in a selector": (selecting("a\x00b"), "one dbt selector"),
    "an invalid label": (labelled("a b"), "the key of a label"),
    "an invalid value of a label": (labelled("a", "x y"), "the value of a label"),
    "a number as a label": ({"podTemplate": {"metadata": {"labels": {"a": 1}}}}, "string"),
    "a toleration that is misspelt": (pod(tolerations=[{"key": "a", "operatr": "Exists"}]), "operatr"),
    "a toleration of an unknown kind": (pod(tolerations=[{"key": "a", "operator": "Perhaps"}]), "Exists"),
    "a toleration of all without Exists": (pod(tolerations=[{"effect": "NoSchedule"}]), "operator: Exists"),
    "an affinity that is misspelt": (pod(affinity={"nodeAfinity": {}}), "nodeAfinity"),
    "values for Exists": (
        pod(affinity={"podAffinity": {REQUIRED: [
            {"topologyKey": "a", "labelSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}}]}}),
        "must not have values",
    ),
    "volumes": (pod(volumes=[{"name": "x", "hostPath": {"path": "/"}}]), "volumes"),
    "a host's network": (pod(hostNetwork=True), "hostNetwork"),
    "another account": (pod(serviceAccountName="admin"), "serviceAccountName"),
    "another command": (pod(containers=[{"name": "runner", "command": ["sh"]}]), "command"),
    "another container": (pod(containers=[{"name": "sidecar"}]), "runner"),
    "variables from a Secret": (pod(containers=[{"name": "runner", "envFrom": [{"secretRef": {"name": "x"}}]}]), "envFrom"),
    "a variable from a Secret": (pod(containers=[{"name": "runner", "env": [{"name": "A", "valueFrom": {}}]}]), "valueFrom"),
    "init containers": (pod(initContainers=[{"name": "x", "image": "y"}]), "initContainers"),
    "a variable twice": (pod(containers=[{"name": "runner", "env": [{"name": "A"}, {"name": "A"}]}]), "A"),
    "an endpoint twice": ({"cache": {"endpoints": ["/a", "/a"]}}, "/a"),
    "a number in quotes": ({"retries": "1"}, "number"),
    "true for a number": ({"retries": True}, "number"),
    "yes for true": ({"suspend": "yes"}, "true or false"),
    "another spelling of a field": ({"time_zone": "Etc/UTC"}, "time_zone"),
    "a moment in seconds": ({"suspendUntil": 1767225600}, "write a time"),
    "a moment with a blank": ({"suspendUntil": "2026-12-24 18:00:00Z"}, "write a time"),
    "an image with a blank": ({"image": "registry.example.org/x: 1"}, "write an image"),
    "an image with a URL's scheme": ({"image": "https://registry.example.org/x"}, "write an image"),
    "an image with half a digest": ({"image": "x@sha256:abc"}, "write an image"),
    "an empty list for a moment": ({"suspendUntil": []}, "write a time"),
    "a moment in small letters": ({"suspendUntil": "2026-12-24t18:00:00z"}, "write a time"),
    "a zone a day off": ({"suspendUntil": "2026-12-24T18:00:00+24:00"}, "write a time"),
    "a day that does not exist": ({"suspendUntil": "2026-02-30T18:00:00Z"}, ""),
    "a leap second": ({"suspendUntil": "2016-12-31T23:59:60Z"}, ""),
    "the year 0": ({"suspendUntil": "0000-02-29T00:00:00Z"}, ""),
    "a moment after 9999": ({"suspendUntil": "9999-12-31T23:59:59.999-14:00"}, ""),
    "a range that begins after its end": ({"schedule": "0 0 * * sat-sun"}, "begins after its end"),
    "a day that never comes": ({"schedule": "0 0 31 2-6/2 *"}, "never matches"),
    "an open minute whose step does not divide an hour": ({"schedule": "H/7 * * * *"}, "five fields"),
    "an open minute with a step of nothing": ({"schedule": "H/0 * * * *"}, "five fields"),
    "an open minute in a range": ({"schedule": "H-30 * * * *"}, "five fields"),
    "an open day": ({"schedule": "0 0 H * *"}, "five fields"),
    "an open hour with a step": ({"schedule": "0 H/6 * * *"}, "five fields"),
    "an open minute in small letters": ({"schedule": "h * * * *"}, "five fields"),
    "stale data without a limit": ({"freshness": None, "notifications": [{**SLACK_HOOK, "when": ["Stale"]}]}, "freshness.maxStaleness"),
    "quiet hours without a length": (quiet(start="22:00", end="22:00"), "different times"),
    "quiet hours at all times": (quiet(start="00:00", end="24:00"), "at most six"),
    "quiet hours at all times of seven days": (quiet(start="00:00", end="24:00", days=[*WEEK]), "at most six"),
    "quiet hours from 24:00": (quiet(start="24:00", end="07:00"), "time of day"),
    "quiet hours until 7": (quiet(start="22:00", end="7"), "time of day"),
    "quiet hours on a day in full": (quiet(start="22:00", end="07:00", days=["Monday"]), "Monday"),
    "quiet hours of PagerDuty": ({"notifications": [{**PAGED, "quietHours": [{"start": "22:00", "end": "07:00"}]}]}, "quietHours are for"),
    "a tab in a schedule": ({"schedule": "0 0\t* * *"}, "five fields"),
    "a zone of some systems": ({"timeZone": "posix/Etc/UTC"}, "IANA"),
    "a key that leads out of its folder": (
        {"cache": {"endpoints": ["/a"], "authorizationSecretRef": {"name": "a", "key": ".."}}},
        "key of a Secret",
    ),
    "a name with two dots": ({"warehouse": {"secretRef": {"name": "a..b"}}}, "name of an object"),
    "a thousandth of a thousandth": (quantities(cpu="0.0001"), "quantity"),
    "more than there is": (quantities(memory="2Ei"), "at most 1Ei"),
    "more digits than a number has": (quantities(memory="1" * 19), "quantity"),
    "a title of two lines": ({"displayName": "a\nb"}, "one line"),
    **{f"an address of a project with {what}": (fetched(url), URL_SAYS) for what, url in NO_URLS.items()},
    **{f"a branch with {what}": (fetched(ref={"branch": name}), REF) for what, name in NO_REFS.items()},
    **{f"a tag with {what}": (fetched(ref={"tag": name}), REF) for what, name in NO_REFS.items()},
    **{f"a folder with {what}": (fetched(path=path), "write a folder inside the repository") for what, path in NO_PATHS.items()},
    "an address of 513 characters": (fetched("https://git.example.org/" + "a" * 489), "512"),
    "a short commit": (fetched(ref={"commit": "6e27e9a9"}), SHORT),
    "a commit in capitals": (fetched(ref={"commit": "A" * 40}), SHORT),
    "a commit of 41 digits": (fetched(ref={"commit": "a" * 41}), SHORT),
    "a branch and a tag": (fetched(ref={"branch": "main", "tag": "v1"}), "name at most one of branch, tag, semver and commit"),
    "a tag and a commit": (fetched(ref={"tag": "v1", "commit": "a" * 40}), "name at most one of branch, tag, semver and commit"),
    "a tag and a range": (fetched(ref={"tag": "v1", "semver": "^1.2"}), "name at most one of branch, tag, semver and commit"),
    **{f"a range of versions like {text}": (fetched(ref={"semver": text}), "write a range of versions") for text in NO_RANGES},
    "a repository and a source": ({"project": {**fetched()["project"], **sourced()["project"]}}, "set either git or sourceRef"),
    "a source of another kind": (sourced(kind="HelmRepository"), "kind"),
    "a source in another namespace": (sourced(namespace="flux-system"), "namespace"),
    "a source without a name": (sourced(name=None), "name"),
    "previews of a source": (previewed(**sourced()), "preview requires project.git"),
    "a check for changes of a commit": (checked({"commit": "a" * 40}), "since a commit never changes"),
    "checks without a pause": (checked({}, interval="9s"), "interval: must be at least 10s"),
    "a word for no change": (checked({}, onProjectChange="Never"), "onProjectChange"),
    "a project from nowhere": ({"project": {}}, "set either git or sourceRef"),
    "a project without an address": ({"project": {"git": {}}}, "url"),
    "a project with a misspelt ref": (fetched(ref={"brnch": "main"}), "brnch"),
    "a project's Secret without a name": (fetched(secretRef={}), "name"),
    "no time to fetch": (fetched(timeout="0s"), "write a duration"),
    "previews of the image's project": (previewed(project=None), "preview requires project"),
    "previews by the role of runs": (previewed("w"), "name another Secret than warehouse.secretRef, since a preview runs code"),
    "previews with the repository's Secret": (previewed("g"), "name another Secret than project.git.secretRef"),
    "previews with the API's Secret": (
        previewed("a", cache={"endpoints": ["/a"], "authorizationSecretRef": {"name": "a", "key": "token"}}),
        "name another Secret than cache.authorizationSecretRef",
    ),
    "previews with the lineage server's Secret": (
        previewed("l", lineage={"url": "http://m:5000", "authorizationSecretRef": {"name": "l", "key": "token"}}),
        "name another Secret than lineage.authorizationSecretRef",
    ),
    "previews with the bucket's Secret": (previewed("b", **stored()), "name another Secret than artifacts.store.s3.secretRef"),
    **{
        f"a store at {endpoint}": (stored(endpoint=endpoint), "write the address of a server")
        for endpoint in ("s3.example.org", "https://s3.example.org/path", "https://me:word@s3.example.org", "ftp://s3", "https://s3?a=b")
    },
    **{f"a bucket like {name}": (stored(bucket=name), "write the name of a bucket") for name in ("B", "ab", "a/b", "-a-")},
    **{f"a prefix like {name}": (stored(prefix=name), "write names of letters") for name in ("/a", "a/", "a//b", "../b", "é", "a b")},
    "a region in capitals": (stored(region="EU"), "write the name of a region"),
    "a bucket without credentials": (stored(secretRef=None), "secretRef"),
    "a store that is nowhere": ({"artifacts": {"store": {}}}, "s3"),
    "files without a store": ({"artifacts": {}}, "store"),
    "previews with the collector's Secret": (
        previewed("c", tracing={"headersSecretRef": {"name": "c", "key": "headers"}}),
        "name another Secret than tracing.headersSecretRef",
    ),
    "traces without a Secret": ({"tracing": {}}, "headersSecretRef"),
    "lineage to a file": ({"lineage": {"url": "file:///etc/passwd"}}, "write an address"),
    "lineage to nowhere": ({"lineage": {}}, "url"),
    "no previews at a time": (previewed(preview={"warehouse": {"secretRef": {"name": "p"}}, "maxConcurrent": 0}), "maxConcurrent"),
}  # fmt: skip
MOMENTS = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "2028-02-29T18:00:00.5+23:59", "2026-12-24T18:00:00-00:00"]
TAKEN = {
    **{f"variable {name}": variable(name) for name in ("HTTP_PROXY", "https_proxy", "NO_PROXY", "ALL_PROXY", "TENANT", "my_var", "TZ")},
    "the autoscaler": annotated("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"),
    "karpenter": annotated("karpenter.sh/do-not-disrupt", "true"),
    "no sidecar, by annotation": annotated("sidecar.istio.io/inject", "false"),
    "no sidecar, by label": labelled("sidecar.istio.io/inject", "false"),
    "no proxy of linkerd": annotated("linkerd.io/inject", "disabled"),
    "a label of a team": labelled("team", "bi"),
    "a label of a domain": labelled("example.org/cost-center", "4711"),
    "nodes by Kubernetes' own labels": pod(nodeSelector={"kubernetes.io/arch": "amd64", "node.kubernetes.io/instance-type": "m5.large"}),
    "all taints": pod(tolerations=[{"operator": "Exists"}]),
    "an image": {"image": "Registry.example.org:5000/team/x_y/runner:1.2-rc.1_a@sha256:" + "a" * 64},
    "a short image": {"image": "runner"},
    "an autumn's 31st": {"schedule": "0 0 31 9-11 *"},
    "a leap day": {"schedule": "0 0 29 2 *"},
    "notifications of stale data": {"freshness": {"maxStaleness": "4h"}, "notifications": [{**SLACK_HOOK, "when": ["Stale", "Failed"]}]},
    "notifications of missed runs": {"notifications": [{**SLACK_HOOK, "when": ["Missed"]}, {**PAGED, "when": ["Failed", "Missed"]}]},
    "quiet hours at night": quiet(start="22:00", end="07:00"),
    "quiet hours of a weekend": quiet(start="00:00", end="24:00", days=["Sat", "Sun"]),
    "an open minute": {"schedule": "H * * * *"},
    "an open minute and hour": {"schedule": "H H * mar thu"},
    "an open minute every quarter of an hour, by day": {"schedule": "H/15 6-20 * * *"},
    "an open minute and a certain one": {"schedule": "0,H 6,H * * *"},
    "nulls": {"suspend": None, "displayName": None, "notifications": None, "podTemplate": None, "timeout": None, "dbt": {"vars": None}},
    "a null in dbt's variables": {"dbt": {"vars": {"a": None, "b": [None]}}},
    "a whole number with a point": {"retries": 1.0},
    "no limits": quantities(),
    "an empty variable": variable("TENANT", ""),
    "an affinity with nothing in it": pod(affinity={"nodeAffinity": {}, "podAffinity": {REQUIRED: []}}),
    "names in other scripts": {"displayName": "Été 😀", "dbt": {"vars": {"é": "😀"}}},
    **{f"the moment {moment}": {"suspendUntil": moment} for moment in MOMENTS},
    **{f"an address of a project with {what}": fetched(url) for what, url in URLS.items()},
    "an address of 512 characters": fetched("https://git.example.org/" + "a" * 488),
    "a branch in another script": fetched(ref={"branch": "fonctionnalité/été-😀"}),
    "a branch with other characters": fetched(ref={"branch": "release/2.x_y+z@{1}#'\"$&"}),
    "a tag": fetched(ref={"tag": "v1.2.3"}),
    **{f"a range of versions like {text}": fetched(ref={"semver": text}) for text in RANGES},
    "a commit": fetched(ref={"commit": "0123456789" * 4}),
    "a commit by SHA-256": fetched(ref={"commit": "f" * 64}),
    "the default branch": fetched(ref={}),
    "nulls of a project": fetched(ref=None, path=None, secretRef=None, timeout=None),
    "no branch but a tag": fetched(ref={"branch": None, "tag": "v1"}),
    **{f"a source of the kind {kind}": sourced(kind=kind) for kind in ("GitRepository", "OCIRepository", "Bucket")},
    "a folder of a source": sourced(path="dbt", packages="Locked", timeout="5m"),
    "checks of a source": {"project": {**sourced()["project"], "onProjectChange": "Run", "fallback": "LastGood"}},
    "no repository but a source": {"project": {"git": None, **sourced()["project"]}},
    "checks every 10 seconds": checked({"tag": "v1"}, interval="10s"),
    "checks of the default branch": checked(None),
    "a commit that is not checked": checked({"commit": "a" * 40}, onProjectChange="Ignore"),
    "nulls of checks": checked({}, onProjectChange=None, interval=None),
    "a folder of a project": fetched(path="Entrepôt/dbt-😀_2"),
    "the top folder of a project": fetched(path="."),
    "a folder below the top folder": fetched(path="./dbt/a..b"),
    "previews": previewed(),
    "previews of a public repository": previewed(**fetched()),
    "nulls of previews": previewed(preview={"warehouse": {"secretRef": {"name": "p"}}, "timeout": None, "resources": None}),
    "one Secret for warehouse and repository": fetched(secretRef={"name": "w"}),
}  # fmt: skip


def changed(change: dict[str, Any]) -> dict[str, Any]:
    """Return a short spec with a change."""
    short = {"schedule": "30 2 * * *", "warehouse": {"secretRef": {"name": "w"}}, "layers": [{"name": "a", "select": ["a"]}]}
    return {**short, **copy.deepcopy(change)}


@pytest.mark.parametrize(("change", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_both_refuse_it_in_words(doors, change, says):
    """The CRD and the models have the same message, or Kubernetes has its own."""
    verdict = validate_by_both(doors, changed(change))
    assert (verdict.stored, verdict.read) == (None, None)
    assert says in verdict.server_says or says in verdict.models_say
    assert "\n" in verdict.models_say


@pytest.mark.parametrize("change", TAKEN.values(), ids=TAKEN.keys())
def test_both_take_it_and_kubernetes_leaves_its_cronjob_as_it_is(doors, change):
    """Control of all rejections."""
    verdict = validate_by_both(doors, changed(change))
    assert verdict.read, verdict.models_say
    assert verdict.stored, verdict.server_says
    assert RefreshSpec.model_validate(verdict.stored) == verdict.read
    assert why_not_at_rest(doors, changed(change)) == ""


@pytest.mark.parametrize(
    ("value", "says"),
    [(2**63, "in quotes"), (-1e19, "in quotes"), (json.loads("[" * 40 + "]" * 40), "nested too deeply")],
)
def test_what_the_api_server_cannot_look_into_the_models_refuse(doors, value, says):
    """The API server accepts any JSON as dbt variables; the refresh is then stalled with this message. Control: the next smaller number."""
    verdict = validate_by_both(doors, changed({"dbt": {"vars": {"a": value}}}))
    assert verdict.stored
    assert says in verdict.models_say
    assert validate_by_both(doors, changed({"dbt": {"vars": {"a": 2**63 - 1}}})).read


def test_a_difference_between_the_doors_would_be_seen(doors):
    """Control of the search: if the models validate another spec than the API server, the results differ."""
    bad = with_value(FULL_SPEC, ("retries",), 11)
    assert validate_by_both(doors, bad).stored is None
    assert RefreshSpec.model_validate(FULL_SPEC)
    assert validate_by_both(doors, FULL_SPEC).stored
