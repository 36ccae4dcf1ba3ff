"""Run the comparison of small dbt projects with plain dbt, and write its result into docs/dbt-project.md."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version

import generate
from suite_results import PROJECTS, run_whole


def main() -> int:
    """Run the tests; arguments are passed to pytest, and then nothing is written. Return 1 if a test failed.

    WORKERS is the number of processes of pytest. Defaults to 2.
    """
    options = ["-n", os.environ.get("WORKERS", "2"), "tests/projects"]
    return run_whole("test-projects", PROJECTS, (version("dbt-core"), *PROJECTS.suites), options, sys.argv[1:], generate.write)


if __name__ == "__main__":
    sys.exit(main())
