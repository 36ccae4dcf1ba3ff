"""A CronJob that runs dbt, and a project of dagctl-dbt, as refreshes."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from refresh_api.run_request import Manifest
from support.imports import comments, example, import_files, imported, spec_of

CRONJOB = yaml.safe_load(example("CronJob")[0].read_text())
PROJECT = yaml.safe_load(example("dagctl-dbt")[0].read_text())
POD = ("spec", "jobTemplate", "spec", "template", "spec")


@pytest.fixture
def written(tmp_path: Path):
    """Write objects into one file, and return it."""

    def write(*objects: object) -> Path:
        file = tmp_path / "objects.yaml"
        file.write_text(yaml.safe_dump_all(objects))
        return file

    return write


def inner(value: dict[str, Any], *keys: str) -> dict[str, Any]:
    for key in keys:
        value = value[key]
    return value


def changed(*keys: str, whole: dict[str, Any] = CRONJOB, **changes: object) -> dict[str, Any]:
    """Return an object with other fields at a path."""
    whole = copy.deepcopy(whole)
    inner(whole, *keys).update(changes)
    return whole


def running(*words: str, **container: object) -> dict[str, Any]:
    """Return the CronJob with one container that runs these words."""
    return changed(*POD, initContainers=[], containers=[{"name": "dbt", "image": "x", "args": list(words), **container}])


def test_the_example_becomes_its_refresh():
    """The whole spec, so that nothing is added or lost unnoticed."""
    text = imported("cronjob", *example("CronJob"))
    assert Manifest.model_validate(yaml.safe_load(text)).metadata.name == "velos-nightly"
    assert spec_of(text) == {
        "schedule": "0 0 * * *",
        "timeZone": "Europe/Paris",
        "suspend": True,
        "warehouse": {"secretRef": {"name": "warehouse"}},
        "project": {"git": {"url": "https://git.example.org/data/velos.git", "ref": {"branch": "main"}}},
        "dbt": {"threads": 4, "target": "prod", "vars": {"premier_jour": "2026-01-01"}},
        "layers": [
            {"name": "seeds", "select": ["resource_type:seed"], "timeout": "1h"},
            {"name": "snapshots", "select": ["resource_type:snapshot"], "timeout": "1h"},
            {"name": "models", "select": ["+trajets_par_jour,resource_type:model"], "timeout": "1h"},
        ],
        "tests": {"select": ["trajets_factures+"], "failurePolicy": "Fail", "timeout": "1h"},
        "timeout": "1h",
        "retries": 2,
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
    }


def test_no_secret_of_a_manifest_is_copied():
    """Values of variables, logins in addresses, arguments of other programs, and variables of dbt with such a name."""
    source = example("CronJob")[0].read_text()
    text = imported("cronjob", *example("CronJob"))
    for secret in ("glpat-7Xq2mZ9vKd", "tk-58c1f0e2", "9f1c4e7a", "Vel0drome-1936", "reader:"):
        assert secret in source, "the control: the example has it"
        assert secret not in text
    said = " ".join(comments(text))
    assert "create the Secret warehouse with the keys host, dbname, user and password" in said
    assert "the Secret dbt-login, key user (as DBT_USER)" in said
    assert "the variable DBT_PASSWORD has a secret as its value in the manifest, and is not copied" in said
    assert "the variable api_token may be a secret and is not copied" in said


def test_a_secret_that_is_written_twice_is_masked(written):
    """The value of a variable may also be in the command, where its name does not tell."""
    whole = running("sh", "-c", "dbt run --vars '{owner: Vel0drome-1936}'", env=[{"name": "DBT_PASSWORD", "value": "Vel0drome-1936"}])
    text = imported("cronjob", written(whole))
    assert "Vel0drome-1936" not in text
    assert spec_of(text)["dbt"]["vars"] == {"owner": "***"}


def test_each_change_of_the_source_changes_the_refresh(written):
    """The positive control of the whole: fields are read, not assumed."""
    spec = spec_of(imported("cronjob", written(changed("spec", schedule="5 4 * * 1-5", timeZone="Asia/Tokyo"))))
    assert (spec["schedule"], spec["timeZone"]) == ("5 4 * * 1-5", "Asia/Tokyo")
    spec = spec_of(imported("cronjob", written(changed("spec", "jobTemplate", "spec", backoffLimit=0, activeDeadlineSeconds=90))))
    assert (spec["retries"], spec["timeout"], spec["layers"][0]["timeout"]) == (0, "1m30s", "1m30s")
    spec = spec_of(imported("cronjob", written(running("dbt", "build", "--select", "tag:x"))))
    assert [layer["select"] for layer in spec["layers"]] == [["tag:x"]]
    assert "project" not in spec


@pytest.mark.parametrize(
    ("script", "policy"), [("dbt source freshness && dbt run", "Fail"), ("dbt source freshness || true; dbt run", "Warn")]
)
def test_the_age_of_the_sources_is_checked_as_there(written, script, policy):
    """It fails the refresh only if it fails the source. A comment says what to do if no source declares one."""
    text = imported("cronjob", written(running("sh", "-ec", script)))
    assert spec_of(text)["sources"] == {"stalePolicy": policy}
    assert any("remove `sources` then" in each for each in comments(text))


def test_arguments_alone_belong_to_the_entrypoint_of_the_image(written):
    """The images of dbt Labs have dbt as their entrypoint, so manifests have only arguments. It is said."""
    text = imported("cronjob", written(running("run", "--select", "a")))
    assert spec_of(text)["layers"][0]["select"] == ["a,resource_type:model"]
    assert any("the entrypoint of the image is taken to be dbt" in said for said in comments(text))


def test_the_zone_may_be_in_the_line_or_missing(written):
    """Kubernetes once allowed it in the line. Without one, it is that of the controller, which is said."""
    whole = changed("spec", schedule="CRON_TZ=Europe/Madrid 0 6 * * *", timeZone=None)
    assert spec_of(imported("cronjob", written(whole)))["timeZone"] == "Europe/Madrid"
    text = imported("cronjob", written(changed("spec", timeZone=None)))
    assert spec_of(text)["timeZone"] == "Etc/UTC"
    assert any(said.startswith("spec.timeZone: not set there") for said in comments(text))


def test_one_of_several_is_chosen_by_its_name(written):
    """`kubectl get cronjobs -o yaml` prints a list."""
    other = changed("metadata", name="other")
    file = written({"apiVersion": "v1", "kind": "List", "items": [CRONJOB, other, {"kind": "ConfigMap"}]})
    code, output, errors = import_files("cronjob", file)
    assert (code, output) == (1, "")
    assert "there are 2 of CronJob; choose one by --only: velos-nightly, other" in errors
    assert "name: other" in imported("cronjob", file, options=["--only", "other"])
    assert "no CronJob has this name; there are velos-nightly, other" in import_files("cronjob", file, options=["--only", "x"])[2]


@pytest.mark.parametrize(
    ("whole", "says"),
    [
        ({"apiVersion": "v1", "kind": "ConfigMap"}, "there is no CronJob in it"),
        (changed("spec", schedule=None), "spec.schedule: required, and missing"),
        (changed("spec", schedule="0 0 6 * * *"), "spec.schedule: '0 0 6 * * *' is no schedule of a refresh"),
        (changed("spec", timeZone="Local"), "spec.timeZone: write the IANA name of a time zone"),
        (running("python", "load.py"), "no dbt command that builds something was found: container dbt: `python` is not dbt"),
        (running(), "no dbt command that builds something was found: container dbt: it runs the command of its image"),
        (running("dbt", "test"), "no dbt command that builds something was found"),
        (changed(apiVersion="batch/v1beta1"), "this CronJob is of batch/v1beta1; expected batch/v1"),
    ],
)
def test_what_makes_no_refresh_is_an_error(written, whole, says):
    """Nothing is printed that could be applied."""
    code, output, errors = import_files("cronjob", written(whole))
    assert (code, output) == (1, "")
    assert says in errors


@pytest.mark.parametrize("text", ["a: [", "a: &x [*x]", "\x00", "- " * 100])
def test_a_file_that_is_no_manifest_is_an_error(tmp_path, text):
    """Also one that contains itself."""
    (tmp_path / "x.yaml").write_text(text)
    code, output, errors = import_files("cronjob", tmp_path / "x.yaml")
    assert (code, output, errors.startswith("✗ ")) == (1, "", True)


@pytest.mark.parametrize("text", ["password: Geheim-1: x", "password: *Geheim-1", "{a: Geheim-1", "a: Geheim-1\na: b", "'Geheim-1"])
def test_a_line_that_is_no_yaml_is_not_quoted(tmp_path, text):
    """It may have a secret; its place is enough."""
    (tmp_path / "x.yaml").write_text(text)
    errors = import_files("cronjob", tmp_path / "x.yaml")[2]
    assert "is not valid YAML: line " in errors
    assert "Geheim" not in errors


def test_a_file_that_is_missing_or_not_writable_is_an_error(tmp_path):
    """As for any other command."""
    assert "cannot be read: No such file" in import_files("cronjob", tmp_path / "none")[2]
    assert "cannot write" in import_files("cronjob", *example("CronJob"), options=["-o", str(tmp_path / "no" / "x")])[2]


def test_options_replace_what_the_source_says(tmp_path):
    """And a schedule that is given needs none in the source."""
    options = ["--name", "Mine", "--schedule", "H 6 * * *", "--secret", "w", "--schema", "velos", "-o", str(tmp_path / "x.yaml")]
    assert import_files("cronjob", *example("CronJob"), options=options) == (0, "", "")
    document = yaml.safe_load((tmp_path / "x.yaml").read_text())
    assert document["metadata"]["name"] == "mine"
    spec = document["spec"]
    assert (spec["schedule"], spec["warehouse"], spec["dbt"]["schema"]) == ("H 6 * * *", {"secretRef": {"name": "w"}}, "velos")
    assert "--schedule: '0 6 * *' is no schedule" in import_files("cronjob", *example("CronJob"), options=["--schedule", "0 6 * *"])[2]


def test_a_name_with_a_line_end_stays_in_its_comment(written):
    """Text of the source must not become a line of the manifest."""
    text = imported("cronjob", written(running("dbt", "run", workingDir="/w\nspec: {}\n", env=[{"name": "A\nkind: Secret", "value": "x"}])))
    assert [line for line in text.splitlines() if line.startswith(("kind:", "spec:"))] == ["kind: DashboardRefresh", "spec:"]


@pytest.mark.parametrize("word", ["y", "on", "1e3", "null", "0o17", "2026-01-31", "1:30", "~", "'", "#x", "a: b", "é"])
def test_a_text_stays_a_text_for_kubectl(written, word):
    """YAML 1.1 and 1.2 differ in what they read as something else."""
    variables = yaml.safe_dump({"x": word}, default_flow_style=True).strip()
    whole = running("dbt", "run", "--vars", variables)
    file = written(whole)
    file.with_name("out.yaml").write_text(imported("cronjob", file))
    from refresh_runner.model.loader import run_request_from_file

    assert run_request_from_file(file.with_name("out.yaml")).spec.dbt.vars == {"x": word}


def test_a_project_of_dagctl_dbt_becomes_its_refresh():
    """Its lines have six fields, the first of them seconds; its words are those after dbt."""
    text = imported("dagctl-dbt", *example("dagctl-dbt"))
    spec = spec_of(text)
    assert spec["schedule"] == "15 */6 * * *"
    git = {"url": "https://git.example.org/data/velos.git", "ref": {"branch": "main"}, "secretRef": {"name": "velos-git"}}
    assert spec["project"] == {"git": git}
    assert spec["layers"] == [{"name": "models", "select": ["fqn:*"], "exclude": ["longs_trajets"], "timeout": "15m"}]
    assert spec["tests"]["exclude"] == ["longs_trajets"]
    assert "Vel0drome-1936" not in text
    assert "# the source is suspended, too" in text


def test_changes_of_a_project_of_dagctl_dbt_change_its_refresh(written):
    """An ssh address needs a Secret with other keys, and the default command is `dbt run`."""
    whole = changed("spec", whole=PROJECT, commands=None, suspend=False, schedule="@every 30m")
    whole["spec"]["git"] = {"repository": "git@git.example.org:data/velos.git", "ref": "c" * 40, "path": "/dbt/", "sshKeySecret": "key"}
    text = imported("dagctl-dbt", written(whole))
    spec = spec_of(text)
    assert spec["schedule"] == "H/30 * * * *"
    assert spec["layers"][0]["select"] == ["resource_type:model"]
    assert spec["project"]["git"] == {"url": "ssh://git@git.example.org/data/velos.git", "ref": {"commit": "c" * 40}, "path": "dbt"}
    assert any("identity and known_hosts" in said for said in comments(text))
    assert "the source is suspended" not in text


def test_the_next_run_is_that_of_the_source():
    """The control of schedules: midnight in Paris is not midnight UTC."""
    from refresh_api import cron

    spec = spec_of(imported("cronjob", *example("CronJob")))
    runs = cron.parse(spec["schedule"], spec["timeZone"]).after(datetime(2026, 7, 1, tzinfo=UTC))
    assert next(runs).astimezone(UTC) == datetime(2026, 7, 1, 22, tzinfo=UTC)
