"""kubectl as users call it; every test and script that needs a cluster uses this module."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Timer
from typing import IO, Any, TypeVar

T = TypeVar("T")


class KubectlError(AssertionError):
    """kubectl failed; the text is its error message."""


@dataclass(frozen=True)
class Kubectl:
    """kubectl on one cluster and namespace."""

    kubeconfig: Path
    namespace: str = "default"
    program: str = "kubectl"

    def within(self, namespace: str) -> Kubectl:
        """Return kubectl for another namespace of the same cluster."""
        return replace(self, namespace=namespace)

    def command(self, *args: str) -> list[str]:
        """Return the complete command line."""
        return [self.program, f"--kubeconfig={self.kubeconfig}", f"--namespace={self.namespace}", *args]

    def __call__(self, *args: str, stdin: str | None = None, timeout: float = 60) -> str:
        """Return what kubectl prints; raise KubectlError when it fails. `timeout` is in seconds."""
        done = self.attempt(*args, stdin=stdin, timeout=timeout)
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(args)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def attempt(self, *args: str, stdin: str | None = None, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run kubectl and return the completed process, also when it failed."""
        return subprocess.run(self.command(*args), input=stdin, capture_output=True, text=True, timeout=timeout, check=False)

    def apply(self, manifest: str | Path) -> str:
        """Apply a file or a text."""
        if isinstance(manifest, Path):
            return self("apply", "-f", str(manifest))
        return self("apply", "-f", "-", stdin=manifest)

    def json(self, *args: str) -> Any:
        """Return the parsed output of `kubectl get … -o json`."""
        return json.loads(self("get", *args, "-o", "json"))

    def watch_until(self, *args: str, until: Callable[[Any], T | None], within: float) -> T:
        """Return the first true result of `until` over the objects of `kubectl get … --watch`; raise KubectlError after `within` seconds.

        One process serves the whole wait, since each start of kubectl takes a quarter of a second of CPU time.
        """
        command = self.command("get", *args, "--watch", "-o", "json")
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watch:
            end = Timer(within, watch.terminate)
            end.start()
            try:
                for seen in _objects(watch.stdout):
                    if answer := until(seen):
                        return answer
            finally:
                end.cancel()
                watch.terminate()
            said = watch.stderr.read().strip() if watch.stderr else ""
        raise KubectlError(f"kubectl get {' '.join(args)} --watch: not within {within} s; {said}")

    def names(self, *args: str) -> list[str]:
        """Return the names printed by `kubectl get … -o name`."""
        return self("get", *args, "-o", "name").split()

    def describe(self, *names: str) -> str:
        """Return what helps to debug: describe of these names, recent events, pods."""
        parts = [self.attempt("describe", *name.split("/", 1)).stdout for name in names]
        parts += [
            self.attempt("get", "pods,jobs,cronjobs", "-o", "wide").stdout,
            self.attempt("get", "events", "--sort-by=.lastTimestamp").stdout,
        ]
        return "\n".join(parts)


def _objects(lines: IO[str] | None) -> Iterator[Any]:
    """Yield the objects that kubectl prints one after the other; each ends with a brace at the beginning of a line."""
    text = ""
    for line in lines or ():
        text += line
        if line.rstrip() == "}":
            yield json.loads(text)
            text = ""
