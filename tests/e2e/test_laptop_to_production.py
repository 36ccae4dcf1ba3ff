"""The guide's page for analysts, followed word by word: a laptop with git and a database, a Git server, and a real cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml

from cluster.paths import paths_of
from cluster.seam import Cluster
from refresh_api.preview_report import DIFFERS
from refresh_examples.embedded import EmbeddedPostgres
from support.git_in_cluster import NAME as GIT
from support.guide import Block, blocks
from support.installation import Installation
from support.postgres import create_database, drop_database
from support.preview_role import PreviewRole, allow_previews
from support.velos_in_cluster import FOLDER, MART, query

pytestmark = pytest.mark.slow

PAGE = "laptop-to-production"
GUIDES_URL = "https://git.example.org/data/"
ROLE = PreviewRole("velos_preview", "warehouse-velos-preview", "velos", "velos")
RIDES = f"select sum(nb_trajets), sum(centimes) from {MART}"
LIVE, CHANGED = "71|14767", "72|14772"


@dataclass(frozen=True)
class Laptop:
    """An analyst's shell, in the folder of the clone."""

    clone: Path
    environment: dict[str, str]

    def type(self, block: Block) -> str:
        """Type the commands of a block; return what the last one prints. AssertionError unless its exit code is what the guide says."""
        printed = ""
        for number, command in enumerate(block.commands, 1):
            done = subprocess.run(
                ["bash", "-c", command], cwd=self.clone, env=self.environment, capture_output=True, text=True, timeout=400, check=False
            )
            wanted = DIFFERS if block.kind == "differs" and number == len(block.commands) else 0
            assert done.returncode == wanted, f"{block}: {command}\n{done.stdout}{done.stderr}"
            printed = done.stdout
        return printed


@pytest.fixture(scope="module")
def laptop(
    installation: Installation, live: str, cluster: Cluster, postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Laptop]:
    """A laptop beside the live refresh. The Git server has the guide's address, and the user is an analyst with a database for trying."""
    assert live
    home = tmp_path_factory.mktemp("laptop")
    (home / "velos").mkdir()
    secret = {key: b64decode(value).decode() for key, value in installation.kubectl.json("secret", GIT)["data"].items()}
    server = f"127.0.0.1:{cluster.expose(GIT, installation.kubectl.namespace, 443)}"
    login = f"{quote(secret['username'], safe='')}:{quote(secret['password'], safe='')}"
    (home / "login").write_text(f"https://{login}@{server}\n")
    (home / "ca.crt").write_text(secret["ca.crt"])
    (home / ".gitconfig").write_text(
        f'[url "https://{server}/"]\n\tinsteadOf = {GUIDES_URL}\n[http]\n\tsslCAInfo = {home}/ca.crt\n\tproxy =\n'
        f'[credential]\n\thelper = "store --file={home}/login"\n[user]\n\tname = Ana\n\temail = ana@example.org\n'
    )
    config = json.loads(installation.kubectl("config", "view", "--raw", "--output=json"))
    for each in config["contexts"]:
        each["context"]["namespace"] = installation.kubectl.namespace
    for each in config["users"]:
        each["user"] |= {"as": "ana", "as-groups": ["analysts", "system:authenticated"]}
    (home / "kubeconfig").write_text(json.dumps(config))
    tools = home / "tools"
    tools.mkdir()
    (tools / "psql").write_text(f'#!/bin/sh\nexec {sys.executable} -m refresh_examples psql "$@"\n')
    (tools / "psql").chmod(0o755)
    database = create_database(postgres, "laptop")
    path = f"{tools}:{paths_of(os.environ).tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    yield Laptop(home / "velos", {**database.env, "PATH": path, "HOME": str(home), "KUBECONFIG": str(home / "kubeconfig")})
    drop_database(database)


@pytest.fixture(scope="module")
def live(installation: Installation, velos: str) -> Iterator[str]:
    """What the page says is there before: the commit of main is live, a new one starts a run, and analysts may preview."""
    (spec,) = (yaml.safe_load(block.text) for block in blocks(PAGE) if block.kind == "spec")
    assert (spec["preview"]["warehouse"]["secretRef"]["name"], spec["project"]["onProjectChange"]) == (ROLE.secret, "Run")
    installation.request_run(velos, "before")
    done = installation.wait_for_run(velos, "before")
    assert done["outcome"] == "Succeeded", installation.describe(velos)
    allow_previews(installation, velos, ROLE, FOLDER / "refresh.yaml", FOLDER)
    (objects,) = (block.text for block in blocks(PAGE) if block.kind == "objects")
    installation.kubectl.apply(objects)
    wanted = {"spec": {"project": {"onProjectChange": "Run", "interval": "10s"}}}
    installation.kubectl("patch", "dashboardrefresh", velos, "--type=merge", f"--patch={json.dumps(wanted)}")
    yield velos
    installation.psql(f"drop owned by {ROLE.name}", "-d", ROLE.database)
    installation.psql(f"drop owned by {ROLE.name}; drop role {ROLE.name}")


def rides(installation: Installation) -> str:
    """Return the rides and takings that readers see."""
    return query(installation, RIDES, "-At").strip()


@pytest.mark.timeout(600)  # two previews and three runs, each with a pod or more
def test_the_page_takes_a_change_from_a_laptop_to_live_data(installation: Installation, live: str, laptop: Laptop):
    """Each block works at its position. Readers see the old data until the merge is live, and again after it is reverted."""
    done: list[str] = []
    printed, reports = "", 0
    for block in blocks(PAGE):
        if block.kind == "report":
            assert [line for line in block.text.splitlines() if line not in printed.splitlines()] == [], f"{block}\n{printed}"
            reports += 1
        if block.kind not in ("laptop", "differs"):
            continue
        if any("kubectl wait" in command for command in block.commands):
            assert rides(installation) == (CHANGED if "revert" in block.text else LIVE)
        printed = laptop.type(block)
        done += block.commands
        if block.kind == "differs":
            assert rides(installation) == LIVE
        if block.commands[-1].startswith("kubectl get"):
            assert rides(installation) == CHANGED, installation.describe(live)
    assert (rides(installation), reports) == (LIVE, 2)
    history = installation.status(live)["history"]
    assert [(run["trigger"], run["outcome"]) for run in history[:2]] == [("ProjectChange", "Succeeded")] * 2, installation.describe(live)
    assert sum(command.startswith("kubectl ") for command in done) == 4


def test_an_analyst_may_not_do_more(laptop: Laptop):
    """The page grants no Secret, no run, and no change of a refresh. Control: what it grants is allowed."""
    questions = {
        "create refreshpreviews": "yes",
        "get dashboardrefreshes": "yes",
        "get secrets": "no",
        "patch dashboardrefreshes": "no",
        "create jobs": "no",
        "create pods/exec": "no",
    }
    said = {}
    for question in questions:
        words = ["kubectl", "auth", "can-i", *question.split()]
        said[question] = subprocess.run(words, env=laptop.environment, capture_output=True, text=True, check=False).stdout.strip()
    assert said == questions
