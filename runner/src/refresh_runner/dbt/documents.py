"""dbt's artifacts of a run and of a project: run_results.json, and the page that `dbt docs generate` would write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from refresh_runner.core.compression import packed
from refresh_runner.core.secrets import Redactor
from refresh_runner.dbt.manifest_cache import replace_file
from refresh_runner.dbt.project_files import ProjectFiles

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

_LONGEST: Final = 8 * 1024 * 1024
"""Maximum bytes of a file before compression. Longer results are stored without their SQL, or not at all."""
_WORDS: Final = frozenset({"status", "unique_id", "name", "thread_id", "dbt_schema_version", "dbt_version", "adapter_unique_id"})
"""Fields of run_results.json and manifest.json with dbt's own words or names, which are not redacted."""
_HASH: Final = 20


def results_text(results: Mapping[str, object] | None, redact: Redactor) -> str | None:
    """Return the redacted text of run_results.json; None if there are no results or too many."""
    if results is None:
        return None
    text = json.dumps(results, default=str)
    if len(text) > _LONGEST:
        # Most of the size is the compiled SQL.
        shorter = json.loads(text)
        for result in shorter["results"]:
            result["compiled_code"] = None
        text = json.dumps(shorter)
    if len(text) <= _LONGEST:
        text = json.dumps(redact.inside(json.loads(text), _WORDS))
    return text if len(text) <= _LONGEST else None


def manifest_text(manifest: Mapping[str, object], redact: Redactor) -> str:
    """Return the redacted text of manifest.json."""
    return json.dumps(redact.inside(json.loads(json.dumps(manifest, default=str)), _WORDS))


def project_id(files: ProjectFiles) -> str:
    """Return a hash of the project's content, or a random ID if not all of its files are known."""
    return uuid4().hex[:_HASH] if files.unknown else files.digest[:_HASH]


def docs_path(project: Path, id_: str) -> Path:
    """Return the path of the compressed page for a project with this ID, whether or not it exists."""
    return project / "target" / f"refresh_docs_{id_}.html.gz"


def write_docs(path: Path, manifest: Manifest) -> None:
    """Write dbt's documentation of a project as one page, without a catalog of the warehouse. Remove earlier pages."""
    from dbt.task.docs import DOCS_INDEX_FILE_PATH

    catalog: dict[str, object] = {"metadata": {}, "nodes": {}, "sources": {}, "errors": None}
    written = json.dumps(manifest.writable_manifest().to_dict(omit_none=False), default=str)
    page = Path(DOCS_INDEX_FILE_PATH).read_text()
    for name, text in (("MANIFEST", written), ("CATALOG", json.dumps(catalog))):
        # As in dbt: a closing tag in the data would end the script.
        page = page.replace(f'"{name}.JSON INLINE DATA"', text.replace("</", "<\\/"))
    replace_file(path, packed(page), earlier="refresh_docs_*.html.gz")
