"""Settings that an administrator gave the role or the server: formats, dialect, timeouts and the search path."""

from __future__ import annotations

import pytest

from support.managed import ADMIN, ROLE, Warehouse

FORMATS = {
    "timezone": "Pacific/Chatham",
    "datestyle": "German, DMY",
    "intervalstyle": "sql_standard",
    "bytea_output": "escape",
    "extra_float_digits": "-5",
    "standard_conforming_strings": "off",
    "escape_string_warning": "off",
    "quote_all_identifiers": "on",
    "transform_null_equals": "on",
    "client_encoding": "LATIN1",
}
TIMEOUTS = {
    "statement_timeout": "1500ms",
    "lock_timeout": "50ms",
    "idle_in_transaction_session_timeout": "400ms",
    "idle_session_timeout": "1s",
}


def configure(warehouse: Warehouse, settings: dict[str, str]) -> None:
    """Give the role these settings, and assert that its sessions begin with them."""
    for name, value in settings.items():
        warehouse.as_admin(f"alter role \"{ROLE}\" set {name} = '{value}'")
    with warehouse.connect(ROLE) as connection:
        found = connection.execute("select name, setting from pg_settings where source = 'user'").fetchall()
        assert {str(name).lower() for name, _ in found} >= set(settings) - {"client_encoding", "application_name"}


def test_formats_and_dialect_of_a_role_change_nothing(warehouse: Warehouse) -> None:
    """dbt and the runner read dates, times, texts and definitions; none may depend on how the role's sessions write them."""
    warehouse.grant()
    configure(warehouse, FORMATS)
    with warehouse.connect(ADMIN) as connection:
        connection.execute("insert into src.lignes values (10000, 7, 7, 0, now())")
    warehouse.publish_all_ways()


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_the_isolation_of_a_role_changes_nothing(warehouse: Warehouse, isolation: str) -> None:
    """The publish locks first and then reads what others have committed, which needs READ COMMITTED."""
    warehouse.grant()
    configure(warehouse, {"default_transaction_isolation": isolation, "default_transaction_deferrable": "on"})
    warehouse.publish_all_ways()


def test_timeouts_of_a_role_are_those_of_other_clients(warehouse: Warehouse) -> None:
    """The limits of a run are those of its spec. Sessions that wait for another part of the run are not idle clients."""
    warehouse.grant()
    with warehouse.connect(ROLE) as connection:
        newest = connection.info.server_version >= 170000
    configure(warehouse, TIMEOUTS | ({"transaction_timeout": "1500ms"} if newest else {}))
    warehouse.as_admin("update src.lignes set nap = 2 where id = 1")
    ran = warehouse.run()
    assert "lost" not in ran.messages
    warehouse.change_rows(1)
    warehouse.as_admin("update src.lignes set nap = 2 where id = 11")
    warehouse.publish_all_ways()


def test_a_search_path_of_a_role_is_where_its_log_is(warehouse: Warehouse) -> None:
    """The first schema that exists; the models' schemas are written out."""
    warehouse.as_admin(f'create schema "Journal"; alter role "{ROLE}" set search_path = absent, "Journal", public')
    warehouse.grant()
    warehouse.as_admin("\n".join(warehouse.grants(None)))
    warehouse.publish_all_ways()
    assert warehouse.database.rows('select count(*) from "Journal".dbt_refresh_log') == [(4,)]
    assert warehouse.database.rows("select to_regclass('public.dbt_refresh_log')") == [(None,)]
