"""A real `sshd` on the loopback interface that serves Git repositories to the holder of a deploy key. Needs root, as sshd does."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from cluster.debian_packages import unpack
from cluster.once import made_once
from cluster.paths import paths_of
from cluster.ports import free_ports

# libwrap0 is not on every system; newer releases of OpenSSH start a second program for each session
_PACKAGES = ("openssh-server", "libwrap0")
_SESSION = "usr/lib/openssh/sshd-session"


def sshd_files() -> Path:
    """Return the root of the unpacked Debian packages, from the cache or downloaded by apt."""
    cache = paths_of(os.environ).cache
    return made_once(cache / "sshd", cache / "sshd.lock", lambda: _unpack(cache / "sshd"))


def _unpack(folder: Path) -> None:
    with TemporaryDirectory(dir=folder.parent) as place:
        unpack(_PACKAGES, Path(place), "install openssh-server on this machine instead")
        (Path(place) / "root").rename(folder)


@dataclass
class SshServer:
    """A server for all repositories in a folder, while its `with` block runs."""

    root: Path
    folder: Path
    port: int = field(init=False)

    def __post_init__(self) -> None:
        self.port = free_ports(1)[0]
        self.folder.mkdir()
        for name in ("host", "deploy"):
            self._keygen(name)

    def __enter__(self) -> Self:
        """Start sshd, and wait until it answers."""
        files = sshd_files()
        Path("/run/sshd").mkdir(exist_ok=True)
        options = {
            "Port": str(self.port),
            "ListenAddress": "127.0.0.1",
            "HostKey": str(self.folder / "host"),
            "AuthorizedKeysFile": str(self._authorized()),
            "PidFile": "none",
            "PasswordAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
            "StrictModes": "no",
            "UsePAM": "no",
        }
        if (files / _SESSION).exists():
            options["SshdSessionPath"] = str(files / _SESSION)
        config = self.folder / "sshd_config"
        config.write_text("".join(f"{name} {value}\n" for name, value in options.items()))
        libraries = ":".join(str(path) for path in (files / "usr/lib").glob("*-linux-gnu*"))
        with (self.folder / "sshd.log").open("w") as log:
            # sshd demands a user of its name, which this mount namespace has and the machine need not
            users = self.folder / "passwd"
            users.write_text(f"{Path('/etc/passwd').read_text()}\nsshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n")
            sshd = f'exec env LD_LIBRARY_PATH="{libraries}" "{files}/usr/sbin/sshd" -D -e -f "{config}"'
            command = ["unshare", "--mount", "sh", "-c", f'mount --bind "{users}" /etc/passwd && {sshd}']
            self._process = subprocess.Popen(command, env={"PATH": os.environ["PATH"]}, stdout=log, stderr=log)
        for _ in range(100):
            if self.known_hosts:
                return self
            time.sleep(0.1)
        self._process.kill()
        raise AssertionError((self.folder / "sshd.log").read_text())

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop sshd."""
        self._process.terminate()
        self._process.wait(10)

    @property
    def known_hosts(self) -> str:
        """The server's public key from ssh-keyscan; empty while the server does not answer."""
        command = ["ssh-keyscan", "-T", "2", "-p", str(self.port), "127.0.0.1"]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=10).stdout

    def url(self, name: str = "warehouse.git") -> str:
        """Return the address of a repository."""
        return f"ssh://root@127.0.0.1:{self.port}{self.root}/{name}"

    def secret(self, **keys: str) -> dict[str, str]:
        """Return the Secret of the deploy key, with changes."""
        return {"identity": (self.folder / "deploy").read_text(), "known_hosts": self.known_hosts, **keys}

    def new_key(self, name: str) -> str:
        """Return a private key that the server does not know."""
        self._keygen(name)
        return (self.folder / name).read_text()

    def _authorized(self) -> Path:
        """Return an authorized_keys line with which a deploy key can only read repositories."""
        place = self.folder / "authorized_keys"
        upload = shutil.which("git-shell") or "/usr/bin/git-shell"
        public = (self.folder / "deploy.pub").read_text()
        place.write_text(f'restrict,command="{upload} -c \\"$SSH_ORIGINAL_COMMAND\\"" {public}')
        return place

    def _keygen(self, name: str) -> None:
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(self.folder / name)]
        subprocess.run(command, check=True, timeout=30)
