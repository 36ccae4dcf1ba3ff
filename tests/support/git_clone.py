"""A clone of a repository on a server. Its .git folder has the login and the certificate, so that git can be used in it by hand."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote, urlsplit

from support.git_server import GitError, git


@dataclass(frozen=True)
class Clone:
    """A working tree of the branch main."""

    tree: Path

    @classmethod
    def of(cls, url: str, tree: Path, secret: Mapping[str, str]) -> Self:
        """Clone a repository with the keys of its Secret, or update an existing clone. GitError if that fails.

        A clone in which everything is pushed follows the server to another history, as a new demo has.
        """
        if not (tree / ".git").is_dir():
            tree.mkdir(parents=True, exist_ok=True)
            git(tree, "init", "--quiet", "--initial-branch=main")
            git(tree, "remote", "add", "origin", url)
        clone = cls(tree)
        clone._connect(url, secret)
        is_pushed = clone._is_pushed
        git(tree, "fetch", "--quiet", "--prune", "origin")
        if git(tree, "branch", "--remotes", "--list", "origin/main"):
            clone._follow(is_pushed)
        return clone

    def commit(self, message: str, *paths: str) -> str | None:
        """Commit changes of these paths, push the commit and return its hash; None without changes."""
        git(self.tree, "add", "--all", "--", *paths)
        if not git(self.tree, "diff", "--cached", "--name-only"):
            return None
        git(self.tree, "commit", "--quiet", "--message", message)
        git(self.tree, "push", "--quiet", "origin", "HEAD:main")
        return git(self.tree, "rev-parse", "HEAD").strip()

    @property
    def revision(self) -> str:
        """The last commit as a refresh writes it, such as `main@sha1:6e27e9a9…`."""
        return f"main@sha1:{git(self.tree, 'rev-parse', 'HEAD').strip()}"

    def show(self) -> str:
        """Return what git shows of the last commit, without unchanged lines."""
        return git(self.tree, "show", "--unified=0", "--format=%h %s", "--no-color")

    def replace(self, folder: Path, name: str) -> None:
        """Replace the folder `name`, or the whole tree (`.`), by a copy of a dbt project, without files that dbt writes."""
        place = self.tree / name
        for old in place.iterdir() if place.is_dir() else ():
            if old.is_dir() and not old.is_symlink() and old.name != ".git":
                shutil.rmtree(old)
            elif old.name != ".git":
                old.unlink()
        shutil.copytree(folder, place, ignore=shutil.ignore_patterns("target", "logs", ".user.yml"), dirs_exist_ok=True)

    @property
    def _is_pushed(self) -> bool:
        heads = git(self.tree, "for-each-ref", "--format=%(objectname)", "refs/heads/main", "refs/remotes/origin/main")
        return len(set(heads.split())) <= 1 and not git(self.tree, "status", "--porcelain")

    def _follow(self, is_pushed: bool) -> None:
        if is_pushed:
            git(self.tree, "reset", "--quiet", "--hard", "origin/main")
            return
        try:
            git(self.tree, "merge", "--quiet", "--ff-only", "origin/main")
        except GitError as error:
            raise GitError(f"{self.tree} has changes that the server lacks; remove it to clone again: {error}") from None

    def _connect(self, url: str, secret: Mapping[str, str]) -> None:
        parts, private = urlsplit(url), self.tree.absolute() / ".git"
        login = f"{quote(secret['username'], safe='')}:{quote(secret['password'], safe='')}"
        files = {"login": f"{parts.scheme}://{login}@{parts.netloc}\n", "ca.crt": secret["ca.crt"]}
        for name, text in files.items():
            (private / name).touch(mode=0o600)
            (private / name).write_text(text)
        settings = {
            "remote.origin.url": url,
            "push.default": "current",
            "user.name": "Demo",
            "user.email": "demo@example.org",
            "http.sslCAInfo": str(private / "ca.crt"),
            "http.proxy": "",
            "credential.helper": f"store --file={shlex.quote(str(private / 'login'))}",
        }
        for name, value in settings.items():
            git(self.tree, "config", "--replace-all", name, value)
