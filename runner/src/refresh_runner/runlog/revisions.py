"""Which revision of the dbt project earlier attempts and runs of a refresh took, as the run log has it."""

from __future__ import annotations

from dataclasses import dataclass

from refresh_api.run_request import RefreshRef
from refresh_api.status import GOOD, Reason
from refresh_runner.core.errors import Failure, RunFailedError, is_retryable, reason_of
from refresh_runner.postgres.connection import RefusedError, WarehouseConnection
from refresh_runner.repository.revision import Revision
from refresh_runner.runlog.queries import HAS_REVISIONS_SQL, LAST_GOOD_SQL, REVISIONS_SQL


@dataclass(frozen=True)
class KnownRevisions:
    """What the run log knows of a run's project. All None if it cannot be read."""

    of_this_run: Revision | None = None
    """What an earlier attempt of this run took."""
    of_previous_run: Revision | None = None
    of_last_success: Revision | None = None


def known_revisions(warehouse: WarehouseConnection, refresh: RefreshRef, run: str) -> KnownRevisions:
    """Return the revision that an earlier attempt of a run took, or else that of the previous run.

    RunFailedError if the warehouse cannot be asked: the run then cannot go on either.
    """
    known = {"namespace": refresh.namespace, "refresh": refresh.name, "run_id": run, "good": [each.value for each in GOOD]}
    try:
        with warehouse.short_transaction() as connection:
            # before the first run of this version, there is no such column
            found = connection.execute(HAS_REVISIONS_SQL).fetchone()
            has = bool(found and found[0])
            row = connection.execute(REVISIONS_SQL, known).fetchone() if has else None
            good = connection.execute(LAST_GOOD_SQL, known).fetchone() if has else None
    except RefusedError as error:
        message = f"cannot read from the run log which revision an earlier attempt took: {error}"
        reason = reason_of(error.sqlstate, Reason.PRIVILEGE_MISSING)
        raise RunFailedError(Failure(reason, message, retryable=is_retryable(error.sqlstate))) from error
    if row is None:
        return KnownRevisions()
    is_of_this_run, text = row
    revision, last_success = Revision.parse(str(text)), Revision.parse(str(good[0])) if good else None
    if is_of_this_run:
        return KnownRevisions(of_this_run=revision, of_last_success=last_success)
    return KnownRevisions(of_previous_run=revision, of_last_success=last_success)
