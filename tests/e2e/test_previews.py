"""A preview on a real cluster: requested by the plugin, run in a pod by a role of its own, and readers see nothing of it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from support.eventually import eventually
from support.git_clone import Clone
from support.git_in_cluster import clone, deploy_git_server, project
from support.git_server import git
from support.installation import Installation
from support.plugin import plugin
from support.real_cluster import sample_manifest

MART = "preview_marts.mart_lots"
ROLE, PASSWORD = "apercu", "un-autre-mot"
FILES = {
    "dbt_project.yml": 'name: lots\nversion: "1.0.0"\nconfig-version: 2\nprofile: warehouse\nmacro-paths: [macros]\n',
    "macros/generate_schema_name.sql": "{% macro generate_schema_name(name, node) %}{{ name or target.schema }}{% endmacro %}\n",
    "models/lots.yml": "models:\n  - name: mart_lots\n    columns: [{name: lot, data_tests: [unique]}]\n",
}
EVERYTHING = """
    select n.nspname, c.relname, c.oid, c.relfilenode, pg_stat_get_tuples_inserted(c.oid) from pg_class c
    join pg_namespace n on n.oid = c.relnamespace where n.nspname like 'preview_marts%' or c.relname like 'dbt_refresh%' order by 1, 2"""
"""The relations of the refresh and the runner's own tables, with their files: what a preview must leave as it was."""
SCHEMAS = "select count(*) from pg_namespace where nspname like '%preview\\_%' and nspname !~ '^preview_marts(__previous)?$'"


@pytest.fixture(scope="module")
def repository(installation: Installation, cluster, tmp_path_factory) -> Iterator[Clone]:
    """The repository with a small project in the folder lots, whose mart has five rows, and a role for previews."""
    deploy_git_server(installation)
    found = clone(installation, cluster, tmp_path_factory.mktemp("git") / "clone")
    for name, text in FILES.items():
        (found.tree / "lots" / name).parent.mkdir(parents=True, exist_ok=True)
        (found.tree / "lots" / name).write_text(text)
    write_lots(found, "n * 10")
    assert found.commit("Build five lots", "lots")
    installation.psql(f"create role {ROLE} login password '{PASSWORD}'; grant create on database dwh to {ROLE}")
    login = {"host": "warehouse", "port": "5432", "dbname": "dwh", "user": ROLE, "password": PASSWORD}
    installation.create_secret("warehouse-preview", login)
    yield found
    installation.psql(f"drop owned by {ROLE}; drop role {ROLE}; drop schema if exists preview_marts, preview_marts__previous cascade")


def write_lots(repository: Clone, price: str) -> None:
    """Write the model with this price of a lot."""
    (repository.tree / "lots/models/mart_lots.sql").write_text(
        "{{ config(materialized='table', schema='preview_marts') }}\n"
        f"select n as lot, {price} as prix, pg_sleep({{{{ var('nap', 0) }}}})::text as nap from generate_series(1, 5) as n\n"
    )


@pytest.fixture(scope="module")
def live(installation: Installation, repository: Clone) -> Iterator[str]:
    """A refresh whose mart is live, and which may be previewed."""
    assert repository
    name = "previewed"
    changes = {
        "project": project("lots"),
        "layers": [{"name": "marts", "select": ["mart_lots"]}],
        "tests": None,
        "validation": {"marts": [{"relation": MART, "keyColumns": ["prix"], "uniqueKey": ["lot"]}]},
        "cache": None,
        "retries": 0,
        "preview": {"warehouse": {"secretRef": {"name": "warehouse-preview"}}},
    }
    installation.kubectl.apply(sample_manifest("phase2", name, **changes))
    installation.request_run(name, "first")
    assert installation.wait_for_run(name, "first")["outcome"] == "Succeeded", installation.describe(name)
    installation.psql(f"grant usage on schema preview_marts to {ROLE}; grant select on {MART} to {ROLE}")
    yield name
    installation.kubectl.attempt("delete", "dashboardrefresh", name, "--cascade=foreground", "--wait=true")


def push_branch(repository: Clone, branch: str, price: str) -> None:
    """Push a branch in which a lot has another price; the working tree stays on main."""
    git(repository.tree, "checkout", "--quiet", "-B", branch)
    write_lots(repository, price)
    git(repository.tree, "commit", "--quiet", "--all", "--message", f"Set the price to {price}")
    git(repository.tree, "push", "--quiet", "--force", "origin", f"HEAD:{branch}")
    git(repository.tree, "checkout", "--quiet", "main")


def test_a_branch_is_previewed_before_readers_see_it(installation: Installation, repository: Clone, live: str):
    """The analyst sees which rows change. The live mart is the same file, and no schema is left. Control: a branch without effect."""
    before = installation.psql(EVERYTHING, "-At")
    push_branch(repository, "fix", "case when n <= 2 then 0 else n * 10 end")
    done = plugin(installation, "preview", live, "--branch", "fix")
    assert done.returncode == 3, f"{done.stdout}\n{done.stderr}\n{installation.describe(live)}"
    assert f"{MART}: 5 → 5 rows: 0 added, 0 removed, 2 changed (by lot)" in done.stdout
    prices = "integer, 5 distinct, 0 NULL, 10 to 50, sum 150 → integer, 4 distinct, 0 NULL, 0 to 50, sum 120"
    assert f"prix: 2 changed; {prices}" in done.stdout
    assert "1 test: 0 failed, 0 warned" in done.stdout
    assert installation.psql(EVERYTHING, "-At") == before
    assert installation.psql(SCHEMAS, "-At").strip() == "0"
    push_branch(repository, "same", "n * 5 * 2")
    done = plugin(installation, "preview", live, "--branch", "same", "-o", "json")
    assert (done.returncode, json.loads(done.stdout)["state"]) == (0, "Same"), done.stderr
    assert installation.psql(EVERYTHING, "-At") == before


@pytest.mark.slow
def test_a_deleted_preview_ends_its_pod_and_drops_its_schemas(installation: Installation, repository: Clone, live: str):
    """Which an analyst does who has seen the mistake in the meantime. The fault occurred: the schema was there."""
    push_branch(repository, "slow", "n * 11")
    name = plugin(installation, "preview", live, "--branch", "slow", "--var", "nap=60", "--no-wait").stdout.strip()
    eventually(lambda: installation.psql(SCHEMAS, "-At").strip() == "1", within=120, context=lambda: installation.describe(live))
    installation.kubectl("delete", "refreshpreview", name, "--wait=false")
    eventually(lambda: installation.psql(SCHEMAS, "-At").strip() == "0", within=60)
