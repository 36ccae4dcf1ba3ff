"""The project of the last successful run, stored in the warehouse in case its repository cannot be reached."""

from __future__ import annotations

import hashlib
import io
import logging
import shutil
from pathlib import Path

from refresh_api.project import Git, SourceRef
from refresh_runner.core.errors import RunFailedError
from refresh_runner.repository.contents import archive_of, check_project, extract
from refresh_runner.repository.revision import Revision
from refresh_runner.runlog.project_cache import LONGEST, ProjectCache

_log = logging.getLogger(__name__)


def keep(origin: Git | SourceRef, revision: Revision, source: Path, cache: ProjectCache) -> None:
    """Store the files of a fetched and prepared revision, unless they are already stored."""
    name = _name(origin, revision)
    if not cache.has(name):
        cache.store(name, archive_of(source, LONGEST))


def renew(origin: Git | SourceRef, revision: Revision, cache: ProjectCache) -> None:
    """Keep a stored revision longer, because it may still be needed."""
    cache.has(_name(origin, revision))


def restore(origin: Git | SourceRef, revision: Revision, source: Path, cache: ProjectCache) -> Path | None:
    """Restore the files of a revision, and return the folder of the project; None if they are not stored."""
    content = cache.load(_name(origin, revision))
    if content is None:
        _log.warning("%s of %s is not stored in the warehouse%s", revision, origin.url, f": {cache.problem}" if cache.problem else "")
        return None
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    try:
        with io.BytesIO(content) as archive:
            extract(archive, source, "r|gz")
        return check_project(source, origin, ())
    except RunFailedError as error:
        _log.warning(error.failure.message)
        return None


def _name(origin: Git | SourceRef, revision: Revision) -> str:
    held = "\0".join((origin.url, origin.path, origin.packages, revision.commit))
    return f"source_{hashlib.sha256(held.encode()).hexdigest()}.tar.gz"
