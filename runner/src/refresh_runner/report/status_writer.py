"""Writes the runner's part of the status by server-side apply, on a thread of its own.

A slow or unreachable API server never delays a run: a newer status replaces one that is not yet written.
"""

from __future__ import annotations

import json
import logging
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import httpx
from pydantic import JsonValue

from refresh_api.names import API_VERSION, GROUP, KIND, PLURAL, RUNNER_FIELD_MANAGER, VERSION
from refresh_api.run_request import RefreshRef
from refresh_api.status import Run, RunnerStatus
from refresh_notify.calls import why
from refresh_runner.core.backoff import STATUS_RETRY
from refresh_runner.core.secrets import Redactor

log = logging.getLogger(__name__)

ACCOUNT_PATH: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
HEARTBEAT: Final = 15.0
"""Seconds between two heartbeats."""
_ERROR_LENGTH: Final = 500
"""Characters of the API server's error that are logged."""
_FREE_TEXT_FIELDS: Final = frozenset({"message", "failures", "version", "path"})
"""Fields of the status with free text, which may quote a secret."""
_TIMEOUT: Final = 10.0


@dataclass(frozen=True)
class ApiServer:
    """Address of the API server, and the service account's folder."""

    url: str
    account: Path

    @classmethod
    def of_pod(cls, variables: Mapping[str, str], account: Path) -> ApiServer | None:
        """Return the API server of this pod's cluster; None outside a cluster."""
        host, port = variables.get("KUBERNETES_SERVICE_HOST"), variables.get("KUBERNETES_SERVICE_PORT", "443")
        if not host or not (account / "token").is_file():
            return None
        return cls(f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}", account)


class StatusWriter:
    """Keeps `status.run` of one refresh equal to the latest run, once enabled."""

    def __init__(
        self, server: ApiServer, ref: RefreshRef, redact: Redactor, now: Callable[[], datetime], heartbeat: float = HEARTBEAT
    ) -> None:
        self._server = server
        self._ref = ref
        self._redact = redact
        self._now = now
        self._heartbeat = heartbeat
        self._latest: Run | None = None
        self._version = 0
        self._written = 0
        self._is_enabled = False
        self._uid_verified = False
        self._is_closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._write_all, name="status", daemon=True)
        self._thread.start()

    def update(self, run: Run) -> None:
        """Take a newer run; returns at once."""
        with self._changed:
            self._latest = run
            self._version += 1
            self._changed.notify_all()

    def enable(self) -> None:
        """Write the status from now on."""
        with self._changed:
            self._is_enabled = True
            self._changed.notify_all()

    def finish(self, within: float) -> bool:
        """Wait at most `within` seconds until the latest run is written; return whether it is. Nothing is written afterwards."""
        with self._changed:
            if self._is_enabled:
                self._changed.wait_for(lambda: self._is_closed or self._written == self._version, within)
            self._is_closed = True
            self._changed.notify_all()
            return self._written == self._version

    def _write_all(self) -> None:
        try:
            trusted = ssl.create_default_context(cafile=self._server.account / "ca.crt")
        except OSError as error:
            log.warning("not writing the status: cannot use the service account's ca.crt: %s", error)
            self._close()
            return
        with httpx.Client(timeout=_TIMEOUT, verify=trusted, trust_env=False) as client:
            while (item := self._next()) is not None:
                version, run = item
                if self._write(client, run):
                    with self._changed:
                        self._written = version
                        self._changed.notify_all()
                else:
                    time.sleep(STATUS_RETRY.delay(1))

    def _close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _next(self) -> tuple[int, Run] | None:
        """Wait for something to write: a newer run, or the next heartbeat."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or (self._is_enabled and self._written != self._version), self._heartbeat)
            while not self._is_closed and not (self._is_enabled and self._latest):
                self._changed.wait(self._heartbeat)
            if self._is_closed or self._latest is None:
                return None
            return self._version, self._latest.model_copy(update={"heartbeat_time": self._now()})

    def _write(self, client: httpx.Client, run: Run) -> bool:
        """Apply the status once; return whether this version needs no retry.

        The API server ignores a different uid when it writes a status, so a dry run first checks that the refresh is the same object.
        """
        try:
            if not self._uid_verified:
                answer = self._apply(client, run, dry_run=True)
                if not answer.is_success:
                    return self._is_settled(answer)
                if self._is_other_refresh(answer):
                    return True
                self._uid_verified = True
            answer = self._apply(client, run)
        except (httpx.HTTPError, OSError, ValueError) as error:
            # Not the error's own message, which may quote the header with the token.
            log.warning("cannot write the status, retrying: %s", why(error))
            return False
        if answer.is_success:
            self._is_other_refresh(answer)
        return self._is_settled(answer)

    def _apply(self, client: httpx.Client, run: Run, *, dry_run: bool = False) -> httpx.Response:
        ref = self._ref
        share = self._without_secrets(RunnerStatus(run=run).model_dump(mode="json", by_alias=True, exclude_none=True))
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": ref.name, "namespace": ref.namespace}, "status": share}
        path = f"/apis/{GROUP}/{VERSION}/namespaces/{ref.namespace}/{PLURAL}/{ref.name}/status"
        options = {"fieldManager": RUNNER_FIELD_MANAGER, "force": "true", "fieldValidation": "Strict"}
        return client.patch(
            self._server.url + path,
            params={**options, "dryRun": "All"} if dry_run else options,
            headers={
                "Authorization": f"Bearer {(self._server.account / 'token').read_text().strip()}",
                "Content-Type": "application/apply-patch+yaml",
            },
            content=json.dumps(body, ensure_ascii=False),
        )

    def _without_secrets(self, value: JsonValue, text: bool = False) -> JsonValue:
        """Redact secrets in free text only: a weak password may equal a value such as "Failed"."""
        if isinstance(value, dict):
            return {key: self._without_secrets(inner, text=key in _FREE_TEXT_FIELDS) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._without_secrets(inner, text) for inner in value]
        return self._redact(value) if text and isinstance(value, str) else value

    def _is_other_refresh(self, answer: httpx.Response) -> bool:
        """Return whether the refresh was recreated since the run was requested; then nothing more is written."""
        uid = answer.json()["metadata"]["uid"]
        if self._ref.uid in (None, uid):
            return False
        log.warning("%s was deleted and recreated: not writing its status", self._ref.name)
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
