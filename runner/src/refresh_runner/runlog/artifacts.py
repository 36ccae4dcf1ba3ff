"""The files that a run stores in the warehouse."""

from dataclasses import dataclass
from typing import Final

RESULTS: Final = "run_results.json"
LOG: Final = "run.log"
FAILED_ROWS: Final = "failing_rows.json"


@dataclass(frozen=True)
class Artifact:
    """A file of a run, already redacted. JSON is redacted value by value, so that it stays valid."""

    name: str
    media_type: str
    text: str
