"""Two dbt projects under one operator: each has its own repository, database, role and Secret, and neither waits for the other."""

from __future__ import annotations

import pytest

from support.eventually import eventually
from support.kubectl import KubectlError
from support.velos_in_cluster import MART, REPOSITORY, SECRET, query

pytestmark = pytest.mark.slow

RIDES = f"select sum(nb_trajets), sum(centimes) from {MART}"
LOGGED = "select count(*) from dbt_refresh_log where run_id = '{}'"


def test_a_second_project_runs_in_a_warehouse_of_its_own(installation, velos):
    """Its marts and its log are in its own database, and its pod has only its own Secret. The control: the run of `main` is not there."""
    installation.request_run(velos, "first")
    done = installation.wait_for_run(velos, "first")
    assert (done["outcome"], done["marts"]) == ("Succeeded", "1/1"), installation.describe(velos)
    assert query(installation, RIDES, "-At").strip() == "71|14767"
    assert installation.status(velos)["run"]["project"]["url"].endswith(f"/{REPOSITORY}")
    main = installation.status("main")["history"][0]["id"]
    logged = [
        (query(installation, LOGGED.format(run), "-At").strip(), installation.psql(LOGGED.format(run), "-At").strip())
        for run in (done["id"], main)
    ]
    assert logged == [("1", "0"), ("0", "1")]
    assert secrets_of(installation, velos) == {SECRET, "git"}
    assert "warehouse" in secrets_of(installation, "main")


def test_its_role_cannot_read_the_first_warehouse(installation, velos):
    """Whoever writes the second project must not read the first one's sources. The control: its own sources can be read."""
    assert query(installation, f"set role {velos}; select count(*) from velos_source.trajets", "-Atq").strip() == "72"
    with pytest.raises(KubectlError, match="permission denied for schema sigeti"):
        installation.psql(f"set role {velos}; select count(*) from sigeti.factures")


def test_projects_run_at_the_same_time(installation, velos):
    """The lock is that of a warehouse: while a run of the first project waits for a locked source, the second project runs to its end."""
    with installation.locked_table("sigeti.factures"):
        installation.request_run("main", "slow")
        running = eventually(lambda: installation.status("main").get("active"), within=60, context=lambda: installation.describe("main"))
        installation.request_run(velos, "meanwhile")
        done = installation.wait_for_run(velos, "meanwhile")
        assert done["outcome"] == "Succeeded", installation.describe(velos)
        assert installation.status("main").get("active") == running
    assert installation.wait_for_run("main", "slow")["outcome"] == "Succeeded", installation.describe("main")


def secrets_of(installation, name: str) -> set[str]:
    """Return the Secrets that the pods of a refresh's runs mount."""
    template = installation.kubectl.json("cronjob", name)["spec"]["jobTemplate"]["spec"]["template"]
    return {volume["secret"]["secretName"] for volume in template["spec"]["volumes"] if "secret" in volume}
