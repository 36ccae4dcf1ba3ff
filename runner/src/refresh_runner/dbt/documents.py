"""What dbt says of a run and of a project as files: run_results.json, and the page that `dbt docs generate` would make."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from refresh_runner.core.compression import packed
from refresh_runner.core.secrets import Redactor
from refresh_runner.dbt.manifest_cache import keep
from refresh_runner.dbt.project_files import ProjectFiles

if TYPE_CHECKING:
    from dbt.artifacts.schemas.run import RunResult
    from dbt.contracts.graph.manifest import Manifest

_LONGEST: Final = 8 * 1024 * 1024
"""Bytes of a file before it is packed; longer results go without their SQL, and not at all if that does not help."""
_WORDS: Final = frozenset({"status", "unique_id", "name", "thread_id", "dbt_schema_version", "dbt_version", "adapter_unique_id"})
"""Fields of run_results.json that hold words of dbt's own, or names."""
_HASH: Final = 20


def results_text(results: Iterable[RunResult], redact: Redactor) -> str | None:
    """Return what dbt would write as run_results.json after one command that did all this; None if there is nothing, or too much."""
    found = list(results)
    if not found:
        return None
    from dbt.artifacts.schemas.run import RunResultsArtifact

    whole = RunResultsArtifact.from_execution_results(
        results=found,
        elapsed_time=sum(each.execution_time for each in found),
        generated_at=datetime.now(UTC).replace(tzinfo=None),
        args={"vars": {}, "invocation_command": "refresh-runner run"},
    ).to_dict(omit_none=False)
    text = json.dumps(whole, default=str)
    if len(text) > _LONGEST:
        for result in whole["results"]:
            result["compiled_code"] = None
        text = json.dumps(whole, default=str)
    if len(text) <= _LONGEST:
        text = json.dumps(redact.inside(json.loads(text), _WORDS))
    return text if len(text) <= _LONGEST else None


def project_id(files: ProjectFiles) -> str:
    """Return what tells a project from others, and from itself once it is changed; another one each time if that can't be told."""
    return uuid4().hex[:_HASH] if files.unknown else files.digest[:_HASH]


def docs_place(project: Path, id_: str) -> Path:
    """Return the file that holds the page of a project as it was with this id, packed, whether or not it is there."""
    return project / "target" / f"refresh_docs_{id_}.html.gz"


def write_docs(place: Path, manifest: Manifest) -> None:
    """Keep the page that dbt's docs make of a project, in one file and without asking a warehouse; earlier ones are removed."""
    from dbt.task.docs import DOCS_INDEX_FILE_PATH

    catalog: dict[str, object] = {"metadata": {}, "nodes": {}, "sources": {}, "errors": None}
    written = json.dumps(manifest.writable_manifest().to_dict(omit_none=False), default=str)
    page = Path(DOCS_INDEX_FILE_PATH).read_text()
    for name, text in (("MANIFEST", written), ("CATALOG", json.dumps(catalog))):
        # As dbt does it; in a script nothing may look like its end.
        page = page.replace(f'"{name}.JSON INLINE DATA"', text.replace("</", "<\\/"))
    keep(place, packed(page), earlier="refresh_docs_*.html.gz")
