"""Writes the runner's part of a status by server-side apply, on a thread of its own.

A slow or unreachable API server never delays a run: a newer status replaces one that has not yet been written.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeVar

import httpx
from pydantic import JsonValue

from refresh_api.names import KIND, PLURAL, PREVIEW_KIND, PREVIEW_PLURAL
from refresh_api.preview import PreviewStatus
from refresh_api.run_request import PreviewRequest, RefreshRef
from refresh_api.status import Run, RunnerStatus
from refresh_notify.calls import why
from refresh_runner.core.backoff import STATUS_RETRY
from refresh_runner.core.secrets import Redactor
from refresh_runner.report.api_server import ApiServer

log = logging.getLogger(__name__)

HEARTBEAT: Final = 15.0
"""Seconds between two heartbeats."""
_ERROR_LENGTH: Final = 500
"""Maximum number of characters of the API server's error that are logged."""
_FREE_TEXT_FIELDS: Final = frozenset({"message", "failures", "version", "path"})
"""Status fields with free text, which may quote a secret."""
_WORDS: Final = frozenset({"state", "type", "status", "reason", "differences", "unexpected", "completionTime", "lastTransitionTime"})
"""Fields of a preview's status with words and times of ours."""


Value = TypeVar("Value")


@dataclass(frozen=True)
class Target:
    """The object whose status is written."""

    kind: str
    plural: str
    namespace: str
    name: str
    uid: str | None


