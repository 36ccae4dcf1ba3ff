"""A preview's pod without the image: two fetches and the comparison, with the Secrets that each container has."""

from __future__ import annotations

import io
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from refresh_api.names import PROJECT_URL_ENV, RUN_ID_ENV, RUN_REQUEST_ENV
from refresh_api.preview import PreviewEnd
from refresh_api.run_request import ExitCode, PreviewRequest, RefreshRef, RunRequest
from refresh_api.spec import RefreshSpec
from refresh_runner.cli.environment import Environment
from refresh_runner.cli.fetch import fetch_command
from refresh_runner.cli.preview_pod import PodFolders, preview_in_pod
from refresh_runner.core.clock import Clock
from refresh_runner.run.cancellation import CancellationScope

UID = "0b7c5e1c-5a57-4d9e-8f1e-0d7f9d3b2c11"


class PreviewPod:
    """The containers of one preview's pod, one after the other."""

    def __init__(self, place: Path, ref: RefreshRef, secrets: dict[str, dict[str, str]], account: Path, variables: dict[str, str]) -> None:
        self.place, self.ref, self.account, self.variables = place, ref, account, variables
        self.name = "petit-x7k2p"
        self.uid = UID
        self.output = io.StringIO()
        self.folders = PodFolders(place / "new", place / "base", place / "runner-secrets")
        for container, names in (("fetch-secrets", ["git"]), ("runner-secrets", ["warehouse-preview"])):
            for name in names:
                for key, value in secrets[name].items():
                    path = place / container / name / key
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(value)

    def run(self, spec: dict[str, Any], ref: dict[str, str], base: str, **preview: Any) -> int:
        """Fetch both commits and preview with these fields of the request; return the exit code."""
        for folder, wanted in ((self.folders.new, ref), (self.folders.base, {"commit": base})):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            environment = self._environment(self._request(spec, wanted, preview), spec)
            assert fetch_command(environment, folder, self.place / "fetch-secrets") == ExitCode.OK, self.output.getvalue()
        environment = self._environment(self._request(spec, ref, preview), spec)
        environment.termination_log.write_bytes(b"")
        with environment.cancellation.installed():
            return preview_in_pod(environment, self.folders)

    @property
    def end(self) -> PreviewEnd:
        """The termination message."""
        return PreviewEnd.model_validate_json((self.place / "termination-log").read_text())

    def _request(self, spec: dict[str, Any], ref: dict[str, str], preview: dict[str, Any]) -> RunRequest:
        of_preview = {
            **{key: value for key, value in spec.items() if key not in ("cache", "notifications", "preview")},
            "warehouse": {"secretRef": {"name": "warehouse-preview"}},
            "project": {"git": {**spec["project"]["git"], "ref": ref}},
        }
        return RunRequest(
            refresh=self.ref,
            spec=RefreshSpec.model_validate(of_preview),
            preview=PreviewRequest(name=self.name, uid=self.uid, **preview),
        )

    def _environment(self, request: RunRequest, spec: dict[str, Any]) -> Environment:
        started = time.monotonic()
        return Environment(
            variables={
                RUN_REQUEST_ENV: request.text,
                RUN_ID_ENV: "petit-x7k2p-preview",
                PROJECT_URL_ENV: spec["project"]["git"]["url"],
                **self.variables,
            },
            clock=Clock(lambda: datetime.now(UTC), lambda: time.monotonic() - started, time.sleep),
            jitter=lambda: 0.1,
            output=self.output,
            cancellation=CancellationScope(),
            termination_log=self.place / "termination-log",
            account=self.account,
        )
