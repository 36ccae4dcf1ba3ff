"""Schedules of other tools in `examples/imports`, and what is made of them."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import yaml

from refresh_runner.__main__ import main
from support.guide import ROOT

EXAMPLES = ROOT / "examples/imports"
SOURCES = {
    "CronJob": ("cronjob", ["cronjob.yaml"]),
    "dbt platform": ("dbt-platform", ["dbt-platform.json", "dbt-platform-environment.json"]),
    "dagctl-dbt": ("dagctl-dbt", ["dagctl-dbt.yaml"]),
    "BashOperator": ("airflow", ["airflow_bash.py"]),
    "Cosmos": ("airflow", ["airflow_cosmos.py"]),
    "Dagster": ("dagster", ["dagster_schedules.py", "dagster_assets.py", "--only", "velos_nightly"]),
}
"""The kind of source, and the arguments, of each example."""


def import_files(source: str, *files: Path, options: list[str] | None = None) -> tuple[int, str, str]:
    """Run `refresh-runner import`. Return the exit code, what it printed, and its errors."""
    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors):
        code = main(["import", source, *map(str, files), *(options or [])])
    return code, output.getvalue(), errors.getvalue()


def imported(source: str, *files: Path, options: list[str] | None = None) -> str:
    """Return the manifest that is printed; AssertionError with the errors if there is none."""
    code, output, errors = import_files(source, *files, options=options)
    assert code == 0, errors
    return output


def example(name: str) -> list[Path]:
    """Return the files of an example."""
    return [EXAMPLES / word for word in SOURCES[name][1] if (EXAMPLES / word).is_file()]


def imported_example(name: str) -> str:
    """Return the manifest of an example."""
    source, words = SOURCES[name]
    files = example(name)
    return imported(source, *files, options=words[len(files) :])


def spec_of(manifest: str) -> dict[str, Any]:
    """Return the spec in a manifest."""
    spec: dict[str, Any] = yaml.safe_load(manifest)["spec"]
    return spec


def comments(manifest: str) -> list[str]:
    """Return the items of the comments before a manifest, each in one line."""
    head = manifest.partition("apiVersion:")[0]
    return [" ".join(item.replace("\n#", " ").split()) for item in head.split("\n# - ")[1:]]
