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
_MESSAGES: Final = 5.0
"""Seconds to wait for the last messages: a helper of git may still hold its pipe."""
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
            try:
                yield process.output
                process.output.read()
            except tarfile.TarError as error:
                _kill(process.pid)
                self._check(process, commit)
                raise RunFailedError(unavailable(f"{self._url}: git's archive cannot be read: {error}", retryable=True)) from error
            self._check(process, commit)

    def _here(self) -> tuple[str, ...]:
        return (f"--git-dir={self._folder}",)

    def _run(self, label: str, *arguments: str) -> str:
        with self._started(*arguments) as process:
            output = process.output.read()
            self._check(process, label)
            return output.decode(errors="replace")

    def _check(self, process: _Process, label: str) -> None:
        code = process.wait()
        if self._time_left() <= 0:
            raise RunFailedError(unavailable(f"{self._url}: not done within spec.project.git.timeout", retryable=True))
        if code != 0:
            raise RunFailedError(failure_of(self._redact(process.errors()), self._url, label))

    @contextmanager
    def _started(self, *arguments: str) -> Iterator[_Process]:
        """Start git in a process group of its own, which ends with the block, or once the time is over."""
        try:
            process = _Process(["git", *_OPTIONS, *arguments], self._variables)
        except FileNotFoundError as error:
            raise RunFailedError(unavailable("the image has no git program", "build it from this version's runner image")) from error
        except OSError as error:
            raise RunFailedError(unavailable(f"git could not be started: {error.strerror}", retryable=True)) from error
        timer = threading.Timer(max(self._time_left(), 0.0), _kill, [process.pid])
        timer.daemon = True
        timer.start()
        try:
            yield process
        finally:
            process.end()
            timer.cancel()


class _Process:
    """git, whose messages a thread collects: nobody else reads them while the output is read, and the disk may be full."""

    def __init__(self, command: list[str], variables: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=variables, start_new_session=True
        )
        self.pid = self._process.pid
        self._errors = b""
        self._collector = threading.Thread(target=self._collect, name="git-errors", daemon=True)
        self._collector.start()

    @property
    def output(self) -> IO[bytes]:
        """What git prints."""
        if self._process.stdout is None:
            raise RuntimeError("git was started without a pipe")
        return self._process.stdout

    def wait(self) -> int:
        """Return the exit code, once git has ended."""
        return self._process.wait()

    def errors(self) -> str:
        """Return git's messages, once it has ended."""
        self._collector.join(_MESSAGES)
        return self._errors.decode(errors="replace")

    def end(self) -> None:
        """End git if it has not ended."""
        if self._process.poll() is None:
            _kill(self.pid)
        self._process.wait()
        self.output.close()

    def _collect(self) -> None:
        if self._process.stderr is not None:
            with self._process.stderr as messages:
                self._errors = messages.read()


def _kill(group: int) -> None:
    """End a process group: git with its helpers and ssh."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
