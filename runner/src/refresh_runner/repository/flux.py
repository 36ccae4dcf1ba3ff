"""Fetches the artifact of a source of Flux: a GitRepository, an OCIRepository or a Bucket.

The source is read from the API server, which is trusted; the artifact comes by plain HTTP, and is used only if it has the digest that the
source names.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from refresh_api.objects import Json
from refresh_api.project import SourceRef
from refresh_runner.core.errors import RunFailedError
from refresh_runner.repository.contents import check_project, extract_foreign
from refresh_runner.repository.failures import invalid, machine_failure, unavailable
from refresh_runner.repository.fetch import Fetcher
from refresh_runner.repository.revision import Revision

LARGEST: Final = 500_000_000
"""Maximum size of an artifact in bytes."""
LARGEST_FILES: Final = 2_000_000_000
"""Maximum size of its files."""
_HASHES: Final = ("sha256", "sha384", "sha512")
_READ_TIMEOUT: Final = 15.0
_HINT: Final = "see spec.project.sourceRef"
GetSource = Callable[[SourceRef], Json]
"""Returns a source from the API server. Raises RunFailedError if that is not possible."""


class _Parsed(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Artifact(_Parsed):
    url: str
    digest: str
    revision: str


class _Condition(_Parsed):
    type: str
    status: str
    message: str = ""


class _Status(_Parsed):
    artifact: _Artifact | None = None
    conditions: list[_Condition] = []


class _Source(_Parsed):
    status: _Status = _Status()


@dataclass(frozen=True)
class SourceFetcher(Fetcher):
    """Fetches artifacts of one source."""

    origin: SourceRef
    get_source: GetSource

    def _fetch(self, folder: Path, pinned: Revision | None, time_left: Callable[[], float]) -> tuple[Revision, Path]:
        artifact = self._artifact()
        revision = Revision.parse(artifact.revision)
        if revision is None:
            raise RunFailedError(invalid(f"{self.origin.url}: cannot read the revision {artifact.revision!r} of its artifact"))
        if pinned and pinned.commit != revision.commit:
            gone = f"the artifact {pinned} of an earlier attempt was replaced by {revision}"
            raise RunFailedError(unavailable(f"{self.origin.url}: {gone}", "request another run"))
        try:
            with tempfile.TemporaryDirectory(prefix="artifact-") as place:
                file = Path(place) / "artifact.tar.gz"
                self._download(artifact, file, time_left)
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                extract_foreign(file, folder, LARGEST_FILES)
        except OSError as error:
            raise RunFailedError(machine_failure(self.origin.url, error)) from error
        return pinned or revision, check_project(folder, self.origin, ())

    def _artifact(self) -> _Artifact:
        found = self.get_source(self.origin)
        try:
            source = _Source.model_validate(found)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise RunFailedError(unavailable(f"{self.origin.url}: cannot read {where}: {first['msg']}", _HINT)) from error
        if source.status.artifact is None:
            why = next((each.message for each in source.status.conditions if each.type == "Ready" and each.message), "")
            raise RunFailedError(unavailable(f"{self.origin.url} has no artifact{f': {why}' if why else ''}", _HINT, retryable=True))
        return source.status.artifact

    def _download(self, artifact: _Artifact, file: Path, time_left: Callable[[], float]) -> None:
        """Write an artifact to a file. Raise RunFailedError unless it has the digest that the source names."""
        algorithm, _, wanted = artifact.digest.partition(":")
        if algorithm not in _HASHES:
            raise RunFailedError(invalid(f"{self.origin.url}: the digest of its artifact must be one of {', '.join(_HASHES)}"))
        digest, size = hashlib.new(algorithm), 0
        # a redirect would lead to another server than Flux's
        try:
            with (
                httpx.Client(timeout=max(0.1, min(_READ_TIMEOUT, time_left())), follow_redirects=False) as client,
                client.stream("GET", artifact.url, headers={"Accept-Encoding": "identity"}) as answer,
                file.open("wb") as target,
            ):
                if answer.status_code != httpx.codes.OK:
                    # the source names another one by now, if this one was replaced
                    raise self._unavailable(f"{artifact.url} answered with {answer.status_code}")
                for chunk in answer.iter_raw():
                    size += len(chunk)
                    if size > LARGEST:
                        raise RunFailedError(invalid(f"{self.origin.url}: its artifact has more than {LARGEST // 1_000_000} MB"))
                    if time_left() <= 0:
                        raise self._unavailable("timed out (spec.project.sourceRef.timeout)")
                    digest.update(chunk)
                    target.write(chunk)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unavailable(f"{artifact.url} cannot be fetched: {error or type(error).__name__}") from error
        if digest.hexdigest() != wanted:
            raise self._unavailable(f"its artifact has the digest {algorithm}:{digest.hexdigest()}, but should have {artifact.digest}")

    def _unavailable(self, why: str) -> RunFailedError:
        return RunFailedError(unavailable(f"{self.origin.url}: {why}", _HINT, retryable=True))
