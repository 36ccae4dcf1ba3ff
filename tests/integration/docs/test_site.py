"""The guide builds as a site without warnings, without dead links, and without anything loaded from other hosts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from support.guide import DOCS, ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    done = build(DOCS, folder)
    assert done.returncode == 0, done.stderr
    return folder


def build(source: Path, folder: Path, builder: str = "html") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", "-b", builder, str(source), str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_nothing_is_loaded_from_other_hosts(site):
    """Some readers have no internet access, and hosts would learn of each visit. The count shows that the pattern finds such elements."""
    texts = {path: path.read_text() for path in [*site.rglob("*.html"), *site.rglob("*.css")]}
    loaded = [
        (path.name, url)
        for path, text in texts.items()
        for url in re.findall(r"""<(?:script|img|iframe|link)\b[^>]*?(?:src|href)="([^"]+)|url\(["']?([^)"']+)""", text)
    ]
    addresses = [(name, "".join(groups)) for name, groups in loaded]
    assert len(addresses) > 50
    assert [each for each in addresses if re.match(r"(https?:)?//", each[1])] == []


def test_every_alert_leads_to_its_runbook(site):
    """The chart writes these anchors into `runbook_url`."""
    (group,) = yaml.safe_load((ROOT / "deploy/helm/files/alerts.yaml").read_text())["groups"]
    page = (site / "monitoring.html").read_text()
    assert [rule["alert"] for rule in group["rules"] if f'id="{rule["alert"].lower()}"' not in page] == []


def test_a_dead_link_fails_the_build(tmp_path):
    """Proves that the build above would fail for a dead link, by a page with one."""
    source = tmp_path / "docs"
    source.mkdir()
    (source / "conf.py").write_text('extensions = ["myst_parser"]\nmyst_heading_anchors = 4\n')
    (source / "index.md").write_text("# Front\n\n[there](#front)\n")
    assert build(source, tmp_path / "good", "dummy").returncode == 0
    (source / "index.md").write_text("# Front\n\n[there](#nowhere)\n")
    assert "nowhere" in build(source, tmp_path / "bad", "dummy").stderr
