"""The number of rows that dbt reports for a node."""

import pytest

from refresh_runner.dbt.results import rows_written


@pytest.mark.parametrize(
    ("response", "rows"),
    [
        ({"rows_affected": 7}, 7),
        ({"rows_affected": 0}, 0),
        ({"rows_affected": -1}, None),
        ({"rows_affected": "7"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_only_a_number_that_postgresql_reported_counts(response, rows):
    """PostgreSQL reports -1 for statements that write no rows, such as CREATE VIEW."""
    assert rows_written(response) == rows
