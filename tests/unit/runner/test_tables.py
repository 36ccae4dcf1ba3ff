"""The statements that create the runner's tables and add columns."""

from refresh_runner.postgres.own_tables import ddl_statements
from refresh_runner.runlog.schema import LEGACY_LOG, RUN, RUN_LOG


def test_nothing_is_done_where_all_is_there():
    """So that a role needs no privilege to create tables once they exist."""
    assert all(ddl_statements(table, table.required_parts) == [] for table in (LEGACY_LOG, *RUN_LOG))


def test_a_table_that_is_not_there_is_made_with_its_key_and_indexes():
    """Each statement can be repeated."""
    for table in (LEGACY_LOG, *RUN_LOG):
        made = ddl_statements(table, set())
        assert len(made) == 1 + len(table.indexes)
        assert all("if not exists" in statement for statement in made)
        assert "primary key" in made[0]


def test_a_column_that_is_missing_is_added_so_that_old_rows_can_have_it():
    """Old rows have no value for it."""
    assert ddl_statements(RUN, RUN.required_parts - {("dbt_refresh_run", "phase")}) == [
        "alter table dbt_refresh_run add column if not exists phase text"
    ]
    by_default = ddl_statements(LEGACY_LOG, LEGACY_LOG.required_parts - {("dbt_refresh_log", "run_date")})
    assert by_default == ["alter table dbt_refresh_log add column if not exists run_date timestamptz not null default now()"]
