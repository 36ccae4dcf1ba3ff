"""Writes the files of a finished run to the bucket of its refresh. Nothing here fails a run, or keeps its pod longer than the timeout."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping

from refresh_api.artifacts import LARGEST, TIMEOUT, Artifacts
from refresh_runner.core.after_run import NotDoneError, Work
from refresh_runner.model.plan import Plan
from refresh_runner.object_store.s3 import Bucket, credentials_of
from refresh_runner.runlog.artifacts import Artifact

_log = logging.getLogger(__name__)


def upload(plan: Plan, artifacts: Artifacts, secrets: Mapping[str, Mapping[str, str]], files: Callable[[], Iterable[Artifact]]) -> Work:
    """Return the work of writing the files."""
    refresh = plan.run_request.refresh
    place = f"{refresh.namespace}/{refresh.name}/{plan.attempt.run_id}"
    return Work("artifacts", TIMEOUT, lambda: _write(artifacts, place, secrets, files))


def _write(artifacts: Artifacts, place: str, secrets: Mapping[str, Mapping[str, str]], files: Callable[[], Iterable[Artifact]]) -> str:
    """Write the files one after the other; return what was done. Raise NotDoneError at the first that the server does not accept."""
    ends, store = time.monotonic() + TIMEOUT, artifacts.store.s3
    credentials = credentials_of(store.secret_ref.name, secrets.get(store.secret_ref.name, {}))
    folder = f"{store.prefix}/{place}" if store.prefix else place
    written = 0
    with Bucket(store, credentials, ends) as bucket:
        for file in files():
            content = file.text.encode(errors="replace")
            if len(content) > LARGEST:
                _log.warning("artifacts: %s is not written: it has more than %s MiB", file.name, LARGEST // 2**20)
                continue
            try:
                bucket.put(f"{folder}/{file.name}", file.media_type, content)
            except NotDoneError as error:
                raise NotDoneError(f"{file.name} is not written: {error}; {written} files were written before") from None
            written += 1
    return f"{written} files written to {store.bucket}/{folder}"
