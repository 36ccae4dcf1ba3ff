"""Runs the `git` program, the only access to repositories.

git ignores all configuration of the machine and of the repository: no hook, filter, alias, submodule or prompt. Nothing is checked out:
files come from `git archive`, which only reads objects.
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
"""Environment variables that make git ignore the machine's configuration."""
_OPTIONS: Final = ("-c", f"core.hooksPath={os.devnull}", "-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "protocol.version=2")
_MESSAGES: Final = 5.0
"""Seconds to wait for the last messages: a helper process of git may still hold the pipe open."""
_ATTRIBUTES: Final = "* -export-ignore -export-subst -text -eol -ident -filter !working-tree-encoding\n"
"""Attributes with which an archive contains every file exactly as committed."""


class GitRepository:
    """A local repository with one commit of a remote one."""

    def __init__(
        self, url: str, folder: Path, variables: Mapping[str, str], time_left: Callable[[], float], redact: Callable[[str], str]
    ) -> None:
        self.url = url
        self._folder = folder
        self._variables = variables
        self._time_left = time_left
        self._redact = redact

    @classmethod
    def isolated(
        cls, url: str, folder: Path, credentials: Mapping[str, str], time_left: Callable[[], float], redact: Callable[[str], str]
    ) -> Self:
        """Return a repository whose git has only these credentials, as environment variables, and ignores the machine's configuration."""
        inherited = {name: value for name in _INHERITED if (value := os.environ.get(name))}
        return cls(url, folder, {**inherited, **SETTINGS, "HOME": str(folder.parent), **credentials}, time_left, redact)

    @classmethod
    def of_user(cls, url: str, folder: Path, time_left: Callable[[], float]) -> Self:
        """Return a repository whose git has this user's configuration and credentials, and never prompts."""
        return cls(url, folder, {**os.environ, "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"}, time_left, lambda text: text)

    def fetch(self, refspec: str, label: str) -> str:
        """Fetch one commit without its history, and return its hash. `label` names it in messages. Raise RunFailedError if that fails."""
        shutil.rmtree(self._folder, ignore_errors=True)
        algorithm = ["--object-format=sha256"] if len(refspec) == 64 and "/" not in refspec else []
        self._run(label, "init", "--quiet", "--bare", "--template=", *algorithm, str(self._folder))
        (self._folder / "info").mkdir(exist_ok=True)
        (self._folder / "info" / "attributes").write_text(_ATTRIBUTES)
        quiet = ("--quiet", "--no-tags", "--no-recurse-submodules", "--depth=1")
        self._run(label, *self._here(), "fetch", *quiet, "--", self.url, f"+{refspec}:refs/fetched")
        return self._run(label, *self._here(), "rev-parse", "--verify", "--quiet", "refs/fetched^{commit}").strip()

    def remote_commit(self, refspec: str, label: str) -> str:
        """Return the commit that a ref of the remote repository names. Raise RunFailedError if there is no such ref."""
        listed = self._run(label, "ls-remote", "--quiet", "--", self.url, refspec, f"{refspec}^{{}}")
        found = {name: commit for commit, _, name in (line.partition("\t") for line in listed.splitlines())}
        # that of an annotated tag is listed in addition to the tag itself
        commit = found.get(f"{refspec}^{{}}") or found.get(refspec)
        if commit is None:
            raise RunFailedError(failure_of(f"fatal: couldn't find remote ref {refspec}", self.url, label))
        return commit

    def tags(self, label: str) -> list[str]:
        """Return the names of all tags of the remote repository. `label` names in messages what they are needed for."""
        listed = self._run(label, "ls-remote", "--quiet", "--tags", "--refs", "--", self.url)
        return [name.rpartition("refs/tags/")[2] for name in listed.splitlines()]

    def submodules(self, commit: str) -> list[str]:
        """Return the paths of the submodules of a commit."""
        listed = self._run(commit, *self._here(), "ls-tree", "-r", "-z", "--full-tree", commit)
        return [entry.split("\t", 1)[1] for entry in listed.split("\0") if entry.startswith("160000 ")]

    @contextmanager
    def archive(self, commit: str) -> Iterator[IO[bytes]]:
        """Yield the files of a commit as a tar archive. Raise RunFailedError if git does not complete it."""
        with self._started(*self._here(), "archive", "--format=tar", commit) as process:
            try:
                yield process.output
                process.output.read()
            except tarfile.TarError as error:
                _kill(process.pid)
                self._check(process, commit)
                raise RunFailedError(unavailable(f"{self.url}: cannot read git's archive: {error}", retryable=True)) from error
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
            raise RunFailedError(unavailable(f"{self.url}: timed out (spec.project.git.timeout)", retryable=True))
        if code != 0:
            raise RunFailedError(failure_of(self._redact(process.errors()), self.url, label))

    @contextmanager
    def _started(self, *arguments: str) -> Iterator[_Process]:
        """Start git in its own process group, which is killed at the end of the block or at the deadline."""
        try:
            process = _Process(["git", *_OPTIONS, *arguments], self._variables)
        except FileNotFoundError as error:
            raise RunFailedError(unavailable("the image does not contain git", "build it from this version's runner image")) from error
        except OSError as error:
            raise RunFailedError(unavailable(f"cannot start git: {error.strerror}", retryable=True)) from error
        timer = threading.Timer(max(self._time_left(), 0.0), _kill, [process.pid])
        timer.daemon = True
        timer.start()
        try:
            yield process
        finally:
            process.end()
            timer.cancel()


class _Process:
    """A git process.

    A thread collects its messages while its output is read: they are not written to a file, because the disk may be full.
    """

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
        """The standard output of git."""
        if self._process.stdout is None:
            raise RuntimeError("git was started without a pipe")
        return self._process.stdout

    def wait(self) -> int:
        """Wait until git has ended. Return its exit code."""
        return self._process.wait()

    def errors(self) -> str:
        """Wait until git has ended. Return its messages."""
        self._collector.join(_MESSAGES)
        return self._errors.decode(errors="replace")

    def end(self) -> None:
        """Kill git if it is still running."""
        if self._process.poll() is None:
            _kill(self.pid)
        self._process.wait()
        self.output.close()

    def _collect(self) -> None:
        if self._process.stderr is not None:
            with self._process.stderr as messages:
                self._errors = messages.read()


def _kill(group: int) -> None:
    """Kill a process group: git with its helpers and ssh."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
