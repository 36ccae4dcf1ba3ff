"""What a refresh needs outside a cluster: a warehouse with generated sources, the dashboard API, the runner's command line."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psycopg

from cluster.ports import free_port, is_free
from refresh_api.plain import plain
from refresh_examples.embedded import Access, EmbeddedPostgres
from refresh_examples.load import load
from refresh_examples.sources import Sources

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "deploy" / "samples"
SEED = 7
_started = time.monotonic()


def say(text: str) -> None:
    """Print a message with the seconds since the start."""
    print(plain(f"[{time.monotonic() - _started:4.0f} s] {text}"), flush=True)


def warehouse(folder: Path, port: int = 0) -> EmbeddedPostgres:
    """Start the embedded PostgreSQL in a folder, on the port of its last start if that is free."""
    noted = folder / "port"
    wanted = int(noted.read_text()) if noted.exists() else port
    # A password that occurs in no log: the runner masks it wherever it finds it.
    access = Access(password="kept-on-this-machine")
    server = EmbeddedPostgres.start(folder / "postgres", access, port=wanted if wanted and is_free(wanted) else 0)
    noted.write_text(str(server.port))
    return server


def fill(dsn: str, rows: int, seed: int = SEED) -> bool:
    """Load generated sources of this size into a database; return False if they already exist."""
    wanted = f"{rows} rows, seed {seed}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("create schema if not exists sigeti")
        row = connection.execute("select obj_description('sigeti'::regnamespace)").fetchone()
        if row and row[0] == wanted:
            return False
        load(connection, Sources(rows, seed, datetime.now(UTC).date()))
        connection.execute(psycopg.sql.SQL("comment on schema sigeti is {}").format(wanted))
    return True


@contextmanager
def dashboard_api(env: Mapping[str, str], port: int = 0) -> Iterator[str]:
    """Serve the dashboard API for the warehouse given by PG* variables; yields its URL."""
    port = port or free_port()
    command = [sys.executable, "-m", "refresh_examples", "api", "--port", str(port)]
    process = subprocess.Popen(command, env={**os.environ, **env}, cwd=ROOT)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(f"{address}/health", process)
        yield address
    finally:
        process.terminate()
        process.wait()


def runner(*arguments: str) -> list[str]:
    """Return the runner's command line."""
    return [sys.executable, "-m", "refresh_runner", *arguments]


def _wait_for(address: str, process: subprocess.Popen[bytes], within: float = 30.0) -> None:
    end = time.monotonic() + within
    while time.monotonic() < end and process.poll() is None:
        try:
            httpx.get(address, timeout=1, trust_env=False)
            return
        except httpx.HTTPError:
            time.sleep(0.05)
    raise RuntimeError(f"nothing answers at {address} within {within} s")
