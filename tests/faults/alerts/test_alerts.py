"""F32: every alert fires when it should and only then, as judged by Prometheus' own promtool."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from cluster.paths import paths_of
from support.snapshots import ROOT

RULES = ROOT / "deploy/helm/files/alerts.yaml"
CASES = Path(__file__).with_name("alerts_test.yaml")


@pytest.fixture(scope="module")
def promtool(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program promtool from PATH, or unpacked from Debian's package."""
    kept = paths_of(os.environ).cache / "promtool"
    found = shutil.which("promtool") or (str(kept) if kept.exists() else None)
    if found is None:
        assert shutil.which("apt-get"), "install promtool, which comes with Prometheus"
        folder = tmp_path_factory.mktemp("prometheus")
        subprocess.run(["apt-get", "-qq", "download", "prometheus"], cwd=folder, check=True, timeout=240)
        (package,) = folder.glob("prometheus_*.deb")
        subprocess.run(["dpkg-deb", "-x", str(package), "."], cwd=folder, check=True, timeout=60)
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(folder / "usr/bin/promtool", kept)
        found = str(kept)
    return found


def promtool_says(promtool: str, *words: str) -> str:
    done = subprocess.run([promtool, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def without_annotations(folder: Path, **changes: str) -> Path:
    """Return the rules without annotations, which do not affect when an alert fires, and with other expressions for some."""
    rules = yaml.safe_load(RULES.read_text())
    for rule in rules["groups"][0]["rules"]:
        rule.pop("annotations")
        rule["expr"] = changes.get(rule["alert"], rule["expr"])
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump(rules))
    cases = folder / "cases.yaml"
    cases.write_text(CASES.read_text().replace("RULES", str(path)))
    return cases


def test_the_rules_are_rules(promtool):
    """promtool checks syntax and templates of the texts."""
    assert "7 rules found" in promtool_says(promtool, "check", "rules", str(RULES))


def test_every_alert_fires_when_it_should_and_only_then(promtool, tmp_path):
    """Each alert fires in its own case, and is silent if there is no problem."""
    promtool_says(promtool, "test", "rules", str(without_annotations(tmp_path)))
    names = [rule["alert"] for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]]
    expected = re.findall(r"alertname: (\w+)\n\s+exp_alerts", CASES.read_text())
    assert sorted(expected) == sorted(names)


def test_promtool_notices_a_rule_that_never_fires(promtool, tmp_path):
    """The control: without it, a test that checks nothing would pass."""
    cases = without_annotations(tmp_path, DashboardRefreshNotReady="dashboardrefresh_ready == 5")
    done = subprocess.run([promtool, "test", "rules", str(cases)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "DashboardRefreshNotReady" in done.stdout + done.stderr
