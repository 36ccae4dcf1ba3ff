"""A managed service: no superuser, TLS and SCRAM only, and a role with what `refresh-runner grants` prints and nothing else."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from support.managed import ADMIN, PASSWORD, ROLE, Warehouse, full_build

EVERY_STEP = {"sources": {"stalePolicy": "Fail"}}


def test_the_server_is_what_the_tests_say(warehouse: Warehouse) -> None:
    """Otherwise they would prove nothing: without TLS or a password nobody connects, and nobody who does is a superuser."""
    dsn = make_conninfo(warehouse.database.dsn, user=ADMIN, password=PASSWORD)
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        psycopg.connect(dsn, sslmode="disable")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(make_conninfo(dsn, password="another"))
    with warehouse.connect(ADMIN) as connection:
        about = "select rolsuper, ssl from pg_roles, pg_stat_ssl where rolname = current_user and pid = pg_backend_pid()"
        assert connection.execute(about).fetchone() == (False, True)
        version = connection.info.server_version // 10000
    assert version == full_build().major, "REFRESH_POSTGRES is the server's version"


@pytest.mark.parametrize("publish", ["Swap", "Direct"])
def test_the_printed_grants_are_enough_for_every_step_and_mode(warehouse: Warehouse, publish: str) -> None:
    """The administrator executes them as printed. A stored test, every step, new and changed rows, a changed shape, and a rollback."""
    spec = {**EVERY_STEP, "publish": publish}
    warehouse.grant(spec=spec)
    warehouse.run(spec=spec)
    warehouse.change_rows(1)
    warehouse.run(spec=spec)
    assert warehouse.live() == [(11, 100), (11, 100)]
    warehouse.run("full-refresh", spec)
    warehouse.run("from=marts", spec)
    if publish == "Swap":
        with warehouse.connect(ROLE) as connection:
            connection.execute("alter table dwh_marts.mart_a add column ancienne integer")
        warehouse.change_rows(2)
        ran = warehouse.run(spec=spec)
        assert "dwh_marts.mart_a is live: 100 rows, 100 of them written (swap)" in ran.messages
        warehouse.run("rollback", spec)
        assert warehouse.live() == [(11, 100), (11, 100)]
        warehouse.run("resume", spec)
    assert warehouse.grants(None, spec) == []
