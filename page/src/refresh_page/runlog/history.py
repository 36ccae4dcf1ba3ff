"""Reads the run log for many readers at once: caches results briefly, and never waits long for a warehouse that does not respond."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from refresh_page.kube.models import Ref
from refresh_page.runlog.cache import SingleFlightCache
from refresh_page.runlog.comparison_models import ComparisonRows
from refresh_page.runlog.models import DISPLAYED_FILES, RUN_RESULTS, LastStates, RefreshRows, RunLogState, RunRows
from refresh_page.runlog.node_models import NodeRows, NodeRunRow
from refresh_page.runlog.project import Project, project_of
from refresh_page.runlog.repository import ArtifactContent, RunLogRepository, RunLogUnavailableError
from refresh_page.runlog.run_results import Statement, compiled_sql
from refresh_page.runlog.verdict_models import VerdictRows

T = TypeVar("T")
_CACHE_SECONDS: Final = 3.0
"""Seconds for which a result is cached."""
_MAX_REFRESHES: Final = 300
_MAX_RUNS: Final = 16
"""Maximum number of cached results: with logs, about half a megabyte each."""
_MAX_NODES: Final = 64
_TIMEOUT: Final = 4.0
"""Seconds that a page waits for the run log."""
_PROJECT_SECONDS: Final = 60.0
"""Seconds for which the description of a dbt project is cached, which never changes once it is stored."""
_MAX_COMPARISONS: Final = 4
"""Maximum number of cached results with many nodes: some megabytes each."""
_MAX_PROJECTS: Final = 8
_RESULTS_TIMEOUT: Final = 4.0
"""Seconds that a page waits for others that read results of runs."""
_BACK_OFF: Final = 10.0
"""Seconds without queries after a failure, in which pages are rendered without the run log."""


@dataclass(frozen=True)
class RunLogResult(Generic[T]):
    """The result of a query, or None with the reason."""

    value: T | None
    state: RunLogState


class RunLogReader:
    """The run log; without a repository, every result is NOT_CONFIGURED."""

    def __init__(self, repository: RunLogRepository | None) -> None:
        self._repository = repository
        self._pasts: SingleFlightCache[RefreshRows | None] = SingleFlightCache(_CACHE_SECONDS, _MAX_REFRESHES)
        self._runs: SingleFlightCache[tuple[RunRows | None, Mapping[str, str]] | None] = SingleFlightCache(_CACHE_SECONDS, _MAX_RUNS)
        self._nodes: SingleFlightCache[tuple[NodeRunRow, ...] | None] = SingleFlightCache(_CACHE_SECONDS, _MAX_NODES)
        self._node_rows: SingleFlightCache[NodeRows | None] = SingleFlightCache(_CACHE_SECONDS, _MAX_NODES)
        self._projects: SingleFlightCache[Project | None] = SingleFlightCache(_PROJECT_SECONDS, _MAX_PROJECTS)
        self._comparisons: SingleFlightCache[ComparisonRows | None] = SingleFlightCache(_CACHE_SECONDS, _MAX_COMPARISONS)
        self._verdicts: SingleFlightCache[VerdictRows | None] = SingleFlightCache(_CACHE_SECONDS, _MAX_COMPARISONS)
        self._states: SingleFlightCache[LastStates | None] = SingleFlightCache(_CACHE_SECONDS, _MAX_COMPARISONS)
        self._reading_results = asyncio.Semaphore(1)
        self._backing_off_until = 0.0

    @property
    def is_configured(self) -> bool:
        """Whether a Secret for the warehouse is mounted."""
        return self._repository is not None

    async def refresh_rows(self, ref: Ref) -> RunLogResult[RefreshRows]:
        """Return the last runs of a refresh."""
        return await self._cached(self._pasts, ref, lambda repository: repository.refresh_rows(ref))

    async def run_rows(self, ref: Ref, run: str) -> tuple[RunLogResult[RunRows], Mapping[str, str]]:
        """Return one run, and by name the contents of the artifacts that its page displays."""
        answer = await self._cached(self._runs, (ref, run), lambda repository: _run_with_files(repository, ref, run))
        rows, files = answer.value or (None, {})
        return RunLogResult(rows, answer.state), files

    async def node_runs(self, ref: Ref, node: str) -> RunLogResult[tuple[NodeRunRow, ...]]:
        """Return the last runs of a node, by its ID."""
        return await self._cached(self._nodes, (ref, node), lambda repository: repository.node_runs(ref, node))

    async def node_rows(self, node: str, runs: Sequence[str], ids: Sequence[str], relation: str | None) -> NodeRows:
        """Return what surrounds a node in its last runs; nothing if that cannot be read."""
        key = (node, tuple(runs), tuple(ids), relation)
        found = await self._cached(self._node_rows, key, lambda repository: repository.node_rows(node, runs, ids, relation))
        return found.value or NodeRows()

    async def comparison_rows(self, ref: Ref, before: str, after: str) -> RunLogResult[ComparisonRows]:
        """Return two runs of a refresh; empty names stand for the last run, and for the one before it."""
        key = (ref, before, after)
        return await self._cached(self._comparisons, key, lambda repository: repository.comparison_rows(ref, before, after))

    async def verdict_rows(self, ref: Ref) -> RunLogResult[VerdictRows]:
        """Return the results of the tests of a refresh over its last runs."""
        return await self._cached(self._verdicts, ref, lambda repository: repository.verdict_rows(ref))

    async def last_states(self, ref: Ref) -> LastStates:
        """Return the states of the nodes in the last run of a refresh that has executed any; nothing if they cannot be read."""
        return (await self._cached(self._states, ref, lambda repository: repository.last_states(ref))).value or LastStates()

    async def project(self, id_: str | None) -> Project | None:
        """Return what a dbt project says about itself; None if that is not known."""
        if id_ is None:
            return None
        return (await self._cached(self._projects, id_, lambda repository: _project(repository, id_))).value

    async def compiled_sql(self, ref: Ref, run: str, node: str) -> RunLogResult[Statement]:
        """Return the SQL of a node in one run, if the run log has kept it.

        The results of one run are read at a time: those of a large project take some memory, and some tenths of a second.
        """
        try:
            async with asyncio.timeout(_RESULTS_TIMEOUT):
                await self._reading_results.acquire()
        except TimeoutError:
            # other readers are the reason, and not the warehouse
            return RunLogResult(None, RunLogState.UNAVAILABLE)
        try:
            found = await self.content(ref, run, RUN_RESULTS)
            statement = await asyncio.to_thread(compiled_sql, found.value.content, node) if found.value else None
            return RunLogResult(statement, found.state)
        finally:
            self._reading_results.release()

    async def content(self, ref: Ref, run: str, name: str) -> RunLogResult[ArtifactContent]:
        """Return an artifact of a run."""
        if self._repository is None or self._is_backing_off():
            return self._no_result()
        return await self._with_timeout(self._repository.artifact(ref, run, name))

    async def _cached(
        self, cache: SingleFlightCache[T | None], key: Hashable, query: Callable[[RunLogRepository], Awaitable[T | None]]
    ) -> RunLogResult[T]:
        """Return the result of a query, which is executed unless its result is cached."""
        repository = self._repository
        if repository is None or self._is_backing_off():
            return self._no_result()
        return await self._with_timeout(cache.get(key, lambda: query(repository)))

    async def _with_timeout(self, query: Awaitable[T | None]) -> RunLogResult[T]:
        try:
            async with asyncio.timeout(_TIMEOUT):
                return RunLogResult(await query, RunLogState.AVAILABLE)
        except (RunLogUnavailableError, TimeoutError):
            self._backing_off_until = asyncio.get_running_loop().time() + _BACK_OFF
            return RunLogResult(None, RunLogState.UNAVAILABLE)

    def _is_backing_off(self) -> bool:
        return asyncio.get_running_loop().time() < self._backing_off_until

    def _no_result(self) -> RunLogResult[T]:
        return RunLogResult(None, RunLogState.NOT_CONFIGURED if self._repository is None else RunLogState.UNAVAILABLE)


async def _project(repository: RunLogRepository, id_: str) -> Project | None:
    content = await repository.project(id_)
    return await asyncio.to_thread(project_of, content) if content else None


async def _run_with_files(repository: RunLogRepository, ref: Ref, run: str) -> tuple[RunRows | None, Mapping[str, str]]:
    rows = await repository.run_rows(ref, run)
    files = {}
    for name in {each.name for each in rows.artifacts} & DISPLAYED_FILES if rows else ():
        if content := await repository.artifact(ref, run, name):
            files[name] = content.content.decode(errors="replace")
    return rows, files
