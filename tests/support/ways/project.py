"""The types of the comparison: a Project has files, a refresh and Edits; a Way is how it is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from support.ways.differences import Difference

NAME = "essai"
"""Name of every project and of its profile."""
BUILDER = "batisseur"
"""The role that runs projects: owner of the database, not a superuser."""
READER = "lecteur"
"""Roles that projects grant privileges to."""
OTHER_READER = "autre_lecteur"


class Way(StrEnum):
    """How a project is run."""

    PLAIN = "plain dbt"
    DIRECT = "Direct"
    SWAP = "Swap"
    PARSED = "Swap, parsed"
    """With `refresh-runner parse` before each run."""
    RESUMED = "Swap, resumed"
    """A first attempt of each run is killed before its last node, and a second one resumes it."""


OURS = (Way.DIRECT, Way.SWAP, Way.PARSED, Way.RESUMED)


@dataclass(frozen=True)
class Edit:
    """A change between two runs."""

    sql: str = ""
    """SQL, run as the builder."""
    files: Mapping[str, str | None] = field(default_factory=dict)
    """Files to write; None removes a file."""
    full_refresh: bool = False
    """Whether the run after it rebuilds incremental models."""
    codes: Mapping[Way, int] | None = None
    """Exit codes of the run after it, if they are not the project's."""


@dataclass(frozen=True)
class Project:
    """One small project; everything but `name` and `files` has a default."""

    name: str
    files: Mapping[str, str]
    """Text by path; `dbt_project.yml` is generated from `config`."""
    marts: tuple[str, ...] = ()
    """`validation.marts`, as schema.name."""
    config: str = ""
    """Additional YAML of `dbt_project.yml`."""
    layers: tuple[tuple[str, ...], ...] = (("*",),)
    """`layers[].select`."""
    tests: str = ""
    """`tests.failurePolicy`, for all tests of the project; without it the refresh has no tests."""
    edits: tuple[Edit, ...] = (Edit(),)
    """The project runs once more after each edit."""
    prepare: str = ""
    """SQL before the first run, as the builder."""
    admin: str = ""
    """SQL before `prepare`, as a superuser, in each database; roles belong to the server and are created once."""
    dbt: Mapping[str, Any] = field(default_factory=dict)
    """`spec.dbt`; the schema defaults to `dwh`."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    """Additional fields of the spec."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of every way."""
    commands: tuple[tuple[str, ...], ...] = (("build",),)
    """Commands of plain dbt, in order; hooks run with each."""
    random: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Columns whose values differ in every run, by schema.name."""
    codes: Mapping[Way, int] = field(default_factory=dict)
    """Exit codes of each run; 0 by default."""
    difference: Difference | None = None
    """Why it is refused, not resumed, or differs, also in its exit code."""
    refused: str = ""
    """Text that the output of `lint` and the run must contain if they refuse the project. Nothing is built, and nothing changes."""
    refused_by: tuple[Way, ...] = (Way.SWAP, Way.PARSED)
    """Ways that refuse the project; the results of the others must be equal."""
    not_resumed: bool = False
    """Whether a run that was killed and resumed cannot have equal results; the project is then not run that way."""
    differs: bool = False
    """Whether the results of the ways differ; the test fails if they are equal."""
    quick: bool = False
    """Whether `make test` runs it, in three ways; `make test-projects` runs all projects in all ways."""

    @property
    def schema(self) -> str:
        """Return the target's schema."""
        return str(self.dbt.get("schema", "dwh"))

    @property
    def text(self) -> str:
        """Return the text of the whole project: each file after its path, before and after the edits, and its settings."""
        edited = [(path, text or "") for edit in self.edits for path, text in edit.files.items()]
        settings = yaml.safe_dump(dict(self.dbt), allow_unicode=True)
        options = ["--full-refresh"] if any(edit.full_refresh for edit in self.edits) else []
        return "\n".join([self.config, settings, *options, *(f"{path}\n{text}" for path, text in [*self.files.items(), *edited])])

    def spec_of(self, way: Way) -> dict[str, Any]:
        """Return the refresh's spec for a way."""
        # Nodes that are built one after another are the same ones when the runner is killed.
        threads = 1 if way is Way.RESUMED else 4
        checks: dict[str, Any] = {"tests": {"select": ["*"], "failurePolicy": self.tests}} if self.tests else {}
        if self.marts:
            checks["validation"] = {"marts": [{"relation": mart} for mart in self.marts]}
        return {
            "schedule": "0 * * * *",
            "warehouse": {"secretRef": {"name": "warehouse"}},
            "dbt": {"schema": self.schema, "threads": threads, **self.dbt},
            "layers": [{"name": f"couche-{number}", "select": list(select)} for number, select in enumerate(self.layers, 1)],
            "publish": "Direct" if way is Way.DIRECT else "Swap",
            **checks,
            **self.spec,
        }

    def codes_of(self, number: int) -> Mapping[Way, int]:
        """Return the exit codes of run `number`, from 0; of a way that is not among them it is 0."""
        own = self.edits[number - 1].codes if number else None
        return self.codes if own is None else own

    @property
    def is_different(self) -> bool:
        """Return whether a refresh differs from plain dbt in anything."""
        codes = {self.codes.get(way, 0) for way in Way}
        return bool(self.refused) or self.not_resumed or self.differs or len(codes) > 1

    def is_run_by(self, way: Way) -> bool:
        """Return whether the results of a way are compared: not if it refuses the project, or if a killed run cannot have equal results."""
        if way is Way.RESUMED and (self.not_resumed or not self.is_run_by(Way.SWAP)):
            return False
        return not (self.refused and way in self.refused_by)

    def write(self, folder: Path) -> None:
        """Write the project's files."""
        top = f"name: {NAME}\nprofile: {NAME}\nversion: '1.0.0'\nconfig-version: 2\n{self.config}"
        for path, text in {"dbt_project.yml": top, **self.files}.items():
            put(folder / path, text)

    def manifest(self, way: Way) -> str:
        """Return the refresh as YAML."""
        name = self.name.replace("_", "-")
        body = {"apiVersion": "dashboards.sigeti.io/v1alpha1", "kind": "DashboardRefresh", "metadata": {"name": name}}
        return yaml.safe_dump({**body, "spec": self.spec_of(way)}, allow_unicode=True)


def put(path: Path, text: str | None) -> None:
    """Write a file; None removes it."""
    if text is None:
        path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
