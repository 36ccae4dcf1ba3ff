"""What a run stores of the dbt project: descriptions, columns, exposures, and what reads what."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator

import pytest

from support.runner_harness import Json, RunnerHarness

_SECRET = "tres-secret-7411"
_PROPERTIES = f"""
models:
  - name: fait_jours
    description: "One line for each day; {_SECRET}"
    columns: [{{name: id, description: Number of the line., data_type: integer}}, {{name: mois}}]
exposures:
  - name: rapport
    label: Monthly report
    type: analysis
    url: https://example.org/{_SECRET}/rapport
    description: For the board.
    owner: {{name: Awa, email: [awa@example.org, finance@example.org]}}
    depends_on: [ref('mart_b')]
"""


@pytest.fixture
def documented(runner: RunnerHarness) -> Iterator[RunnerHarness]:
    """The runner, with a project that has descriptions."""
    path = runner.project / "models" / "descriptions.yml"
    path.write_text(_PROPERTIES)
    yield runner
    path.unlink()


def descriptions(runner: RunnerHarness) -> list[Json]:
    """Return what is stored of projects, oldest first."""
    found = runner.database.rows("select content from dbt_refresh_project order by stored_at")
    return [json.loads(gzip.decompress(content)) for (content,) in found if isinstance(content, bytes)]


def nodes(description: Json) -> dict[str, Json]:
    """Return the nodes of a description by ID."""
    return {each["unique_id"]: each for each in description["nodes"]}


def test_a_project_is_described_once_for_all_of_its_runs(documented: RunnerHarness) -> None:
    """With live names, although the marts are built in staging schemas. It goes with the last run of the project."""
    assert [documented.run().code for _ in range(2)] == [0, 0]
    (found,) = descriptions(documented)
    fact = nodes(found)["model.petit.fait_jours"]
    assert fact["description"].startswith("One line for each day")
    assert (fact["relation"], fact["reads"]) == ("dwh_facts.fait_jours", ["model.petit.stg_lignes"])
    assert fact["columns"][0] == {"name": "id", "type": "integer", "description": "Number of the line."}
    assert nodes(found)["model.petit.mart_b"]["relation"] == "dwh_marts.mart_b"
    assert nodes(found)["source.petit.src.lignes"]["reads"] == []
    tests = [each["reads"] for id_, each in nodes(found).items() if id_.startswith("test.petit.unique_mart_b_id")]
    assert tests == [["model.petit.mart_b"]]
    exposures = {each["name"]: each for each in found["exposures"]}
    assert {name: each["reads"] for name, each in exposures.items()} == {
        "Monthly report": ["model.petit.mart_b"],
        "tableau": ["model.petit.mart_a"],
    }
    report = exposures["Monthly report"]
    assert (report["type"], report["owner"], report["email"]) == ("analysis", "Awa", "awa@example.org, finance@example.org")

    documented.database.run("update dbt_refresh_run set started_at = started_at - interval '400 days'")
    (documented.project / "models" / "descriptions.yml").write_text(_PROPERTIES.replace("One line", "A line"))
    assert documented.run().code == 0
    (changed,) = descriptions(documented)
    assert nodes(changed)["model.petit.fait_jours"]["description"].startswith("A line")


def test_secrets_are_masked_in_the_description(documented: RunnerHarness) -> None:
    """Someone may have written one into a description. The control is a run that does not know it."""
    assert documented.run().code == 0
    assert _SECRET in json.dumps(descriptions(documented))
    documented.database.run("truncate dbt_refresh_project")
    assert documented.run(DBT_ENV_SECRET_TOKEN=_SECRET).code == 0
    (found,) = descriptions(documented)
    assert _SECRET not in json.dumps(found)
    assert nodes(found)["model.petit.fait_jours"]["description"] == "One line for each day; ***"
    assert {each["url"] for each in found["exposures"]} == {None, "https://example.org/***/rapport"}


def test_a_run_that_parses_no_project_describes_none(documented: RunnerHarness) -> None:
    """As a rollback. The control is a run that fails after the project was parsed, since a selector matches nothing."""
    assert documented.run().code == 0
    assert documented.run().code == 0
    documented.database.run("truncate dbt_refresh_project")
    assert documented.run(documented.spec(layers=[{"name": "facts", "select": ["no_such_model"]}])).code == 1
    assert len(descriptions(documented)) == 1
    documented.database.run("truncate dbt_refresh_project")
    assert documented.run(mode="rollback").code == 0
    assert descriptions(documented) == []
