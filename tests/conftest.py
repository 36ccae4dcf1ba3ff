"""Fixtures that several areas of the tests share live in `support`; they are registered here by name. So is how xdist spreads tests."""

import pytest
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = ["support.postgres", "support.control_plane", "support.operator", "support.real_cluster", "support.ways.fixtures"]

SHARED = {
    "tests/integration/dbt/": "a warehouse with all models",
    "tests/integration/operator/": "an API server for operators",
    "tests/integration/chart/": "an API server for others",
    "tests/integration/cluster/": "an API server for others",
    "tests/integration/contract/": "an API server for others",
    "tests/integration/page/": "an API server for others",
    "tests/integration/runner/test_status.py": "an API server for others",
}
"""What is dear to make, by the start of the names of the tests that share it."""


class _ByWhatTheyShare(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """One worker for all tests of a file, whose tests may build upon each other, and for all that share what is dear to make."""

    def _split_scope(self, nodeid: str) -> str:
        return next((what for start, what in SHARED.items() if nodeid.startswith(start)), nodeid.partition("::")[0])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """Spread tests over the workers of `-n`, whatever `--dist` says."""
    return _ByWhatTheyShare(config, log)
