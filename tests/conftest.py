"""Registers the fixtures of `support` that several areas share, and the way in which xdist spreads tests."""

import pytest
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = [
    "support.postgres",
    "support.control_plane",
    "support.operator",
    "support.real_cluster",
    "support.runner_fixtures",
    "support.changed_project",
    "support.git_project",
    "support.ways.fixtures",
]

SHARED = {
    "tests/integration/dbt/": "a warehouse with all models",
    "tests/integration/operator/": "an API server for operators",
    "tests/integration/chart/": "an API server for others",
    "tests/integration/cluster/": "an API server for others",
    "tests/integration/contract/": "an API server for others",
    "tests/integration/page/": "an API server for others",
    "tests/integration/runner/test_flux_sources.py": "an API server for operators",
    "tests/integration/runner/test_status.py": "an API server for others",
}
"""Tests that share something expensive run on one worker, by the beginning of their names."""
APART = "tests/projects/"
"""Each of these tests runs on any worker: they are independent, and one module has most of them."""


class _ByWhatTheyShare(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """One worker for all tests of a module, which may depend on their order, and for all that share something expensive."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(APART):
            return nodeid
        return next((what for start, what in SHARED.items() if nodeid.startswith(start)), nodeid.partition("::")[0])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """Spread tests over the workers of `-n`, whatever `--dist` says."""
    return _ByWhatTheyShare(config, log)
