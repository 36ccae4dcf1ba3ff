"""Adds to a fetched project what an image has: its packages and the parsed project. The results of slow work are stored for later runs."""

from __future__ import annotations

import io
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from refresh_api.addresses import allowed_text, is_allowed
from refresh_api.names import ALLOWED_URLS_ENV, PACKAGE_HUB_ENV, RUN_REQUEST_ENV
from refresh_api.project import Packages
from refresh_api.run_request import ExitCode, RunRequest
from refresh_runner.cli.parse import settings_of_request
from refresh_runner.core.compression import packed, unpacked
from refresh_runner.core.errors import RunFailedError
from refresh_runner.dbt import manifest_cache, packages
from refresh_runner.repository.contents import archive_of, check_links, extract, make_links_relative
from refresh_runner.repository.failures import invalid, unavailable
from refresh_runner.repository.fetch import Fetcher
from refresh_runner.runlog.project_cache import LONGEST, ProjectCache

_log = logging.getLogger(__name__)
_LEAST: Final = 5.0
"""Minimum number of seconds left for which parsing is worth a try."""
_KEPT_VARIABLES: Final = ("PATH", "HOME", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", PACKAGE_HUB_ENV)


@dataclass(frozen=True)
class Preparation:
    """The preparation of one fetched project."""

    run_request: RunRequest
    fetcher: Fetcher
    cache: ProjectCache | None
    """None for a preview, which keeps nothing in the warehouse."""
    source: Path
    """Folder with the files of the commit."""
    project: Path
    """Folder of the project, in `source`."""
    time_left: Callable[[], float]

    def put_packages(self) -> None:
        """Install the packages of the lock file in the project. Raise RunFailedError if that is not possible."""
        if not packages.names_packages(self.project):
            return
        folder = packages.folder(self.project)
        field = self.fetcher.origin.field
        if self.fetcher.origin.packages is Packages.NONE:
            if not folder.is_dir():
                raise RunFailedError(
                    invalid(
                        f"the project requires packages, but the repository has no {folder.name}: set {field}.packages to "
                        "Locked, or commit the packages"
                    )
                )
            return
        self._check_addresses()
        name = f"packages_{packages.digest(self.project)}.tar.gz"
        cache = None if packages.has_local(self.project) else self.cache
        if cache and (content := cache.load(name)) is not None:
            # like `dbt deps`: what is committed there is not what the lock file says
            _remove(folder)
            with io.BytesIO(content) as archive:
                extract(archive, folder, "r|gz")
            _log.info("the packages are already downloaded")
            return
        self._download()
        check_links(self.source)
        make_links_relative(self.source)
        _log.info("installed the packages in %s", packages.LOCK)
        if cache:
            cache.store(name, archive_of(folder, LONGEST))

    def put_parsed(self) -> None:
        """Put the parsed project into its target folder. If that is not possible, the log says why, and the run parses it.

        A request with its own variables is not parsed in advance, because they may never be used again.
        """
        if self.run_request.vars or self.cache is None:
            return
        path = manifest_cache.path(self.project, settings_of_request(self.run_request))
        if path.is_file() or path == manifest_cache.unknown(self.project):
            return
        kept = self.cache.load(path.name)
        if kept:
            path.parent.mkdir(exist_ok=True)
            path.write_text(unpacked(kept))
            _log.info("the project is already parsed")
        elif kept is None and not self.cache.refuses and self.time_left() > _LEAST and self._parse():
            # stores an empty entry for a project that cannot be parsed in advance, so that no later fetch tries again
            self.cache.store(path.name, packed(path.read_text()) if path.is_file() else b"")

    def _check_addresses(self) -> None:
        patterns = self.fetcher.variables.get(ALLOWED_URLS_ENV, "").split()
        for address in packages.locked_addresses(self.project, self.fetcher.variables):
            if not is_allowed(address, patterns):
                where = "projects.allowedUrls of the operator's chart"
                raise RunFailedError(invalid(f"the package {address} is not allowed by {where}: {allowed_text(patterns)}"))

    def _download(self) -> None:
        with self.fetcher.environment() as of_git:
            variables = {**self._variables(), **of_git}
            if ca := of_git.get("GIT_SSL_CAINFO"):
                # packages may come from other servers than the one with its own CA
                variables |= dict.fromkeys(("GIT_SSL_CAINFO", "REQUESTS_CA_BUNDLE"), str(self._with_usual_certificates(Path(ca))))
            code, output = self._run("deps", variables)
        if code is None:
            raise RunFailedError(unavailable(f"timed out downloading the packages ({self.fetcher.origin.field}.timeout)", retryable=True))
        # before the last line, dbt prints the same error with colours and a traceback
        message = self.fetcher.redact(output.rpartition("✗ ")[2].strip()) or "dbt deps failed"
        if code == ExitCode.FAILED:
            raise RunFailedError(invalid(message))
        if code != 0:
            raise RunFailedError(unavailable(message, retryable=True))

    def _parse(self) -> bool:
        """Parse the project in advance. Return whether parsing finished: another attempt may have more time or memory."""
        code, output = self._run("parse", {**self._variables(), RUN_REQUEST_ENV: self.run_request.text}, "--run-request")
        if code is None:
            _log.warning("timed out parsing the project (%s.timeout), so the run parses it", self.fetcher.origin.field)
        for line in output.splitlines():
            _log.info(line)
        return code is not None and code >= 0

    def _run(self, command: str, variables: Mapping[str, str], *options: str) -> tuple[int | None, str]:
        """Run a subcommand in a separate process, to limit its memory and time. Return no exit code if it timed out."""
        arguments = [sys.executable, "-IB", "-m", "refresh_runner", command, "--project", str(self.project), *options]
        process = subprocess.Popen(
            arguments, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True
        )
        try:
            output, _ = process.communicate(timeout=max(self.time_left(), 0.0))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None, process.communicate()[0]
        return process.returncode, output

    def _with_usual_certificates(self, ca: Path) -> Path:
        """Return a file with these certificates and the usual ones: the chart's or the image's."""
        import certifi

        usual = self.fetcher.variables.get("SSL_CERT_FILE") or certifi.where()
        if str(ca) == usual:
            return ca
        both = ca.with_name("certificates.crt")
        both.write_text(f"{ca.read_text()}\n{Path(usual).read_text()}")
        return both

    def _variables(self) -> dict[str, str]:
        """Return the environment of a subcommand. It contains no Secret, because the project's templates can read it."""
        return {name: value for name in _KEPT_VARIABLES if (value := self.fetcher.variables.get(name) or os.environ.get(name))}


def _remove(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    elif folder.is_dir():
        shutil.rmtree(folder)
