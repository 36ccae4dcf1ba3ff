"""Ways to the server: certificates of the system, and PgBouncer."""

from __future__ import annotations

from pathlib import Path

import pytest

from refresh_api.run_request import ExitCode
from refresh_api.status import Reason
from support.managed import PASSWORD, ROLE, Authority, Warehouse
from support.pooler import pooler


def test_certificates_of_the_system_verify_the_server(warehouse: Warehouse, authority: Authority, tmp_path: Path) -> None:
    """SSL_CERT_FILE names them, for dbt as well. The control: a server whose certificate another authority issued is refused."""
    warehouse.grant()
    secret = warehouse.runner.secrets["warehouse"]
    secret["sslrootcert"] = "system"
    (warehouse.place / "secrets" / "warehouse" / "sslmode").unlink(missing_ok=True)
    secret.pop("sslmode")
    (tmp_path / "other").mkdir()
    other = Authority.create(tmp_path / "other")
    refused, accepted = (
        warehouse.runner.wait_for_exit(warehouse.runner.start_process(warehouse.runner.spec(), SSL_CERT_FILE=str(each.root)), within=120)
        for each in (other, authority)
    )
    assert "certificate verify failed" in refused.messages
    assert refused.code == ExitCode.RETRY
    assert accepted.code == 0, accepted.output
    assert warehouse.live() == [(1, 100)] * 2


def through(warehouse: Warehouse, port: int) -> None:
    """Have runs connect by another port of this machine, where a pooler takes connections without TLS."""
    warehouse.runner.secrets["warehouse"] |= {"host": "127.0.0.1", "port": str(port), "sslmode": "prefer"}


def test_a_pool_in_session_mode_is_as_good_as_postgresql(warehouse: Warehouse, tmp_path: Path) -> None:
    """With TLS behind the pooler. Nothing of a run stays in the session that the next client gets."""
    warehouse.grant()
    with pooler(warehouse.database, tmp_path, "session", {ROLE: PASSWORD}, "server_tls_sslmode = require") as port:
        through(warehouse, port)
        warehouse.publish_all_ways()


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_a_pool_that_shares_sessions_is_refused(warehouse: Warehouse, tmp_path: Path, mode: str) -> None:
    """A session lock taken through it would belong to anybody; nothing is built."""
    warehouse.grant()
    with pooler(warehouse.database, tmp_path, mode, {ROLE: PASSWORD}, "server_tls_sslmode = require") as port:
        through(warehouse, port)
        ran = warehouse.runner.run()
    assert ran.termination_message is not None
    assert (ran.code, ran.termination_message.reason) == (ExitCode.FAILED, Reason.WAREHOUSE_UNREACHABLE), ran.output
    assert "is a connection pooler that shares sessions between clients" in (ran.termination_message.message or "")
    assert warehouse.database.rows("select to_regclass('dwh_marts.mart_a')") == [(None,)]
