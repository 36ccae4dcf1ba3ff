"""The `git` program: the only door to repositories.

It runs without any configuration of the machine or of the repository: no hook, no filter, no alias, no submodule, no prompt. Nothing is
checked out: files come from `git archive`, which reads objects and runs nothing.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, Self

from refresh_runner.core.errors import RunFailedError
from refresh_runner.repository.failures import failure_of, unavailable

_INHERITED: Final = ("PATH", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_DIR")
SETTINGS: Final = {
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "true",
    "GIT_ALLOW_PROTOCOL": "https:ssh",
    "GIT_NO_REPLACE_OBJECTS": "1",
}
"""Environment variables that keep the machine's configuration from git."""
_OPTIONS: Final = ("-c", f"core.hooksPath={os.devnull}", "-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "protocol.version=2")
_ATTRIBUTES: Final = "* -export-ignore -export-subst -text -eol -ident -filter !working-tree-encoding\n"
"""So that an archive has every file as it is in the commit."""


class GitRepository:
    """A repository of our own with one commit of a remote one."""

    def __init__(
        self, url: str, folder: Path, variables: Mapping[str, str], time_left: Callable[[], float], redact: Callable[[str], str]
    ) -> None:
        self._url = url
        self._folder = folder
        self._variables = variables
        self._time_left = time_left
        self._redact = redact

    @classmethod
    def isolated(
        cls, url: str, folder: Path, credentials: Mapping[str, str], time_left: Callable[[], float], redact: Callable[[str], str]
    ) -> Self:
        """Return a repository whose git has only these credentials, as environment variables, and no configuration of the machine."""
        inherited = {name: value for name in _INHERITED if (value := os.environ.get(name))}
        return cls(url, folder, {**inherited, **SETTINGS, "HOME": str(folder.parent), **credentials}, time_left, redact)

    @classmethod
    def of_user(cls, url: str, folder: Path, time_left: Callable[[], float]) -> Self:
        """Return a repository whose git has the configuration and the credentials of this user, and asks for nothing."""
        return cls(url, folder, {**os.environ, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}, time_left, lambda text: text)

    def fetch(self, refspec: str, label: str) -> str:
        """Fetch one commit without its history, and return its hash; `label` names it for people. RunFailedError says what failed."""
        shutil.rmtree(self._folder, ignore_errors=True)
        algorithm = ["--object-format=sha256"] if len(refspec) == 64 and "/" not in refspec else []
        self._run(label, "init", "--quiet", "--bare", "--template=", *algorithm, str(self._folder))
        (self._folder / "info").mkdir(exist_ok=True)
        (self._folder / "info" / "attributes").write_text(_ATTRIBUTES)
        quiet = ("--quiet", "--no-tags", "--no-recurse-submodules", "--depth=1")
        self._run(label, *self._here(), "fetch", *quiet, "--", self._url, f"+{refspec}:refs/fetched")
        return self._run(label, *self._here(), "rev-parse", "--verify", "--quiet", "refs/fetched^{commit}").strip()

    def submodules(self, commit: str) -> list[str]:
        """Return the paths of the submodules of a commit."""
        listed = self._run(commit, *self._here(), "ls-tree", "-r", "-z", "--full-tree", commit)
        return [entry.split("\t", 1)[1] for entry in listed.split("\0") if entry.startswith("160000 ")]

    @contextmanager
    def archive(self, commit: str) -> Iterator[IO[bytes]]:
        """Yield the files of a commit as a tar; RunFailedError if git does not complete it."""
        with self._started(*self._here(), "archive", "--format=tar", commit) as process:
            if process.stdout is None or process.stderr is None:
                raise RuntimeError("git was started without pipes")
            try:
                yield process.stdout
                process.stdout.read()
            except tarfile.TarError as error:
                _kill(process.pid)
                self._check(process, process.stderr.read(), commit)
                raise RunFailedError(unavailable(f"{self._url}: git's archive cannot be read: {error}", retryable=True)) from error
            self._check(process, process.stderr.read(), commit)

    def _here(self) -> tuple[str, ...]:
        return (f"--git-dir={self._folder}",)

    def _run(self, label: str, *arguments: str) -> str:
        with self._started(*arguments) as process:
            output, errors = process.communicate()
            self._check(process, errors, label)
            return output.decode(errors="replace")

    def _check(self, process: subprocess.Popen[bytes], errors: bytes, label: str) -> None:
        code = process.wait()
        if self._time_left() <= 0:
            raise RunFailedError(unavailable(f"{self._url}: not done within spec.project.git.timeout", retryable=True))
        if code != 0:
            raise RunFailedError(failure_of(self._redact(errors.decode(errors="replace")), self._url, label))

    @contextmanager
    def _started(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start git in a process group of its own, which ends with the block, or once the time is over."""
        try:
            process = subprocess.Popen(
                ["git", *_OPTIONS, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._variables,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise RunFailedError(unavailable("the image has no git program", "build it from this version's runner image")) from error
        except OSError as error:
            raise RunFailedError(unavailable(f"git could not be started: {error.strerror}", retryable=True)) from error
        timer = threading.Timer(max(self._time_left(), 0.0), _kill, [process.pid])
        timer.daemon = True
        timer.start()
        try:
            with process:
                try:
                    yield process
                finally:
                    if process.poll() is None:
                        _kill(process.pid)
        finally:
            timer.cancel()


def _kill(group: int) -> None:
    """End a process group: git with its helpers and ssh."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
