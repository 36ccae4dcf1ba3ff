"""What a small project of the comparison is: its files, its refresh, how its database is prepared, and what changes between its runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

NAME = "essai"
"""Name of every project, and of its profile."""
BUILDER = "batisseur"
"""Who runs it: owns the database, and is no superuser."""
READER = "lecteur"
"""Somebody to grant something to; and another one."""
OTHER_READER = "autre_lecteur"


class Way(StrEnum):
    """How a project is run."""

    PLAIN = "plain dbt"
    DIRECT = "Direct"
    SWAP = "Swap"
    READ = "Swap, parsed"
    """With `refresh-runner parse` before each run."""


@dataclass(frozen=True)
class Edit:
    """What happens between two runs."""

    sql: str = ""
    """As the builder."""
    files: Mapping[str, str | None] = field(default_factory=dict)
    """Files that are written; None removes one."""


@dataclass(frozen=True)
class Project:
    """One small project; all but `name` and `files` have a default that suits most."""

    name: str
    files: Mapping[str, str]
    """Text by path; `dbt_project.yml` is made of `config`."""
    marts: tuple[str, ...] = ()
    """`validation.marts`, as schema.name."""
    config: str = ""
    """Further YAML of `dbt_project.yml`."""
    layers: tuple[tuple[str, ...], ...] = (("*",),)
    """`layers[].select`."""
    tests: str = ""
    """`tests.onFailure`, for all tests of the project; without it the refresh has no tests."""
    edits: tuple[Edit, ...] = (Edit(),)
    """One more run after each of these."""
    prepare: str = ""
    """SQL before the first run, as the builder."""
    admin: str = ""
    """SQL before that, as a superuser, in each of the databases; roles are the server's, and made for all projects at once."""
    dbt: Mapping[str, Any] = field(default_factory=dict)
    """`spec.dbt`; the schema is `dwh` unless stated."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the spec."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of every way."""
    commands: tuple[tuple[str, ...], ...] = (("build",),)
    """What plain dbt is told, in this order; hooks run with each."""
    random: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Columns that are another value in every run, by schema.name."""
    codes: Mapping[Way, int] = field(default_factory=dict)
    """Exit codes of the last run; 0 unless stated."""
    refused: str = ""
    """Words that `lint` and the run must both say. Nothing is built, and nothing changes."""
    refused_by: tuple[Way, ...] = (Way.SWAP, Way.READ)
    """Who refuses it; the others must be equal."""
    differs: str = ""
    """Why it is not the same yet, and the row of the issue: the test fails as soon as it is the same."""
    quick: bool = False
    """Whether `make test` runs it; `make test-faults` runs the others, and all of them with the project parsed ahead."""

    @property
    def schema(self) -> str:
        """The target's schema."""
        return str(self.dbt.get("schema", "dwh"))

    def spec_of(self, way: Way) -> dict[str, Any]:
        """Return the refresh's spec."""
        checks: dict[str, Any] = {"tests": {"select": ["*"], "onFailure": self.tests}} if self.tests else {}
        if self.marts:
            checks["validation"] = {"marts": [{"relation": mart} for mart in self.marts]}
        return {
            "schedule": "0 * * * *",
            "warehouse": {"secretRef": {"name": "warehouse"}},
            "dbt": {"schema": self.schema, "threads": 4, **self.dbt},
            "layers": [{"name": f"couche-{number}", "select": list(select)} for number, select in enumerate(self.layers, 1)],
            "publish": "Direct" if way is Way.DIRECT else "Swap",
            **checks,
            **self.spec,
        }

    def write(self, folder: Path) -> None:
        """Write its files."""
        top = f"name: {NAME}\nprofile: {NAME}\nversion: '1.0.0'\nconfig-version: 2\n{self.config}"
        for path, text in {"dbt_project.yml": top, **self.files}.items():
            put(folder / path, text)

    def manifest(self, way: Way) -> str:
        """Return the refresh as YAML."""
        name = self.name.replace("_", "-")
        body = {"apiVersion": "dashboards.sigeti.io/v1alpha1", "kind": "DashboardRefresh", "metadata": {"name": name}}
        return yaml.safe_dump({**body, "spec": self.spec_of(way)}, allow_unicode=True)


def put(path: Path, text: str | None) -> None:
    """Write a file, or remove it."""
    if text is None:
        path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