class StatusWriter(ABC, Generic[Value]):
    """Keeps the runner's part of the status of one object equal to the latest value, once enabled."""

    def __init__(self, server: ApiServer, target: Target, redact: Redactor, heartbeat: float = HEARTBEAT) -> None:
        self._server = server
        self._target = target
        self._redact = redact
        self._heartbeat = heartbeat
        self._latest: Value | None = None
        self._version = 0
        self._written = 0
        self._is_enabled = False
        self._uid_verified = False
        self._is_closed = False
        self._answer: httpx.Response | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._write_all, name="status", daemon=True)
        self._thread.start()

    @abstractmethod
    def _share(self, value: Value) -> JsonValue:
        """Return the runner's part of the status, without secrets."""

    def update(self, value: Value) -> None:
        """Take a newer value; returns at once."""
        with self._changed:
            self._latest = value
            self._version += 1
            self._changed.notify_all()

    def enable(self) -> None:
        """Write the status from now on."""
        with self._changed:
            self._is_enabled = True
            self._changed.notify_all()

    def finish(self, within: float) -> bool:
        """Wait at most `within` seconds until the latest value is written; return whether it is. Nothing is written afterwards."""
        with self._changed:
            if self._is_enabled:
                self._changed.wait_for(lambda: self._is_closed or self._written == self._version, within)
            self._is_closed = True
            self._changed.notify_all()
            return self._written == self._version

    def _write_all(self) -> None:
        try:
            client = self._server.client()
        except OSError as error:
            log.warning("not writing the status: cannot use the service account's ca.crt: %s", error)
            self._close()
            return
        with client:
            while (item := self._next()) is not None:
                version, value = item
                if self._write(client, self._share(value)):
                    with self._changed:
                        self._written = version
                        self._changed.notify_all()
                else:
                    time.sleep(STATUS_RETRY.delay(1))

    def _close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _next(self) -> tuple[int, Value] | None:
        """Wait for something to write: a newer value, or the next heartbeat."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or (self._is_enabled and self._written != self._version), self._heartbeat)
            while not self._is_closed and not (self._is_enabled and self._latest):
                self._changed.wait(self._heartbeat)
            if self._is_closed or self._latest is None:
                return None
            return self._version, self._latest

    def _write(self, client: httpx.Client, share: JsonValue) -> bool:
        """Apply the status once; return whether this version needs no retry.

        The API server ignores a different uid when it writes a status, so a dry run first checks that it is the same object.
        """
        try:
            if not self._uid_verified:
                answer = self._apply(client, share, dry_run=True)
                if not answer.is_success:
                    return self._is_settled(answer)
                if self._is_other_object(answer):
                    return True
                self._uid_verified = True
            answer = self._apply(client, share)
        except (httpx.HTTPError, OSError, ValueError) as error:
            # The error's message is left out: it may quote the header with the token.
            log.warning("cannot write the status, retrying: %s", why(error))
            return False
        if answer.is_success and not self._is_other_object(answer):
            self._answer = answer
        return self._is_settled(answer)

    def object_after_write(self, within: float) -> JsonValue:
        """Wait at most `within` seconds until the latest value is written; return the object as it is then, or None."""
        with self._changed:
            if self._is_enabled:
                self._changed.wait_for(lambda: self._is_closed or self._written == self._version, within)
            if self._answer is None or self._written != self._version or self._is_closed:
                return None
            found: JsonValue = self._answer.json()
            return found

    def _apply(self, client: httpx.Client, share: JsonValue, *, dry_run: bool = False) -> httpx.Response:
        target = self._target
        return self._server.apply_status(client, target.kind, target.plural, (target.namespace, target.name), share, dry_run=dry_run)

    def _is_other_object(self, answer: httpx.Response) -> bool:
        """Return whether the object was recreated since the pod was created; then nothing more is written."""
        uid = answer.json()["metadata"]["uid"]
        if self._target.uid in (None, uid):
            return False
        log.warning("%s was deleted and recreated: not writing its status", self._target.name)
        self._close()
        return True

    def _is_settled(self, answer: httpx.Response) -> bool:
        if answer.is_success:
            return True
        log.warning("the API server rejected the status with %s: %s", answer.status_code, self._redact.clipped(answer.text, _ERROR_LENGTH))
        if answer.status_code == httpx.codes.NOT_FOUND:
            self._close()
            return True
        return answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR and answer.status_code not in {401, 403, 409, 429}


class RunStatusWriter(StatusWriter[Run]):
    """Keeps `status.run` of one refresh equal to the latest run, with heartbeats."""

    def __init__(
        self, server: ApiServer, ref: RefreshRef, redact: Redactor, now: Callable[[], datetime], heartbeat: float = HEARTBEAT
    ) -> None:
        self._now = now
        super().__init__(server, Target(KIND, PLURAL, ref.namespace, ref.name, ref.uid), redact, heartbeat)

    def is_seen_by_operator(self, run: str, within: float) -> bool:
        """Return whether the operator has recorded this run as active, so that it records its end, too. None of its writes is needed."""
        found = self.object_after_write(within)
        status = found.get("status") if isinstance(found, dict) else None
        active = status.get("active") if isinstance(status, dict) else None
        return isinstance(active, list) and any(isinstance(each, dict) and each.get("id") == run for each in active)

    def _share(self, value: Run) -> JsonValue:
        run = value.model_copy(update={"heartbeat_time": self._now()})
        return self._without_secrets(RunnerStatus(run=run).model_dump(mode="json", by_alias=True, exclude_none=True))

    def _without_secrets(self, value: JsonValue, text: bool = False) -> JsonValue:
        """Redact secrets only in free text: a weak password may equal a value such as "Failed"."""
        if isinstance(value, dict):
            return {key: self._without_secrets(inner, text=key in _FREE_TEXT_FIELDS) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._without_secrets(inner, text) for inner in value]
        return self._redact(value) if text and isinstance(value, str) else value


class PreviewStatusWriter(StatusWriter[PreviewStatus]):
    """Keeps the runner's part of the status of one preview equal to the latest value."""

    def __init__(self, server: ApiServer, namespace: str, preview: PreviewRequest, redact: Redactor) -> None:
        super().__init__(server, Target(PREVIEW_KIND, PREVIEW_PLURAL, namespace, preview.name, preview.uid), redact)

    def _share(self, value: PreviewStatus) -> JsonValue:
        return self._redact.inside(value.model_dump(mode="json", by_alias=True, exclude_none=True), _WORDS)
