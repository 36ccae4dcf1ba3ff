"""Fixtures that several areas of the tests share live in `support`; they are registered here by name."""

pytest_plugins = ["support.postgres", "support.control_plane", "support.operator"]
