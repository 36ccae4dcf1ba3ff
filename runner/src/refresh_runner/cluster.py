"""The door to Kubernetes: the runner's share of the status, written by server-side apply from a thread of its own.

An API server that is slow or away never holds up a run: what is not yet written is replaced by what is newer.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import httpx

from refresh_api.names import API_VERSION, GROUP, KIND, PLURAL, RUNNER_FIELD_MANAGER, VERSION
from refresh_api.order import RefreshRef
from refresh_api.status import Run, RunnerShare
from refresh_runner.secrets import Redactor

log = logging.getLogger(__name__)

ACCOUNT_PATH: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
HEARTBEAT: Final = 15.0
_TIMEOUT: Final = 10.0
_PAUSE: Final = 1.0
"""Seconds between two writes at least, and after one that failed."""


@dataclass(frozen=True)
class ApiServer:
    """Where the API server is, and what a pod shows it."""

    url: str
    account: Path

    @classmethod
    def of_pod(cls, variables: Mapping[str, str], account: Path = ACCOUNT_PATH) -> ApiServer | None:
        """Return the API server of the cluster that we run in; None outside of one."""
        host, port = variables.get("KUBERNETES_SERVICE_HOST"), variables.get("KUBERNETES_SERVICE_PORT", "443")
        if not host or not (account / "token").is_file():
            return None
        return cls(f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}", account)


class StatusWriter:
    """Keeps `status.run` of one refresh equal to the latest run that it was offered, once it may speak."""

    def __init__(self, server: ApiServer, ref: RefreshRef, redact: Redactor, now: Callable[[], datetime]) -> None:
        self._server = server
        self._ref = ref
        self._redact = redact
        self._now = now
        self._latest: Run | None = None
        self._version = 0
        self._written = 0
        self._may_speak = False
        self._over = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._write_all, name="status", daemon=True)
        self._thread.start()

    def offer(self, run: Run) -> None:
        """Take a newer run; returns at once."""
        with self._changed:
            self._latest = run
            self._version += 1
            self._changed.notify_all()

    def may_speak(self) -> None:
        """From now on this run is the one that the status shows."""
        with self._changed:
            self._may_speak = True
            self._changed.notify_all()

    def finish(self, within: float) -> bool:
        """Wait until the latest run is written, `within` seconds at most; return whether it is. Nothing is written afterwards."""
        with self._changed:
            if self._may_speak:
                self._changed.wait_for(lambda: self._over or self._written == self._version, within)
            self._over = True
            self._changed.notify_all()
            return self._written == self._version

    def _write_all(self) -> None:
        with httpx.Client(timeout=_TIMEOUT, verify=str(self._server.account / "ca.crt"), trust_env=False) as client:
            while (item := self._next()) is not None:
                version, run = item
                if self._write(client, run):
                    with self._changed:
                        self._written = version
                        self._changed.notify_all()
                else:
                    time.sleep(_PAUSE)

    def _next(self) -> tuple[int, Run] | None:
        """Wait for something to write: a newer run, or the time for a sign of life."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or (self._may_speak and self._written != self._version), HEARTBEAT)
            while not self._over and not (self._may_speak and self._latest):
                self._changed.wait(HEARTBEAT)
            if self._over or self._latest is None:
                return None
            return self._version, self._latest.model_copy(update={"heartbeat_time": self._now()})

    def _write(self, client: httpx.Client, run: Run) -> bool:
        """Apply the whole share once; return whether this version needs no further try."""
        ref = self._ref
        metadata = {"name": ref.name, "namespace": ref.namespace, **({"uid": ref.uid} if ref.uid else {})}
        share = RunnerShare(run=run).model_dump(mode="json", by_alias=True, exclude_none=True)
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "status": share}
        path = f"/apis/{GROUP}/{VERSION}/namespaces/{ref.namespace}/{PLURAL}/{ref.name}/status"
        try:
            answer = client.patch(
                self._server.url + path,
                params={"fieldManager": RUNNER_FIELD_MANAGER, "force": "true", "fieldValidation": "Strict"},
                headers={
                    "Authorization": f"Bearer {(self._server.account / 'token').read_text().strip()}",
                    "Content-Type": "application/apply-patch+yaml",
                },
                content=self._redact(json.dumps(body, ensure_ascii=False)),
            )
        except (httpx.HTTPError, OSError) as error:
            log.warning("the status can't be written now: %s", error or type(error).__name__)
            return False
        return self._is_settled(answer)

    def _is_settled(self, answer: httpx.Response) -> bool:
        if answer.is_success:
            return True
        log.warning("the status was refused with %s: %s", answer.status_code, answer.text[:500])
        if answer.status_code in {httpx.codes.NOT_FOUND, httpx.codes.CONFLICT}:
            # The refresh is gone, or another one has its name: there is nobody left to report to.
            with self._changed:
                self._over = True
                self._changed.notify_all()
            return True
        return answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR and answer.status_code not in {401, 403, 429}
