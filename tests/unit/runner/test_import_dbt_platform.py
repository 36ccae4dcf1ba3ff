"""A job of the dbt platform as a refresh."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from support.imports import comments, example, import_files, imported, spec_of

RESPONSE, ENVIRONMENT = (json.loads(path.read_text()) for path in example("dbt platform"))


@pytest.fixture
def written(tmp_path: Path):
    """Write a response of the API, and return its file."""

    def write(content: object, name: str = "job.json") -> Path:
        (tmp_path / name).write_text(json.dumps(content))
        return tmp_path / name

    return write


def job(**changes: object) -> dict[str, Any]:
    """Return the job with changes, without the envelope of the response."""
    return {**copy.deepcopy(RESPONSE["data"]), **changes}


def test_the_example_becomes_its_refresh():
    """The whole spec, so that nothing is added or lost unnoticed."""
    text = imported("dbt-platform", *example("dbt platform"))
    assert spec_of(text) == {
        "displayName": "Vélos, every working day",
        "schedule": "30 6 * * 1,2,3,4,5",
        "timeZone": "Etc/UTC",
        "suspend": True,
        "warehouse": {"secretRef": {"name": "warehouse"}},
        "project": {"git": {"url": "ssh://git@git.example.org/data/velos.git", "ref": {"branch": "production"}}},
        "dbt": {"threads": 6, "target": "default"},
        "layers": [
            {"name": "seeds", "select": ["resource_type:seed"], "timeout": "30m"},
            {"name": "snapshots", "select": ["stations_suivies,resource_type:snapshot"], "timeout": "30m"},
            {"name": "models", "select": ["path:models"], "timeout": "30m"},
        ],
        "tests": {"select": ["path:models,resource_type:test"], "failurePolicy": "Fail", "timeout": "30m"},
        "timeout": "30m",
    }
    assert "name: velos-every-working-day" in text
    said = comments(text)
    assert any(each.startswith("execute_steps[3]: dbt run-operation runs grant_readers") for each in said)
    assert any(each.startswith("triggers.on_merge") for each in said)


def test_each_change_of_the_job_changes_the_refresh(written):
    """The positive control: fields are read, not assumed."""
    steps = ["dbt source freshness", "dbt run --select a --target other", "dbt test"]
    spec = spec_of(
        imported("dbt-platform", written(job(execute_steps=steps, run_generate_sources=False, execution={"timeout_seconds": 0})))
    )
    assert spec["sources"] == {"stalePolicy": "Fail"}
    assert spec_of(imported("dbt-platform", written(job(run_generate_sources=True))))["sources"] == {"stalePolicy": "Warn"}
    assert [layer["select"] for layer in spec["layers"]] == [["a,resource_type:model"]]
    assert spec["tests"]["select"] == ["fqn:*"]
    assert (spec["dbt"]["target"], spec["timeout"]) == ("other", "15m")


@pytest.mark.parametrize(
    ("schedule", "line"),
    [
        ({"cron": "6 */12 * * 0,1,2,3,4,5,6"}, "6 */12 * * 0,1,2,3,4,5,6"),
        ({"date": {"type": "custom_cron", "cron": "0 5 * * 7"}}, "0 5 * * 0"),
        ({"date": {"type": "every_day"}, "time": {"type": "at_exact_hours", "hours": [0, 12]}}, "0 0,12 * * *"),
        ({"date": {"type": "days_of_week", "days": [1, 5]}, "time": {"type": "every_hour", "interval": 3}}, "0 */3 * * 1,5"),
    ],
)
def test_all_forms_of_a_schedule_are_read(written, schedule, line):
    """Older responses have hours and weekdays instead of a line."""
    assert spec_of(imported("dbt-platform", written(job(schedule=schedule))))["schedule"] == line


NEVER = {**RESPONSE["data"]["triggers"], "schedule": False}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (job(triggers=NEVER), "triggers.schedule: the job is not started by a schedule; give one by --schedule"),
        (job(state=2), "state: the job was deleted"),
        (job(schedule={}), "schedule: it has neither a cron line nor hours"),
        (job(execute_steps=["dbt compile"]), "no dbt command that builds something was found"),
        (job(execute_steps=None), "no dbt command that builds something was found"),
        ([job(), job(name="other")], "there are 2 of job; choose one by --only: Vélos, every working day, other"),
        ({"data": {"id": 1}}, "there is no job in it"),
        ("text", "there is no job in it"),
    ],
)
def test_what_makes_no_refresh_is_an_error(written, content, says):
    """A job that only runs on request has a schedule in the response, too, which never applied."""
    code, output, errors = import_files("dbt-platform", written(content))
    assert (code, output) == (1, "")
    assert says in errors


def test_a_schedule_can_be_given(written):
    """For a job that is started by others."""
    text = imported("dbt-platform", written(job(triggers=NEVER)), options=["--schedule", "0 7 * * *"])
    assert spec_of(text)["schedule"] == "0 7 * * *"


def test_no_login_of_the_repository_is_copied(written):
    """Some addresses have a token."""
    environment = copy.deepcopy(ENVIRONMENT["data"])
    environment["project"]["repository"]["remote_url"] = "https://oauth2:glpat-66f0a1@git.example.org/data/velos.git"
    environment["project"]["dbt_project_subdirectory"] = "dbt/velos"
    files = written(job(lifecycle_webhooks=True, lifecycle_webhooks_url="https://h/T0p")), written([environment], "environments.json")
    text = imported("dbt-platform", *files)
    git = spec_of(text)["project"]["git"]
    assert (git["url"], git["path"]) == ("https://git.example.org/data/velos.git", "dbt/velos")
    assert "glpat-66f0a1" not in text
    assert "T0p" not in text


@pytest.mark.parametrize(
    ("seconds", "timeout"), [(0, "15m"), (None, "15m"), ("x", "15m"), (-1, "15m"), (90, "1m30s"), ("3600", "1h"), (10**30, "168h")]
)
def test_a_limit_of_time_is_read_in_all_its_forms(written, seconds, timeout):
    """0 is no limit. More than a week is a week."""
    assert spec_of(imported("dbt-platform", written(job(execution={"timeout_seconds": seconds}))))["timeout"] == timeout


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("git@git.example.org:data/velos.git", "ssh://git@git.example.org/data/velos.git"),
        ("ssh://git@git.example.org/data/velos.git", "ssh://git@git.example.org/data/velos.git"),
        ("https://git.example.org/data/velos", "https://git.example.org/data/velos"),
        ("https://me@git.example.org/data/velos", "https://git.example.org/data/velos"),
        ("git://git.example.org/data/velos.git", None),
        ("http://git.example.org/data/velos.git", None),
        ("https:me/T0k3n-4711@git.example.org/data", None),
        ("/srv/velos.git", None),
        ("https://[git.example.org/data/velos.git", None),
    ],
)
def test_an_address_is_written_as_a_spec_has_it_or_not_at_all(written, address, url):
    """Other forms are not guessed. A token is in none."""
    environment = copy.deepcopy(ENVIRONMENT)
    environment["data"]["project"]["repository"]["remote_url"] = address
    text = imported("dbt-platform", written(RESPONSE), written(environment, "environment.json"))
    assert "T0k3n" not in text
    if url:
        assert spec_of(text)["project"]["git"]["url"] == url
    else:
        assert "project" not in spec_of(text)
        assert any("the source has another address: write it" in each for each in comments(text))


def test_the_environment_must_be_that_of_the_job(written):
    """Another one has another branch. Without any, the project is to be decided."""
    other = {**ENVIRONMENT["data"], "id": 5}
    errors = import_files("dbt-platform", written(RESPONSE), written(other, "environment.json"))[2]
    assert "environment_id: the job is of the environment 1203, and the files have 5" in errors
    text = imported("dbt-platform", written(RESPONSE))
    assert "project" not in spec_of(text)
    assert any("say where the dbt project is" in each for each in comments(text))
    assert "cronjob takes one file" in import_files("cronjob", written(1), written(2, "b.json"))[2]


def test_no_valid_json_is_an_error(tmp_path):
    """With the place."""
    (tmp_path / "x.json").write_text("{")
    assert "x.json is not valid JSON" in import_files("dbt-platform", tmp_path / "x.json")[2]
