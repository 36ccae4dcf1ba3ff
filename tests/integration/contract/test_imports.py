"""The API server accepts what is made of schedules of other tools, with `kubectl apply` as users type it."""

from __future__ import annotations

import pytest

from support.imports import SOURCES, imported_example


@pytest.mark.parametrize("source", SOURCES)
def test_the_api_server_accepts_an_imported_refresh(contract, source):
    """All rules of the CRD are evaluated; unknown fields are an error. Nothing is stored."""
    done = contract.attempt("apply", "--dry-run=server", "-f", "-", stdin=imported_example(source))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "created (server dry run)" in done.stdout


def test_the_api_server_would_refuse_another_field(contract):
    """Control: the same manifest with one field that does not exist."""
    text = imported_example("CronJob").replace("  suspend: true", "  suspended: true")
    done = contract.attempt("apply", "--dry-run=server", "-f", "-", stdin=text)
    assert done.returncode != 0
    assert 'unknown field "spec.suspended"' in done.stdout + done.stderr
