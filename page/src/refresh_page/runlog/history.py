"""What the log tables hold, for many readers at once: fetched by one of them, kept for a moment, and never in the way of a page."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from refresh_page.kube.models import Ref
from refresh_page.runlog.cache import SingleFlightCache
from refresh_page.runlog.models import DISPLAYED_FILES, RefreshRows, RunLogState, RunRows
from refresh_page.runlog.repository import ArtifactContent, RunLogRepository, RunLogUnavailableError

T = TypeVar("T")
_CACHE_SECONDS: Final = 3.0
"""Seconds that an answer is kept."""
_MAX_REFRESHES: Final = 300
_MAX_RUNS: Final = 16
"""With their logs, half a megabyte each."""
_TIMEOUT: Final = 4.0
"""Seconds that a page waits for the log tables."""
_BACK_OFF: Final = 10.0
"""Seconds for which nobody asks again, once they did not answer: the pages come at once then."""


@dataclass(frozen=True)
class RunLogResult(Generic[T]):
    """What the log tables said."""

    value: T | None
    state: RunLogState


class RunLogReader:
    """The log tables, where there are any."""

    def __init__(self, records: RunLogRepository | None) -> None:
        self._repository = records
        self._pasts: SingleFlightCache[RefreshRows] = SingleFlightCache(_CACHE_SECONDS, _MAX_REFRESHES)
        self._runs: SingleFlightCache[tuple[RunRows | None, Mapping[str, str]]] = SingleFlightCache(_CACHE_SECONDS, _MAX_RUNS)
        self._backing_off_until = 0.0

    @property
    def is_configured(self) -> bool:
        """Whether a Secret is given."""
        return self._repository is not None

    async def refresh_rows(self, ref: Ref) -> RunLogResult[RefreshRows]:
        """Return the last runs of a refresh."""
        records = self._repository
        if records is None or self._is_backing_off():
            return self._no_result()
        return await self._with_timeout(self._pasts.get(ref, lambda: records.refresh_rows(ref)))

    async def run_rows(self, ref: Ref, run: str) -> tuple[RunLogResult[RunRows], Mapping[str, str]]:
        """Return one run, and those of its files that its page shows, by name."""
        records = self._repository
        if records is None or self._is_backing_off():
            return self._no_result(), {}
        answer = await self._with_timeout(self._runs.get((ref, run), lambda: _run_with_files(records, ref, run)))
        rows, files = answer.value or (None, {})
        return RunLogResult(rows, answer.state), files

    async def content(self, ref: Ref, run: str, name: str) -> RunLogResult[ArtifactContent]:
        """Return a file that a run left."""
        if self._repository is None or self._is_backing_off():
            return self._no_result()
        return await self._with_timeout(self._repository.artifact(ref, run, name))

    async def _with_timeout(self, asked: Awaitable[T | None]) -> RunLogResult[T]:
        try:
            async with asyncio.timeout(_TIMEOUT):
                return RunLogResult(await asked, RunLogState.AVAILABLE)
        except (RunLogUnavailableError, TimeoutError):
            self._backing_off_until = asyncio.get_running_loop().time() + _BACK_OFF
            return RunLogResult(None, RunLogState.UNAVAILABLE)

    def _is_backing_off(self) -> bool:
        return asyncio.get_running_loop().time() < self._backing_off_until

    def _no_result(self) -> RunLogResult[T]:
        return RunLogResult(None, RunLogState.NOT_CONFIGURED if self._repository is None else RunLogState.UNAVAILABLE)


async def _run_with_files(records: RunLogRepository, ref: Ref, run: str) -> tuple[RunRows | None, Mapping[str, str]]:
    rows = await records.run_rows(ref, run)
    files = {}
    for name in {each.name for each in rows.artifacts} & DISPLAYED_FILES if rows else ():
        if content := await records.artifact(ref, run, name):
            files[name] = content.content.decode(errors="replace")
    return rows, files
