"""What the log tables hold, for many readers at once: fetched by one of them, kept for a moment, and never in the way of a page."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from refresh_page.kube.models import Ref
from refresh_page.runlog.cache import Kept
from refresh_page.runlog.models import READ, Past, RunRows
from refresh_page.runlog.repository import AwayError, Content, Records

T = TypeVar("T")
_MOMENT: Final = 3.0
"""Seconds that an answer is kept."""
_MOST: Final = 300
_MOST_RUNS: Final = 16
"""With their logs, half a megabyte each."""
_PATIENCE: Final = 4.0
"""Seconds that a page waits for the log tables."""
_BACK_OFF: Final = 10.0
"""Seconds for which nobody asks again, once they did not answer: the pages come at once then."""


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What the log tables said."""

    found: T | None
    log: str
    """Read, Off (no Secret is given) or Away (they can't be read now)."""


class History:
    """The log tables, where there are any."""

    def __init__(self, records: Records | None) -> None:
        self._records = records
        self._pasts: Kept[Past] = Kept(_MOMENT, _MOST)
        self._runs: Kept[tuple[RunRows | None, Mapping[str, str]]] = Kept(_MOMENT, _MOST_RUNS)
        self._away_until = 0.0

    @property
    def is_there(self) -> bool:
        """Whether a Secret is given."""
        return self._records is not None

    async def of_refresh(self, ref: Ref) -> Answer[Past]:
        """Return the last runs of a refresh."""
        records = self._records
        if records is None or self._is_away():
            return self._without()
        return await self._patiently(self._pasts.get(ref, lambda: records.of_refresh(ref)))

    async def of_run(self, ref: Ref, run: str) -> tuple[Answer[RunRows], Mapping[str, str]]:
        """Return one run, and those of its files that its page shows, by name."""
        records = self._records
        if records is None or self._is_away():
            return self._without(), {}
        answer = await self._patiently(self._runs.get((ref, run), lambda: _run(records, ref, run)))
        rows, files = answer.found or (None, {})
        return Answer(rows, answer.log), files

    async def content(self, ref: Ref, run: str, name: str) -> Answer[Content]:
        """Return a file that a run left."""
        if self._records is None or self._is_away():
            return self._without()
        return await self._patiently(self._records.content(ref, run, name))

    async def _patiently(self, asked: Awaitable[T | None]) -> Answer[T]:
        try:
            async with asyncio.timeout(_PATIENCE):
                return Answer(await asked, "Read")
        except (AwayError, TimeoutError):
            self._away_until = asyncio.get_running_loop().time() + _BACK_OFF
            return Answer(None, "Away")

    def _is_away(self) -> bool:
        return asyncio.get_running_loop().time() < self._away_until

    def _without(self) -> Answer[T]:
        return Answer(None, "Off" if self._records is None else "Away")


async def _run(records: Records, ref: Ref, run: str) -> tuple[RunRows | None, Mapping[str, str]]:
    rows = await records.of_run(ref, run)
    files = {}
    for name in {each.name for each in rows.artifacts} & READ if rows else ():
        if content := await records.content(ref, run, name):
            files[name] = content.content.decode(errors="replace")
    return rows, files
