"""The revisions of the dbt project that earlier runs of a refresh, and earlier attempts of this run, used."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from refresh_api.run_request import PARTIAL, RefreshRef
from refresh_api.status import GOOD, Reason
from refresh_runner.core.errors import Failure, RunFailedError, is_retryable, reason_of
from refresh_runner.postgres.connection import RefusedError, WarehouseConnection
from refresh_runner.repository.revision import Revision
from refresh_runner.runlog.project_cache import ProjectCache
from refresh_runner.runlog.queries import HAS_REVISIONS_SQL, LAST_GOOD_SQL, PREVIOUS_REVISION_SQL


@dataclass(frozen=True)
class KnownRevisions:
    """The revisions of earlier runs according to the run log; None if it has none."""

    of_previous_run: Revision | None = None
    of_last_success: Revision | None = None


def known_revisions(warehouse: WarehouseConnection, refresh: RefreshRef, run: str) -> KnownRevisions:
    """Return the revisions of the previous run, and of the last run that successfully built the whole refresh.

    Raise RunFailedError if the warehouse cannot be queried: then the run cannot continue either.
    """
    parameters = {
        "namespace": refresh.namespace,
        "refresh": refresh.name,
        "run_id": run,
        "good": [each.value for each in GOOD],
        "partial": [each.value for each in PARTIAL],
    }
    try:
        with warehouse.short_transaction() as connection:
            # the column does not exist before the first run of this version
            has_revisions = connection.execute(HAS_REVISIONS_SQL).fetchone()
            if not (has_revisions and has_revisions[0]):
                return KnownRevisions()
            rows = [connection.execute(query, parameters).fetchone() for query in (PREVIOUS_REVISION_SQL, LAST_GOOD_SQL)]
    except RefusedError as error:
        message = f"cannot read the revisions of earlier runs from the run log: {error}"
        reason = reason_of(error.sqlstate, Reason.PRIVILEGE_MISSING)
        raise RunFailedError(Failure(reason, message, retryable=is_retryable(error.sqlstate))) from error
    return KnownRevisions(*(Revision.parse(str(row[0])) if row else None for row in rows))


def pinned(cache: ProjectCache, refresh: RefreshRef, run: str) -> Revision | None:
    """Return the revision that an earlier attempt of a run used; None if there was none.

    It is signed, unlike the run log. Otherwise anybody who can write to the run log could choose the code of a run.
    """
    content = cache.load(_pin(refresh, run))
    return Revision.parse(content.decode()) if content else None


def pin(cache: ProjectCache, refresh: RefreshRef, run: str, revision: Revision) -> None:
    """Make later attempts of a run use this revision."""
    cache.store(_pin(refresh, run), str(revision).encode())


def _pin(refresh: RefreshRef, run: str) -> str:
    return f"pin_{hashlib.sha256(chr(0).join((refresh.namespace, refresh.name, refresh.uid or '', run)).encode()).hexdigest()}"
