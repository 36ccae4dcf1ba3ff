"""The files that fetches store in the warehouse for later runs: parsed projects, packages, and the files of a commit.

They are signed with a key that is derived from the warehouse's password. Someone who can write to this table without knowing the password,
such as another role, cannot make a run use anything but what was fetched.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Final, LiteralString

from refresh_runner.postgres.connection import RefusedError, WarehouseConnection, ensure_tables
from refresh_runner.runlog.queries import HAS_KEPT_SQL, LOAD_KEPT_SQL, PRUNE_KEPT_SQL, STORE_KEPT_SQL
from refresh_runner.runlog.schema import PROJECT_CACHE

_SALT: Final = b"dashboard-refresh: project cache"
_COST: Final = 2**14
"""Parameters of scrypt, with which a key takes about 50 ms, so that the password cannot be guessed quickly from a signature."""
LONGEST: Final = 64 * 1024 * 1024
"""Maximum number of bytes after compression; longer files are not stored."""


class ProjectCache:
    """The files that fetches store, by name. If the warehouse rejects a statement, nothing is found or stored, and `problem` says why."""

    def __init__(self, warehouse: WarehouseConnection) -> None:
        self._warehouse = warehouse
        self._key = hashlib.scrypt(warehouse.info.password.encode(errors="surrogateescape"), salt=_SALT, n=_COST, r=8, p=1)
        self.problem = ""
        self.refuses = False
        """Whether the warehouse rejects statements on the cache."""

    def has(self, name: str) -> bool:
        """Return whether an unmodified file is stored under a name. If so, mark it as used."""
        row = self._execute(HAS_KEPT_SQL, {"name": self._place(name)})
        return row is not None and self._is_ours(name, *row)

    def load(self, name: str) -> bytes | None:
        """Return the file stored under a name; None if there is none, or if somebody else has changed it."""
        row = self._execute(LOAD_KEPT_SQL, {"name": self._place(name)})
        if row is None:
            return None
        content, signature = bytes(row[0]), bytes(row[1])
        if not self._is_ours(name, hashlib.sha256(content).digest(), signature):
            self.problem = "its signature is invalid: somebody has changed it"
            return None
        return content

    def store(self, name: str, content: bytes | None) -> None:
        """Store a file under a name, and delete files that no run has used for long. None means that the file is longer than LONGEST."""
        if content is None or len(content) > LONGEST:
            self.problem = f"{name} has more than {LONGEST} bytes"
            return
        signature = self._signature(name, hashlib.sha256(content).digest())
        self._execute(STORE_KEPT_SQL, {"name": self._place(name), "content": content, "signature": signature})
        self._execute(PRUNE_KEPT_SQL, {})

    def _execute(self, statement: LiteralString, row: Mapping[str, object]) -> tuple[Any, ...] | None:
        """Execute a statement on the table, which is created if it is missing. Return the row of the result."""
        try:
            with self._warehouse.short_transaction() as connection:
                ensure_tables(connection, [PROJECT_CACHE])
                cursor = connection.execute(statement, row)
                return cursor.fetchone() if cursor.description else None
        except RefusedError as error:
            self.problem, self.refuses = str(error), True
            return None

    def _place(self, name: str) -> str:
        """Return the name in the table. It depends on the password, so that files of an old password or of another role do not conflict."""
        return f"{hmac.digest(self._key, name.encode(), 'sha256').hex()[:16]}_{name}"

    def _is_ours(self, name: str, digest: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(bytes(signature), self._signature(name, bytes(digest)))

    def _signature(self, name: str, digest: bytes) -> bytes:
        return hmac.digest(self._key, name.encode() + b"\0" + digest, "sha256")
