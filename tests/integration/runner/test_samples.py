"""The samples are valid, and an invalid refresh is rejected without a database."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from refresh_runner.cli.lint import lint
from support.laptop import ROOT, SAMPLES


@pytest.mark.slow
@pytest.mark.parametrize("sample", ["main", "phase2"])
def test_the_samples_are_right(sample: str):
    """By lint, without a database. The control: an invalid one fails."""
    said: list[str] = []
    code = lint(SAMPLES / f"{sample}.yaml", ROOT / "dbt_project", None, datetime.now(UTC), lambda check: said.append(str(check)))
    assert code == 0, "\n".join(said)
    assert all(line.startswith("✓") for line in said)


def test_lint_names_what_the_project_does_not_have(tmp_path: Path):
    """A model, a key column, a Secret's key: all are reported at once, each with its field."""
    file = tmp_path / "phase2.yaml"
    text = (SAMPLES / "phase2.yaml").read_text()
    file.write_text(text.replace("[stg_implantations,", "[stg_implantation,").replace("[tranche_anciennete,", "[tranche,"))
    said: list[str] = []
    code = lint(file, ROOT / "dbt_project", tmp_path, datetime.now(UTC), lambda check: said.append(str(check)))
    assert code == 1
    wrong = [line for line in said if line.startswith("✗")]
    assert [line.split(": ")[0] for line in wrong] == [
        "✗ spec.warehouse.secretRef",
        "✗ spec.notifications[0].slack.webhookSecretRef",
        "✗ spec.notifications[1].email.smtpSecretRef",
        "✗ spec.layers[0].select (staging)",
        "✗ spec.validation.marts[3].keyColumns",
    ]
    assert "stg_implantation" in wrong[3]
    assert "has no column tranche" in wrong[4]


def wrong(file: Path, **changes: object) -> list[str]:
    """Return the errors that lint finds in phase 2 with these changes to its spec."""
    document = yaml.safe_load((SAMPLES / "phase2.yaml").read_text())
    document["spec"] |= changes
    file.write_text(yaml.safe_dump(document))
    said: list[str] = []
    lint(file, ROOT / "dbt_project", None, datetime.now(UTC), lambda check: said.append(str(check)))
    return [line for line in said if line.startswith("✗")]


@pytest.mark.slow
def test_lint_says_what_would_not_be_built_or_published(tmp_path: Path):
    """Layers in the wrong order; marts that no layer builds, that are misspelt or that another model reads; columns of every check."""
    spec = yaml.safe_load((SAMPLES / "phase2.yaml").read_text())["spec"]
    staging, facts, marts = spec["layers"]
    file = tmp_path / "phase2.yaml"
    assert wrong(file) == []
    (early,) = wrong(file, layers=[facts, staging, marts])
    assert early.startswith("✗ spec.layers[0].select (facts): fait_")
    assert "which a later layer builds" in early
    (unbuilt,) = wrong(
        file, layers=[staging, facts, {**marts, "select": [name for name in marts["select"] if name != "mart_creances_agees"]}]
    )
    assert unbuilt.startswith("✗ spec.validation.marts[3].relation: no layer builds dwh_marts_financier.mart_creances_agees")
    listed = spec["validation"]["marts"]
    (misspelt,) = wrong(file, validation={"marts": [{**listed[3], "relation": "dwh_marts.mart_creances_agees"}]})
    assert misspelt.endswith(
        "no model of the dbt project is dwh_marts.mart_creances_agees; did you mean dwh_marts_financier.mart_creances_agees?"
    )
    checked = {**listed[3], "uniqueKey": ["nulle_part"], "recency": {"column": "jamais", "maxAgeDays": 1}}
    assert "has no column nulle_part" in wrong(file, validation={"marts": [checked]})[0]
    (unlisted,) = wrong(file, validation={"marts": [{"relation": "dwh_facts.reperes"}]})
    assert "no model of the dbt project is dwh_facts.reperes" in unlisted
