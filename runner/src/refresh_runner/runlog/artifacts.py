"""The files of a run, which it stores in the warehouse, and in a bucket if its refresh has one."""

from dataclasses import dataclass
from typing import Final

RESULTS: Final = "run_results.json"
LOG: Final = "run.log"
FAILED_ROWS: Final = "failing_rows.json"
MANIFEST: Final = "manifest.json"
DOCS: Final = "docs.html"


@dataclass(frozen=True)
class Artifact:
    """A file of a run, already redacted. JSON is redacted value by value, so that it stays valid."""

    name: str
    media_type: str
    text: str
