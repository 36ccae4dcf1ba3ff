"""A refresh whose marts are live, and a copy of its project to change and preview."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from refresh_api.names import API_VERSION, KIND
from refresh_runner.__main__ import main
from support.runner_harness import RunnerHarness


class ChangedProject:
    """A refresh that has run, and a copy of its project to change."""

    def __init__(self, runner: RunnerHarness, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.runner, self.capsys = runner, capsys
        self.project = tmp_path / "changed"
        shutil.copytree(runner.project, self.project, ignore=shutil.ignore_patterns("target"))
        self.file = tmp_path / "refresh.yaml"
        self.models = self.project / "models"

    def live(self, **changes: object) -> None:
        """Run the refresh, so that its marts are live."""
        spec = self.runner.spec(**changes)
        assert self.runner.run(spec).code == 0
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "petit", "namespace": "essai"}, "spec": spec}
        self.file.write_text(yaml.safe_dump(body))

    def replace(self, model: str, old: str, new: str) -> None:
        """Change the text of a model."""
        path = self.models / f"{model}.sql"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def preview(self, *options: str) -> tuple[int, str]:
        """Preview the change; return exit code and output."""
        self.capsys.readouterr()
        code = main(["preview", str(self.file), "--project", str(self.project), "--base", str(self.runner.project), *options])
        return code, self.capsys.readouterr().out

    def preview_json(self, *options: str) -> tuple[int, Any]:
        """Preview the change; return exit code and report."""
        code, output = self.preview("-o", "json", *options)
        return code, json.loads(output)


@pytest.fixture
def changed(runner: RunnerHarness, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> ChangedProject:
    """The refresh, with the warehouse in the variables of libpq."""
    secret = runner.database.secret
    for name, key in (("PGHOST", "host"), ("PGPORT", "port"), ("PGDATABASE", "dbname"), ("PGUSER", "user"), ("PGPASSWORD", "password")):
        monkeypatch.setenv(name, secret[key])
    return ChangedProject(runner, tmp_path, capsys)
