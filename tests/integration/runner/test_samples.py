"""The samples are right, and a refresh that is not is told so without a database."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from refresh_runner.lint import lint
from support.laptop import ROOT, SAMPLES


@pytest.mark.parametrize("sample", ["main", "phase2"])
def test_the_samples_are_right(sample: str):
    """By lint, without a database; a wrong one is not."""
    said: list[str] = []
    code = lint(SAMPLES / f"{sample}.yaml", ROOT / "dbt_project", None, datetime.now(UTC), lambda check: said.append(str(check)))
    assert code == 0, "\n".join(said)
    assert all(line.startswith("✓") for line in said)


def test_lint_names_what_the_project_does_not_have(tmp_path: Path):
    """A model, a key column, a Secret's key: each with its field, all at once."""
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
        "✗ spec.validation.marts[3].keys",
    ]
    assert "stg_implantation" in wrong[3]
    assert "has no column tranche" in wrong[4]
