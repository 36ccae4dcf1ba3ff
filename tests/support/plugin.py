"""`kubectl dashboardrefresh` as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from support.kubectl import Kubectl


class _HasKubectl(Protocol):
    @property
    def kubectl(self) -> Kubectl: ...


def plugin(where: _HasKubectl, *words: str, kubeconfig: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command in the namespace of an operator or an installation."""
    kubectl = where.kubectl
    command = [sys.executable, "-m", "refresh_cli", *words, "-n", kubectl.namespace, f"--kubeconfig={kubeconfig or kubectl.kubeconfig}"]
    environment = {**os.environ, "KUBECTL": kubectl.program}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
