"""Passes dbt's log lines and completed nodes from dbt's worker threads to the runner's."""

from __future__ import annotations

import queue
import threading
from collections.abc import Collection
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from dbt_common.events.base_types import EventMsg

    from refresh_runner.dbt.engine import OnCompleted, OnLine

_LEVELS: Final = ("info", "warn", "error")
_NOISE: Final = frozenset({"MainReportVersion", "AdapterRegistered", "FoundStats", "ConcurrencyLine", "MainStackTrace"})
"""Events that every command repeats, and the stack traces after a stop."""


class Lines:
    """Passes dbt's lines on in its own thread: a callback that raises or waits would disturb dbt."""

    def __init__(self, on_line: OnLine, least: str, on_completed: OnCompleted, in_batches: Collection[str] = ()) -> None:
        """Pass on lines of the level `least` or higher.

        Models `in_batches` never count as completed: dbt reports each batch as the model.
        """
        self._on_line = on_line
        self._in_batches = in_batches
        self._on_completed = on_completed
        self._levels = _LEVELS[_LEVELS.index(least) :]
        self.completed: set[str] = set()
        """IDs of the nodes that have succeeded so far. Nothing else is known of a command that was stopped."""
        self._queue: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._pass_on, name="dbt-lines", daemon=True)

    def take(self, event: EventMsg) -> None:
        """Process an event. dbt calls this on its worker threads."""
        if event.info.name == "NodeFinished" and event.data.node_info.node_status in {"success", "pass"}:
            id_ = event.data.node_info.unique_id
            if id_ not in self._in_batches:
                self.completed.add(id_)
                self._on_completed(id_)
        level, line = str(event.info.level), str(getattr(event.info, "msg", "")).strip()
        if level in self._levels and line and event.info.name not in _NOISE:
            self._queue.put((level, line))

    def _pass_on(self) -> None:
        while (item := self._queue.get()) is not None:
            self._on_line(*item)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._queue.put(None)
        self._thread.join()
