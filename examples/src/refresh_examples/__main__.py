"""The command `refresh-examples`: a warehouse, its source data, a dashboard API, an inbox for notifications, and a Git server."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path
from types import FrameType

import psycopg
import uvicorn

from refresh_examples import dashboard_api, inbox
from refresh_examples.embedded import Access, EmbeddedPostgres, EmbeddedPostgresError, psql_program
from refresh_examples.git_server import GitHttpServer, Login, create_repository, git_program, tls_of
from refresh_examples.load import load
from refresh_examples.reader_role import ensure_reader
from refresh_examples.sources import Sources


def main() -> int:
    """Run the command line; return its exit code."""
    arguments, rest = _parser().parse_known_args()
    arguments.rest = rest
    if rest and arguments.run is not _psql:
        _parser().error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        code: int = arguments.run(arguments)
    except (EmbeddedPostgresError, psycopg.OperationalError) as error:
        sys.exit(f"refresh-examples: {error}")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="refresh-examples", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    warehouse = commands.add_parser(
        "warehouse", help="run a PostgreSQL server with the credentials of PGUSER, PGPASSWORD and PGDATABASE; READER_* create a reader"
    )
    warehouse.add_argument("--folder", type=Path, required=True, help="data folder; created at the first start")
    warehouse.add_argument("--listen", default="127.0.0.1", help="address (default: %(default)s)")
    warehouse.add_argument("--port", type=int, default=int(os.environ.get("PGPORT", "5432")), help="default: PGPORT or 5432")
    warehouse.add_argument("--password-file", type=Path, help="file with the password (default: PGPASSWORD)")
    warehouse.set_defaults(run=_warehouse)

    loading = commands.add_parser("load", help="fill the schema sigeti with generated data, in the database that PG* variables name")
    loading.add_argument("--rows", type=int, default=10_000, help="number of records per main table (default: %(default)s)")
    loading.add_argument("--seed", type=int, default=1, help="seed; the same seed generates the same data (default: %(default)s)")
    loading.add_argument("--as-of", type=date.fromisoformat, help="last day of the generated history (default: today, UTC)")
    loading.add_argument("--wait", type=float, default=0, help="seconds to wait for the database (default: %(default)s)")
    loading.set_defaults(run=_load)

    api = commands.add_parser("api", help="serve the dashboards and their data, from the database that PG* variables name")
    api.add_argument("--listen", default="127.0.0.1", help="address (default: %(default)s)")
    api.add_argument("--port", type=int, default=8000, help="default: %(default)s")
    files = os.environ.get("DASHBOARDS")
    api.add_argument(
        "--dashboards", type=Path, default=Path(files) if files else None, help="folder of the built front end (default: DASHBOARDS)"
    )
    api.set_defaults(run=_api)

    messages = commands.add_parser("inbox", help="receive webhooks and mail, and list them at /messages")
    messages.add_argument("--listen", default="127.0.0.1", help="address (default: %(default)s)")
    messages.add_argument("--http-port", type=int, default=8080, help="default: %(default)s")
    messages.add_argument("--smtp-port", type=int, default=8025, help="default: %(default)s")
    messages.set_defaults(run=_inbox)

    git = commands.add_parser("git", help="serve Git repositories by HTTPS, with the login in GIT_USERNAME and GIT_PASSWORD")
    git.add_argument("--folder", type=Path, required=True, help="folder with the repositories")
    git.add_argument("--repository", action="append", default=[], help="name of a repository to create, unless it exists; may be repeated")
    git.add_argument("--certificate", type=Path, required=True, help="file in PEM format")
    git.add_argument("--key", type=Path, help="file with the private key (default: the certificate's file)")
    git.add_argument("--listen", default="127.0.0.1", help="address (default: %(default)s)")
    git.add_argument("--port", type=int, default=8443, help="default: %(default)s")
    git.set_defaults(run=_git)

    shell = commands.add_parser("psql", help="run psql with its options, on the database that PG* variables name", add_help=False)
    shell.set_defaults(run=_psql)
    return parser


def _warehouse(arguments: argparse.Namespace) -> int:
    password = arguments.password_file.read_text().strip() if arguments.password_file else os.environ.get("PGPASSWORD")
    if not password:
        sys.exit("refresh-examples warehouse: set PGPASSWORD or --password-file")
    access = Access(os.environ.get("PGUSER", "refresh"), password, os.environ.get("PGDATABASE", "warehouse"))
    _end_when_told()
    reader = Access(os.environ.get("READER_USER", ""), os.environ.get("READER_PASSWORD", ""), access.database)
    with EmbeddedPostgres.start(arguments.folder, access, listen=arguments.listen, port=arguments.port, durable=True) as server:
        if reader.user and reader.password:
            with psycopg.connect(server.dsn, autocommit=True) as connection:
                ensure_reader(connection, reader)
        print(f"PostgreSQL listens on {arguments.listen}:{server.port}, database {access.database}", flush=True)
        return server.wait()


def _end_when_told() -> None:
    """Exit with 0 on SIGTERM and SIGINT, which the first process of a container ignores by default."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def _load(arguments: argparse.Namespace) -> int:
    sources = Sources(arguments.rows, arguments.seed, arguments.as_of or datetime.now(UTC).date())
    started = time.monotonic()
    with _connect_within(arguments.wait) as connection:
        counts = load(connection, sources)
    for table, count in counts.items():
        print(f"sigeti.{table}: {count} lines")
    print(f"loaded in {time.monotonic() - started:.1f} s, as of {sources.as_of}, seed {sources.seed}")
    return 0


def _connect_within(seconds: float) -> psycopg.Connection:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return psycopg.connect(autocommit=True, connect_timeout=5)
        except psycopg.OperationalError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.5)


def _api(arguments: argparse.Namespace) -> int:
    application = dashboard_api.application(dashboard_api.connect_by_environment, time.monotonic, arguments.dashboards)
    # event streams would keep the process alive: wait only one second for them
    limits = uvicorn.Config(
        application, host=arguments.listen, port=arguments.port, log_level="warning", access_log=False, timeout_graceful_shutdown=1
    )
    uvicorn.Server(limits).run()
    return 0


def _inbox(arguments: argparse.Namespace) -> int:
    asyncio.run(inbox.serve(arguments.listen, arguments.http_port, arguments.smtp_port))
    return 0


def _git(arguments: argparse.Namespace) -> int:
    login = Login(os.environ.get("GIT_USERNAME", ""), os.environ.get("GIT_PASSWORD", ""))
    if not login.username or not login.password:
        sys.exit("refresh-examples git: set GIT_USERNAME and GIT_PASSWORD")
    _end_when_told()
    try:
        git_program()
        for name in arguments.repository:
            create_repository(arguments.folder / name)
        tls = tls_of(arguments.certificate, arguments.key)
        server = GitHttpServer((arguments.listen, arguments.port), arguments.folder, tls, login.permits)
    except OSError as error:
        sys.exit(f"refresh-examples git: {error}")
    with server:
        print(f"serving the Git repositories in {arguments.folder} on {arguments.listen}:{server.port}", flush=True)
        server.serve_forever()
    return 0


def _psql(arguments: argparse.Namespace) -> int:
    program = psql_program()
    os.execv(program, [str(program), "--no-psqlrc", "--pset=pager=off", *arguments.rest])


if __name__ == "__main__":
    sys.exit(main())
