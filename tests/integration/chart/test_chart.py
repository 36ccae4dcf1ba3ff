"""The chart on a real API server: lint, install, upgrade, uninstall, rendered objects, and its operator's permissions."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from refresh_api.status import OperatorStatus
from refresh_cli.artifacts import NAMESPACES_ANNOTATION
from refresh_operator.code_policy import CodeRules
from refresh_operator.dependency_policy import DependencyRules
from refresh_operator.observability.metrics import render
from refresh_operator.settings import CaBundle, settings_from
from support.eventually import eventually
from support.snapshots import NOW, ROOT, build_refresh, minutes_from_now

CHART = ROOT / "deploy/helm"
KINDS = "deployments,serviceaccounts,roles,rolebindings"


class Helm:
    """The helm program on one control plane."""

    def __init__(self, program: Path, kubeconfig: Path) -> None:
        self._start = [str(program), f"--kubeconfig={kubeconfig}"]

    def attempt(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Return the completed process of a command."""
        return subprocess.run([*self._start, *words], capture_output=True, text=True, timeout=90, check=False)

    def __call__(self, *words: str) -> str:
        """Return what a command prints."""
        done = self.attempt(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def rendered(self, *sets: str, values: Any = None) -> list[dict]:
        """Return all objects of `helm template`."""
        options = [word for each in sets for word in ("--set", each)]
        if values is not None:
            options += ["--set-json", json.dumps(values)]
        return [each for each in yaml.safe_load_all(self("template", "r", str(CHART), "-n", "ns", *options)) if each]


@pytest.fixture(scope="module")
def run_helm(helm, control_plane) -> Helm:
    """helm on the control plane of the tests."""
    return Helm(helm, control_plane.kubeconfig)


def of_kind(objects: list[dict], kind: str) -> dict[str, dict]:
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def test_lint_is_strict_and_silent(run_helm):
    """Also with every value of the schema changed from its default."""
    full = ["--set", "refreshes.main.enabled=true,refreshes.phase2.enabled=true,watch.clusterWide=true,imagePullSecrets={a}"]
    for words in ([], full):
        assert "0 chart(s) failed" in run_helm("lint", "--strict", str(CHART), *words)


def test_users_choose_main_phase2_or_both(run_helm):
    """refreshes.main.enabled and refreshes.phase2.enabled; neither by default."""
    main, phase2 = "refreshes.main.enabled=true", "refreshes.phase2.enabled=true"
    chosen = {sets: set(of_kind(run_helm.rendered(*sets), "DashboardRefresh")) for sets in ((), (main,), (phase2,), (main, phase2))}
    assert chosen == {
        (): set(),
        (main,): {"main-pipeline"},
        (phase2,): {"phase2-dashboards-refresh"},
        (main, phase2): {"main-pipeline", "phase2-dashboards-refresh"},
    }


@pytest.mark.parametrize("name", ["main", "phase2"])
def test_the_refreshes_are_those_of_the_samples(run_helm, name):
    """Compared field by field, with the labels, so that `-l production` finds them."""
    sample = yaml.safe_load((ROOT / f"deploy/samples/{name}.yaml").read_text())
    (rendered,) = of_kind(run_helm.rendered(f"refreshes.{name}.enabled=true"), "DashboardRefresh").values()
    assert rendered["spec"] == {**sample["spec"], "suspend": False}
    assert sample["metadata"]["labels"].items() <= rendered["metadata"]["labels"].items()


def test_values_are_laid_over_the_samples(run_helm):
    """Secret, API, notifications, suspend, and any field of the spec."""
    sets = (
        "refreshes.phase2.enabled=true",
        "refreshes.phase2.suspend=true",
        "warehouse.secretName=pg",
        "dashboardApi.baseUrl=http://api:1",
    )
    values = {"notifications": [], "refreshes": {"phase2": {"enabled": True, "suspend": True, "spec": {"dbt": {"threads": 2}}}}}
    spec = of_kind(run_helm.rendered(*sets, values=values), "DashboardRefresh")["phase2-dashboards-refresh"]["spec"]
    assert (spec["warehouse"]["secretRef"]["name"], spec["cache"]["baseURL"], spec["suspend"]) == ("pg", "http://api:1", True)
    assert (spec["notifications"], spec["dbt"]) == ([], {"threads": 2})
    assert len(spec["cache"]["endpoints"]) == 4


@pytest.mark.parametrize(
    "bad", ["refreshes.main.enabeld=true", "watch.clusterWide=perhaps", "links.runUrl=nowhere", "runner.image.repository="]
)
def test_a_wrong_value_is_refused(run_helm, bad):
    """The values' schema rejects it before anything is applied. Control: the chart renders without it."""
    assert run_helm.rendered()
    assert run_helm.attempt("template", "r", str(CHART), "--set", bad).returncode != 0


def test_the_operator_runs_restricted(run_helm):
    """Pod Security level `restricted` with a read-only root file system."""
    pod = of_kind(run_helm.rendered(), "Deployment")["r-dashboard-refresh"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_several_operators_share_a_lease(run_helm):
    """One Lease per release, a PodDisruptionBudget, different nodes; a single replica has the Lease too, for its upgrades."""
    alone, two = run_helm.rendered(), run_helm.rendered("operator.replicas=2")
    required = run_helm.rendered("operator.replicas=2", "operator.spread=Required")
    assert of_kind(alone, "PodDisruptionBudget") == {}
    (budget,) = of_kind(two, "PodDisruptionBudget").values()
    pods = [of_kind(each, "Deployment")["r-dashboard-refresh"]["spec"]["template"] for each in (alone, two, required)]
    assert budget["spec"]["selector"]["matchLabels"].items() <= pods[1]["metadata"]["labels"].items()
    spread = [[each["whenUnsatisfiable"] for each in pod["spec"].get("topologySpreadConstraints", [])] for pod in pods]
    assert spread == [[], ["ScheduleAnyway"], ["DoNotSchedule"]]
    for pod in pods:
        environment = {each["name"]: each.get("value") for each in pod["spec"]["containers"][0]["env"]}
        assert (environment["OPERATOR_NAMESPACE"], environment["LEASE_NAME"]) == ("ns", "r-dashboard-refresh")
        assert "POD_NAME" in environment


def test_cluster_wide_is_a_choice(run_helm):
    """A Role by default; by value a ClusterRole with the same rules."""
    small, wide = run_helm.rendered(), run_helm.rendered("watch.clusterWide=true")
    roles, (cluster_role,) = of_kind(small, "Role"), of_kind(wide, "ClusterRole").values()
    assert (list(of_kind(small, "ClusterRole")), list(of_kind(wide, "Role"))) == ([], ["r-dashboard-refresh-self"])
    assert roles["r-dashboard-refresh"]["rules"] == cluster_role["rules"]


def test_namespaces_are_a_list(run_helm, contract):
    """A Role in each namespace and none elsewhere, for operator and page; the API server accepts them. The control: no list."""
    for name in ("chart-a", "chart-b"):
        contract("create", "namespace", name)
    sets = ("watch.namespaces={chart-a,chart-b}", PAGE, "networkPolicy.enabled=true")
    rendered, alone = run_helm.rendered(*sets), run_helm.rendered(*sets[1:])

    def places(objects: list[dict], kind: str, name: str) -> list[str]:
        return [each["metadata"]["namespace"] for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]

    for kind in ("Role", "RoleBinding"):
        for name in ("r-dashboard-refresh", "r-dashboard-refresh-page"):
            # a release of the same name in another namespace may list these, too
            assert places(rendered, kind, f"ns-{name}") == ["chart-a", "chart-b"]
            assert places(alone, kind, name) == ["ns"]
    assert places(rendered, "NetworkPolicy", "ns-r-dashboard-refresh-runs") == ["chart-a", "chart-b"]
    for deployment in of_kind(rendered, "Deployment").values():
        environment = {each["name"]: each.get("value", "") for each in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
        assert environment["WATCH_NAMESPACES"] == "chart-a,chart-b"
    assert of_kind(rendered, "Service")["r-dashboard-refresh-page"]["metadata"]["annotations"] == {NAMESPACES_ANNOTATION: "chart-a,chart-b"}
    for each in rendered:
        if each["metadata"]["namespace"] != "ns":
            contract.within(each["metadata"]["namespace"])(
                "apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(each)
            )


def test_secrets_are_read_by_name_only(run_helm):
    """Without list and watch a stolen token of the operator cannot read all Secrets at once."""
    role = of_kind(run_helm.rendered(), "Role")["r-dashboard-refresh"]
    assert [rule["verbs"] for rule in role["rules"] if "secrets" in rule["resources"]] == [["get"]]
    assert "*" not in str(role["rules"])


def test_network_policies_come_by_value(run_helm, contract):
    """Off by default. The API server accepts them, and nothing can connect to runs."""
    assert of_kind(run_helm.rendered(), "NetworkPolicy") == {}
    rendered = run_helm.rendered("networkPolicy.enabled=true", "networkPolicy.runnerPorts={6543}")
    policies = of_kind(rendered, "NetworkPolicy")
    operator, runs = policies["r-dashboard-refresh"]["spec"], policies["r-dashboard-refresh-runs"]["spec"]
    pod = of_kind(rendered, "Deployment")["r-dashboard-refresh"]["spec"]["template"]
    assert operator["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert [port["name"] for port in pod["spec"]["containers"][0]["ports"]] == [operator["ingress"][0]["ports"][0]["port"]]
    assert runs["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in runs
    assert [port["port"] for rule in runs["egress"] for port in rule["ports"]] == [53, 53, 6543]
    peers = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}]
    narrow = run_helm.rendered(PAGE, values={"networkPolicy": {"enabled": True, "pageFrom": peers, "operatorFrom": peers}})
    assert "from" not in operator["ingress"][0]
    policies |= {f"{name} narrow": each for name, each in of_kind(narrow, "NetworkPolicy").items()}
    for name in ("r-dashboard-refresh narrow", "r-dashboard-refresh-page narrow"):
        assert policies[name]["spec"]["ingress"][0]["from"] == peers
    for policy in policies.values():
        policy["metadata"]["namespace"] = contract.namespace
        contract("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(policy))


def test_certificates_and_proxies_reach_operator_and_runs(run_helm):
    """The operator passes its own certificates and proxies on to the runs."""
    rendered = run_helm.rendered("caBundle.configMap=company-ca", "proxy.https=http://proxy:3128", "proxy.noProxy=.svc")
    pod = of_kind(rendered, "Deployment")["r-dashboard-refresh"]["spec"]["template"]["spec"]
    environment = {each["name"]: each.get("value", "") for each in pod["containers"][0]["env"]}
    settings = settings_from({**environment, "POD_NAME": "p"})
    assert settings.ca_bundle == CaBundle("company-ca", "ca.crt")
    assert settings.proxies == (("HTTPS_PROXY", "http://proxy:3128"), ("NO_PROXY", ".svc"))
    assert environment["SSL_CERT_FILE"] == "/etc/refresh-ca/ca.crt"
    assert {"name": "ca", "configMap": {"name": "company-ca"}} in pod["volumes"]


def test_the_collector_of_traces_reaches_the_operator(run_helm):
    """By default there is none, nor with the values of a release that did not know of it."""
    for values, endpoint in ((["tracing.endpoint=http://collector:4318"], "http://collector:4318"), ([], ""), (["tracing=null"], "")):
        pod = of_kind(run_helm.rendered(*values), "Deployment")["r-dashboard-refresh"]["spec"]["template"]["spec"]
        environment = {each["name"]: each.get("value", "") for each in pod["containers"][0]["env"]}
        assert settings_from({**environment, "POD_NAME": "p"}).otlp_endpoint == endpoint


def test_patterns_of_images_and_projects_reach_the_operator(run_helm):
    """By default, no other images and no projects are allowed."""

    def rules(*sets: str) -> CodeRules:
        pod = of_kind(run_helm.rendered(*sets), "Deployment")["r-dashboard-refresh"]["spec"]["template"]["spec"]
        environment = {each["name"]: each.get("value", "") for each in pod["containers"][0]["env"]}
        return settings_from({**environment, "POD_NAME": "p"}).code_rules

    urls = ("https://git.example.org/data/*", "ssh://git@[2001:db8::1]:22/velos-?.git")
    assert rules() == CodeRules()
    assert rules(f"projects.allowedUrls={{{','.join(urls)}}}", "runner.allowedImages={a/*}") == CodeRules(("a/*",), urls)


def test_namespaces_of_dependencies_reach_the_operator(run_helm):
    """By default, a refresh depends on refreshes of its own namespace only, also if an older release's values lack the key."""

    def rules(*sets: str) -> DependencyRules:
        pod = of_kind(run_helm.rendered(*sets), "Deployment")["r-dashboard-refresh"]["spec"]["template"]["spec"]
        environment = {each["name"]: each.get("value", "") for each in pod["containers"][0]["env"]}
        return settings_from({**environment, "POD_NAME": "p"}).dependency_rules

    assert rules() == rules("dependencies=null") == DependencyRules()
    assert rules("dependencies.allowedNamespaces={core,team-*}") == DependencyRules(("core", "team-*"))


def test_install_upgrade_uninstall(run_helm, contract):
    """The release is installed with its refreshes, follows its values, and is removed without a trace except the CRD."""
    namespace = "chart-life"
    kubectl = contract.within(namespace)
    enabled = ["--set", "refreshes.phase2.enabled=true"]
    run_helm("install", "r", str(CHART), "-n", namespace, "--create-namespace", *enabled)
    assert kubectl.names("dr") == ["dashboardrefresh.dashboards.sigeti.io/phase2-dashboards-refresh"]
    assert len(kubectl.names(KINDS, "-l", "app.kubernetes.io/instance=r")) == 6
    run_helm("upgrade", "r", str(CHART), "-n", namespace, *enabled, "--set", "refreshes.main.enabled=true,refreshes.phase2.suspend=true")
    suspended = {each["metadata"]["name"]: each["spec"]["suspend"] for each in kubectl.json("dr")["items"]}
    assert suspended == {"main-pipeline": False, "phase2-dashboards-refresh": True}
    run_helm("uninstall", "r", "-n", namespace, "--wait")
    eventually(lambda: kubectl.names(f"{KINDS},dr", "-l", "app.kubernetes.io/managed-by=Helm") == [], within=20)
    assert contract.names("crd")


def test_the_operators_permissions_are_these_and_no_others(run_helm, contract):
    """Compared with the API server's answers: `kubectl auth can-i`."""
    namespace = "chart-rights"
    run_helm("install", "r", str(CHART), "-n", namespace, "--create-namespace")
    account = f"system:serviceaccount:{namespace}:r-dashboard-refresh"

    def can(*words: str, where: str = namespace) -> bool:
        return contract.within(where).attempt("auth", "can-i", *words, f"--as={account}").returncode == 0

    status = "--subresource=status"
    allowed = [
        f"patch dashboardrefreshes {status}",
        f"patch cronjobs {status}",
        "create cronjobs",
        "update roles",
        "watch jobs",
        "list pods",
        "delete jobs",
        "patch jobs",
    ]
    allowed += [
        "get secrets",
        f"get namespaces/{namespace}",
        "create events",
        "create leases",
        "update leases/r-dashboard-refresh",
        "update leases/dashboards.sigeti.io",
        "get configmaps/r-dashboard-refresh-pause",
    ]
    forbidden = ["list secrets", "patch dashboardrefreshes", "delete cronjobs", "create pods", "get configmaps", "get jobs", "get pods"]
    forbidden += [
        "create pods --subresource=exec",
        "delete secrets",
        "get nodes",
        "get configmaps/other",
        "update leases/other",
        "list leases",
    ]
    assert [each for each in allowed if not can(*each.split())] == []
    assert [each for each in forbidden if can(*each.split())] == []
    assert not can("get", "secrets", where="default")
    assert not can("get", "namespaces/default", where="default")


def test_a_cluster_wide_operator_keeps_refreshes_everywhere_and_nothing_else(run_helm, contract):
    """The control is the namespaced operator of the test before. The leader's Lease stays in the release's namespace."""
    namespace = "chart-wide"
    run_helm("install", "w", str(CHART), "-n", namespace, "--create-namespace", "--set", "watch.clusterWide=true")
    account = f"system:serviceaccount:{namespace}:w-dashboard-refresh"

    def can(*words: str) -> bool:
        return contract.within("default").attempt("auth", "can-i", *words, f"--as={account}").returncode == 0

    allowed = ("create cronjobs", "watch dashboardrefreshes -A", "get secrets", "delete jobs", "update leases/dashboards.sigeti.io")
    assert [each for each in allowed if not can(*each.split())] == []
    forbidden = ("list secrets", "update leases/w-dashboard-refresh", "delete cronjobs", "update clusterroles", "get nodes")
    assert [each for each in forbidden if can(*each.split())] == []
    run_helm("uninstall", "w", "-n", namespace)


def test_monitoring_is_off_by_default_and_comes_by_value(run_helm):
    """PodMonitor and PrometheusRule have the labels by which Prometheus selects them."""
    kinds = {"PodMonitor", "PrometheusRule"}
    assert not kinds & {each["kind"] for each in run_helm.rendered()}
    rendered = run_helm.rendered("monitoring.podMonitor=true", "monitoring.alerts=true", "monitoring.labels.release=prometheus")
    found = {each["kind"]: each for each in rendered if each["kind"] in kinds}
    assert found.keys() == kinds
    assert all(each["metadata"]["labels"]["release"] == "prometheus" for each in found.values())


def known_figures() -> set[str]:
    """Return the metric names of an operator with a refresh that has all of them."""
    share = {"suspendedSince": minutes_from_now(0), "lastSuccessTime": minutes_from_now(0), "observedGeneration": 1}
    seen = build_refresh(OperatorStatus.model_validate(share), freshness={"maxStaleness": "1h"})
    told = render([seen], NOW)
    return {*re.findall(r"^(dashboardrefresh_\w+)", told, re.MULTILINE), *re.findall(r"^# HELP (\w+)", told, re.MULTILINE)}


def test_a_grafana_dashboard_comes_by_value(run_helm):
    """Off by default; every panel has a query, and every query names existing metrics."""
    maps = of_kind(run_helm.rendered("monitoring.dashboard=true"), "ConfigMap")
    assert of_kind(run_helm.rendered(), "ConfigMap") == {}
    assert maps["r-dashboard-refresh-grafana"]["metadata"]["labels"]["grafana_dashboard"] == "1"
    board = json.loads(maps["r-dashboard-refresh-grafana"]["data"]["dashboard-refresh.json"])
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    queries += [each["query"] for each in board["templating"]["list"] if each["type"] == "query"]
    assert len(queries) >= len(board["panels"])
    for query in queries:
        names = set(re.findall(r"dashboardrefresh_\w+", query))
        assert names, query
        assert names <= known_figures(), query


def test_every_alert_speaks_of_figures_that_there_are_and_says_what_to_do():
    """Each alert has a runbook with a command, and names existing metrics only."""
    (group,) = yaml.safe_load((CHART / "files/alerts.yaml").read_text())["groups"]
    for rule in group["rules"]:
        assert set(re.findall(r"dashboardrefresh_\w+", rule["expr"])) <= known_figures(), rule["alert"]
        assert "kubectl" in rule["annotations"]["runbook"]


PAGE = "page.enabled=true"
READER = "page.warehouse.secretName=reader"


def test_the_page_is_off_by_default_and_comes_restricted(run_helm):
    """A Deployment with a Service of its own; the Secret for the run log is mounted by value only."""
    assert not [each for each in run_helm.rendered() if each["metadata"]["name"].endswith("-page")]
    bare, full = (of_kind(run_helm.rendered(PAGE, *more), "Deployment")["r-dashboard-refresh-page"] for more in ((), (READER,)))
    (container,) = bare["spec"]["template"]["spec"]["containers"]
    assert (container["securityContext"]["readOnlyRootFilesystem"], container.get("volumeMounts")) == (True, None)
    assert bare["spec"]["template"]["spec"]["securityContext"]["runAsNonRoot"]
    (volume,) = full["spec"]["template"]["spec"]["volumes"]
    assert volume["secret"]["secretName"] == "reader"
    policies = of_kind(run_helm.rendered(PAGE, "networkPolicy.enabled=true"), "NetworkPolicy")
    assert [rule["ports"][0]["port"] for rule in policies["r-dashboard-refresh-page"]["spec"]["ingress"]] == ["http"]
    operator = of_kind(run_helm.rendered(PAGE), "Deployment")["r-dashboard-refresh"]
    labels = bare["spec"]["template"]["metadata"]["labels"]
    assert not operator["spec"]["selector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize(
    ("sets", "url"),
    [
        ((PAGE, "page.url=https://d.example/r/"), "https://d.example/r/refreshes/{namespace}/{name}/runs/{run}"),
        ((PAGE, "page.url=https://d.example", "links.runUrl=https://else"), "https://else"),
        (("page.url=https://d.example",), ""),
    ],
)
def test_notifications_link_to_the_page(run_helm, sets, url):
    """With the page enabled and its URL known; a link set by the user takes precedence."""
    operator = of_kind(run_helm.rendered(*sets), "Deployment")["r-dashboard-refresh"]
    variables = {each["name"]: each.get("value") for each in operator["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert variables["RUN_URL_TEMPLATE"] == url


@pytest.mark.parametrize("hosts", [(), ("page.hosts={d.example,e.example}",)])
def test_the_page_is_told_the_names_it_answers_to(run_helm, hosts):
    """Host names of the values and of its Service; none without values. Invalid names are refused."""
    page = of_kind(run_helm.rendered(PAGE, *hosts), "Deployment")["r-dashboard-refresh-page"]
    variables = {each["name"]: each.get("value", "") for each in page["spec"]["template"]["spec"]["containers"][0]["env"]}
    service = "r-dashboard-refresh-page"
    names = ["d.example", "e.example", service, f"{service}.ns", f"{service}.ns.svc", f"{service}.ns.svc.cluster.local"]
    assert variables.get("HOSTS", "").split(",") == (names if hosts else [""])
    with pytest.raises(AssertionError, match="/page/hosts/0"):
        run_helm.rendered(PAGE, "page.hosts={https://d.example}")


def test_the_pages_permission_is_to_read_refreshes(run_helm, contract):
    """As the API server answers; nothing else, and nowhere else."""
    namespace = "chart-page"
    run_helm("install", "r", str(CHART), "-n", namespace, "--create-namespace", "--set", PAGE)
    account = f"system:serviceaccount:{namespace}:r-dashboard-refresh-page"

    def can(*words: str, where: str = namespace) -> bool:
        return contract.within(where).attempt("auth", "can-i", *words, f"--as={account}").returncode == 0

    assert can("watch", "dashboardrefreshes")
    assert can("watch", "refreshpreviews")
    forbidden = [
        "patch dashboardrefreshes",
        "create refreshpreviews",
        "patch dashboardrefreshes --subresource=status",
        "get secrets",
        "get pods",
        "list jobs",
    ]
    forbidden += ["get pods --subresource=log", "create pods", "get configmaps"]
    assert [each for each in forbidden if can(*each.split())] == []
    assert not can("watch", "dashboardrefreshes", where="default")
