"""What a run leaves as files in the warehouse."""

from dataclasses import dataclass
from typing import Final

RESULTS: Final = "run_results.json"
LOG: Final = "run.log"
FAILED_ROWS: Final = "failing_rows.json"


@dataclass(frozen=True)
class Artifact:
    """A file of a run, without secrets: JSON is redacted value by value, since as a whole it might be none afterwards."""

    name: str
    media_type: str
    text: str
