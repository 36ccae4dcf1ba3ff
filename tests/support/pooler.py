"""A real PgBouncer in front of a database."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cluster.ports import free_port
from refresh_examples.unprivileged import account_for
from support.eventually import eventually
from support.postgres import Database


@contextmanager
def pooler(database: Database, place: Path, mode: str, users: Mapping[str, str] | None = None, options: str = "") -> Iterator[int]:
    """Run PgBouncer in a pool mode (session, transaction, statement) in front of the database's server; yields its port.

    `users` are passwords by role, by default those of the database's owner; `options` are further lines of its configuration.
    """
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program, "install pgbouncer, on Debian: apt-get install pgbouncer"
    port, account, server = free_port(), account_for(os.geteuid()), database.server
    quoted = {name: password.replace('"', '""') for name, password in (users or {server.access.user: server.access.password}).items()}
    files = {
        "users": "".join(f'"{name}" "{password}"\n' for name, password in quoted.items()),
        "ini": f"""[databases]
* = host={server.host} port={server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {place}/users
pool_mode = {mode}
{options}
""",
    }
    for folder in (place, *list(place.parents)[:3]):
        folder.chmod(folder.stat().st_mode | 0o011)
    for name, text in files.items():
        (place / name).write_text(text)
        (place / name).chmod(0o400)
        account.give(place / name)
    with (place / "pgbouncer.log").open("wb") as log:
        process = subprocess.Popen(account.command(program, str(place / "ini")), stdout=log, stderr=log, cwd="/")
        try:
            eventually(lambda: _answers(port), within=10, context=(place / "pgbouncer.log").read_text)
            yield port
        finally:
            process.terminate()
            process.wait(10)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
