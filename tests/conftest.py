"""Fixtures that several areas of the tests share live in `support`; they are registered here by name."""

import pytest

pytest_plugins = ["support.postgres", "support.control_plane", "support.operator", "support.real_cluster"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep what shares something dear to make on one worker (`-n 3 --dist loadgroup`): an API server, a warehouse with all models.

    Before the other hooks, since xdist's own reads the groups.
    """
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))


def _group(item: pytest.Item) -> str:
    area = item.path.parent.name
    if "control_plane" in getattr(item, "fixturenames", ()):
        return "operator" if area == "operator" else "cluster"
    return area if area == "dbt" else item.path.name
