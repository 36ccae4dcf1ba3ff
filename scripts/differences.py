"""Write the table of differences from plain dbt into docs/dbt-project.md: `make generate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from marked import between, table
from support.ways.differences import DIFFERENCES, HEAD

PAGE: Final = Path(__file__).resolve().parent.parent / "docs/dbt-project.md"


def with_table(text: str) -> str:
    """Return the page with the table up to date."""
    return between(text, "differences", "\n" + table(HEAD, (each.row for each in DIFFERENCES)) + "\n")


def main() -> int:
    """Write the table into the page."""
    PAGE.write_text(with_table(PAGE.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
