"""kubectl, as a user calls it: every test and script that needs the cluster goes through here."""

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
    """kubectl ended with an error; the text is what it said."""


@dataclass(frozen=True)
class Kubectl:
    """One cluster and namespace."""

    kubeconfig: Path
    namespace: str = "default"
    program: str = "kubectl"

    def within(self, namespace: str) -> Kubectl:
        """The same cluster, another namespace."""
        return replace(self, namespace=namespace)

    def command(self, *args: str) -> list[str]:
        """Return the whole command line."""
        return [self.program, f"--kubeconfig={self.kubeconfig}", f"--namespace={self.namespace}", *args]

    def __call__(self, *args: str, stdin: str | None = None, timeout: float = 60) -> str:
        """Return what kubectl prints; KubectlError with its words when it fails. `timeout` in seconds."""
        done = self.attempt(*args, stdin=stdin, timeout=timeout)
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(args)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def attempt(self, *args: str, stdin: str | None = None, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run kubectl and return how it ended, also when it failed."""
        return subprocess.run(self.command(*args), input=stdin, capture_output=True, text=True, timeout=timeout, check=False)

    def apply(self, manifest: str | Path) -> str:
        """`kubectl apply` of a file, or of a text."""
        if isinstance(manifest, Path):
            return self("apply", "-f", str(manifest))
        return self("apply", "-f", "-", stdin=manifest)

    def json(self, *args: str) -> Any:
        """`kubectl get … -o json`, read."""
        return json.loads(self("get", *args, "-o", "json"))

    def watched(self, *args: str, until: Callable[[Any], T | None], within: float) -> T:
        """`kubectl get … --watch`: what `until` returns of the first object for which that is true; KubectlError after `within` seconds.

        One process for a whole wait: each start of kubectl costs a quarter of a second of processor time.
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
        """`kubectl get … -o name`, a list."""
        return self("get", *args, "-o", "name").split()

    def story(self, *names: str) -> str:
        """What a person would look at: describe of these, recent events, pods."""
        parts = [self.attempt("describe", *name.split("/", 1)).stdout for name in names]
        parts += [
            self.attempt("get", "pods,jobs,cronjobs", "-o", "wide").stdout,
            self.attempt("get", "events", "--sort-by=.lastTimestamp").stdout,
        ]
        return "\n".join(parts)


def _objects(lines: IO[str] | None) -> Iterator[Any]:
    """The objects that kubectl prints one after the other, each ended by a brace at the line's beginning."""
    text = ""
    for line in lines or ():
        text += line
        if line.rstrip() == "}":
            yield json.loads(text)
            text = ""
