"""PostgreSQL as a managed service provides it: TLS and SCRAM only, and an administrator who is not a superuser."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
from psycopg.conninfo import make_conninfo

from refresh_examples.embedded import EmbeddedPostgres
from refresh_examples.unprivileged import account_for
from refresh_runner.postgres.privileges import Grantee
from support import postgres_builds
from support.grants import printed_grants, printed_lines
from support.postgres import Database
from support.runner_harness import RunnerHarness, RunResult

ADMIN: Final = "gestion"
ROLE: Final = "etl-role"
PASSWORD: Final = "kept'from all others"
HOST: Final = "localhost"
"""The only name in the server's certificate."""
NO_CHANGES: Final[Mapping[str, object]] = {}
"""The unchanged spec of the harness."""
_RULES: Final = """
hostssl all all 127.0.0.1/32 scram-sha-256
hostssl replication all 127.0.0.1/32 scram-sha-256
"""


def full_build() -> postgres_builds.Build:
    """Return the chosen build; Maven Central's instead of the wheel's, which has neither TLS nor ICU."""
    build = postgres_builds.chosen()
    return postgres_builds.Build(build.major, "maven") if build.source == "wheel" else build


@dataclass(frozen=True)
class Authority:
    """A certificate authority, with the key and certificate of a server."""

    root: Path
    key: Path
    certificate: Path

    @classmethod
    def create(cls, folder: Path) -> Authority:
        """Create an authority and a server's certificate for HOST in a folder."""
        root, key, certificate = folder / "root.crt", folder / "server.key", folder / "server.crt"
        new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        _openssl(*new, "-x509", "-days", "2", "-subj", "/CN=essai", "-keyout", str(folder / "root.key"), "-out", str(root))
        _openssl(*new, "-subj", f"/CN={HOST}", "-keyout", str(key), "-out", str(folder / "server.csr"))
        (folder / "extensions").write_text(f"subjectAltName=DNS:{HOST}\n")
        issue = ["x509", "-req", "-days", "2", "-in", str(folder / "server.csr"), "-CA", str(root), "-CAkey", str(folder / "root.key")]
        _openssl(*issue, "-CAcreateserial", "-extfile", str(folder / "extensions"), "-out", str(certificate))
        return cls(root, key, certificate)


def _openssl(*arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def require_tls(server: EmbeddedPostgres, authority: Authority) -> None:
    """Make a server accept only TLS connections with a password; existing connections are kept."""
    account = account_for(os.geteuid())
    for name, source, mode in (("server.key", authority.key, 0o600), ("server.crt", authority.certificate, 0o644)):
        (server.data / name).write_bytes(source.read_bytes())
        (server.data / name).chmod(mode)
        account.give(server.data / name)
    (server.data / "pg_hba.conf").write_text(_RULES)
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("alter system set ssl = on")
        connection.execute("select pg_reload_conf()")


@dataclass(frozen=True)
class Warehouse:
    """A database of the administrator, a role that runs refreshes in it, and the runner."""

    database: Database
    runner: RunnerHarness
    place: Path
    sslmode: str = "require"

    def as_admin(self, statements: str) -> None:
        """Execute statements as the administrator."""
        with self.connect(ADMIN) as connection:
            connection.execute(statements.encode())

    @contextmanager
    def connect(self, user: str) -> Iterator[psycopg.Connection]:
        """Connect as a role, in autocommit mode."""
        dsn = make_conninfo(self.database.dsn, user=user, password=PASSWORD, sslmode=self.sslmode)
        with psycopg.connect(dsn, autocommit=True) as connection:
            yield connection

    def grants(self, role: str | None = ROLE, spec: Mapping[str, object] = NO_CHANGES) -> list[str]:
        """Return the statements that `refresh-runner grants` prints for a role; None: those that ROLE lacks."""
        access = {"PGUSER": ROLE, "PGPASSWORD": PASSWORD, "PGSSLMODE": self.sslmode}
        grantee = Grantee(role, self.database.name) if role else None
        return printed_grants(self.runner, self.place, grantee, access, **spec)[1]

    def remarks(self) -> list[str]:
        """Return the comments between the printed statements."""
        lines = printed_lines(self.runner, self.place, Grantee(ROLE, self.database.name), {})[1]
        return [line for line in lines if line.startswith("--")]

    def grant(self, role: str = ROLE, spec: Mapping[str, object] = NO_CHANGES) -> None:
        """Execute, as the administrator, what `refresh-runner grants` prints."""
        self.as_admin("\n".join(self.grants(role, spec)))

    def run(self, mode: str = "refresh", spec: Mapping[str, object] = NO_CHANGES) -> RunResult:
        """Run the refresh and assert that it succeeded."""
        ran = self.runner.run(self.runner.spec(**spec), mode=mode)
        assert ran.code == 0, ran.output
        return ran

    def change_rows(self, generation: int) -> None:
        """Replace the source's rows by a hundred others."""
        self.as_admin(
            "delete from src.lignes; insert into src.lignes"
            f" select n + {generation * 10}, n, n % 12 + 1, 0, now() from generate_series(1, 100) n"
        )

    def publish_all_ways(self) -> None:
        """Create the marts, merge, swap and roll back, and assert what is live."""
        self.run()
        self.change_rows(1)
        assert "(merge)" in self.run().messages
        with self.connect(ROLE) as connection:
            connection.execute("alter table dwh_marts.mart_a add column ancienne integer")
        self.change_rows(2)
        assert "(swap)" in self.run().messages
        assert self.live() == [(21, 100)] * 2
        self.run("rollback")
        assert self.live() == [(11, 100)] * 2

    def live(self) -> list[tuple[object, ...]]:
        """Return the smallest id and the number of rows of both marts."""
        return self.database.rows("select min(id), count(*) from dwh_marts.mart_a union all select min(id), count(*) from dwh_marts.mart_b")


def set_up(database: Database) -> None:
    """Create the administrator, who owns the database and its source, and the role."""
    database.run(
        f"""
        create role {ADMIN} login createrole createdb password '{PASSWORD.replace("'", "''")}';
        grant pg_read_all_stats to {ADMIN} with admin option;
        alter database "{database.name}" owner to {ADMIN};
        alter schema public owner to {ADMIN};
        """
    )


def prepare(warehouse: Warehouse) -> None:
    """Create the role, which has no privileges yet, and the source's rows, as the administrator."""
    warehouse.as_admin(
        f"""
        create role "{ROLE}" login password '{PASSWORD.replace("'", "''")}';
        revoke all on database "{warehouse.database.name}" from public; revoke all on schema public from public;
        create schema src;
        create table src.lignes (id integer, zone integer, mois integer, nap integer default 0, chargee timestamptz);
        insert into src.lignes select n, n, n % 12 + 1, 0, now() from generate_series(1, 100) n;
        """
    )
