"""A reader that reads marts continuously, as dashboards do, and counts reads, mixed reads and errors."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

PAUSE = 0.05
"""Seconds between two reads, so that the reader does not take the CPU from what it watches."""


@dataclass
class Reader:
    """Reads version and content of all marts in one statement, repeatedly, within a `with` block.

    A read whose content differs from an earlier read of the same version is mixed: some mart had another version.
    """

    dsn: str
    refresh: str
    relations: tuple[str, ...]
    reads: int = 0
    mixed: int = 0
    errors: int = 0
    longest_silence: float = 0.0
    """Longest time between two successful reads, in seconds."""
    contents: dict[str, object] = field(default_factory=dict)
    """Content of the marts, by version."""
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._read_on, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join(10)

    def __str__(self) -> str:
        return (
            f"{self.reads:,} reads, {len(self.contents)} versions, {self.mixed} mixed reads, "
            f"{self.errors} errors (longest interruption: {self.longest_silence:.1f} s)"
        )

    def _read_on(self) -> None:
        answered = time.monotonic()
        while not self._over.is_set():
            try:
                with psycopg.connect(self.dsn, autocommit=True, connect_timeout=2) as connection:
                    while not self._over.wait(PAUSE):
                        self._read(connection)
                        self.longest_silence, answered = max(self.longest_silence, time.monotonic() - answered), time.monotonic()
            except psycopg.Error:
                self.errors += 1
                self._over.wait(PAUSE)

    def _read(self, connection: psycopg.Connection) -> None:
        row = connection.execute(self._query(), [self.refresh]).fetchone()
        version, *content = row or ("",)
        self.reads += 1
        self.mixed += self.contents.setdefault(str(version), content) != content

    def _query(self) -> sql.Composed:
        one = "(select sum(hashtext(ligne::text)) from {} as ligne)"
        sums = [sql.SQL(one).format(sql.Identifier(*relation.split("."))) for relation in self.relations]
        version = sql.SQL("(select version from dbt_refresh_version where refresh = %s)")
        return sql.SQL("select {}").format(sql.SQL(", ").join([version, *sums]))
