"""Runs a program as a user other than root: which one, which folders it can enter, and the command."""

from __future__ import annotations

import os
import pwd
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Account:
    """The user that a program runs as; `drop` means that this process is root and has to switch to that user."""

    uid: int
    gid: int
    drop: bool

    def command(self, *arguments: str) -> list[str]:
        """Return the command that runs `arguments` as this user and, on Linux, ends it with its parent."""
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            if self.drop:
                raise RuntimeError("root needs the program setpriv (Debian package util-linux) to run PostgreSQL")
            return list(arguments)
        who = [f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups"] if self.drop else []
        return [setpriv, *who, "--pdeathsig=INT", *arguments]

    def give(self, path: Path) -> None:
        """Change the owner of a path to this user, if this process runs as root."""
        if self.drop:
            os.chown(path, self.uid, self.gid)


def account_for(euid: int) -> Account:
    """Return the current user, or `nobody` for root."""
    if euid != 0:
        return Account(euid, os.getegid(), drop=False)
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid, drop=True)


def can_enter(folder: Path, account: Account) -> bool:
    """Return whether the mode bits of the folder and its parents let the account enter."""
    if not account.drop:
        return True
    return all(_passable(part, account) for part in [folder.resolve(), *folder.resolve().parents])


def _passable(folder: Path, account: Account) -> bool:
    status = folder.stat()
    bit = 0o100 if status.st_uid == account.uid else 0o010 if status.st_gid == account.gid else 0o001
    return bool(status.st_mode & bit)
