"""The Debian mirror of this machine, for the root file systems that debootstrap creates."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from cluster.errors import ClusterError

_LISTS = Path("/etc/apt")
_RELEASE = Path("/etc/os-release")
_SCHEMES = ("http://", "https://", "file:/")
_BY_STATE = {"oldoldstable", "oldstable", "stable", "testing", "unstable", "sid"}


def debian_mirror() -> str:
    """Return the mirror that DEBIAN_MIRROR names, else the one in this machine's apt sources."""
    mirror = mirror_of_machine(os.environ, _apt_texts(), _RELEASE.read_text() if _RELEASE.exists() else "")
    if not mirror:
        raise ClusterError("this machine's apt sources name no Debian mirror", "set DEBIAN_MIRROR to one, as in apt's sources")
    return mirror


def mirror_of_machine(environment: Mapping[str, str], sources: Iterable[str], release: str) -> str:
    """Return the mirror from the environment, or that of the machine's own suite in `sources`, the texts of apt's lists; else empty."""
    if environment.get("DEBIAN_MIRROR"):
        return environment["DEBIAN_MIRROR"]
    codename = re.search(r"^VERSION_CODENAME=\"?([\w-]+)", release, re.MULTILINE)
    if not re.search(r"^ID=\"?debian\b", release, re.MULTILINE):
        return ""  # the archive of another distribution has none of Debian's suites
    wanted = _BY_STATE | ({codename[1]} if codename else set())
    found = (mirror for text in sources for mirror, suites, parts in _entries(text) if wanted & suites and "main" in parts)
    return next((mirror for mirror in found if mirror.startswith(_SCHEMES)), "")


def _entries(text: str) -> Iterator[tuple[str, set[str], set[str]]]:
    """Yield URI, suites and components of each entry, in one line or in a paragraph (deb822)."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in lines:
        one = re.match(r"deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+(.+)", line)
        if one:
            yield one[1], {one[2]}, set(one[3].split())
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines)):
        fields = {name.lower(): value for name, value in re.findall(r"^([\w-]+):((?:.*)(?:\n[ \t].*)*)", paragraph, re.MULTILINE)}
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes").strip().lower() not in ("no", "false"):
            for uri in fields.get("uris", "").split():
                yield uri, set(fields.get("suites", "").split()), set(fields.get("components", "").split())


def _apt_texts() -> list[str]:
    folder = _LISTS / "sources.list.d"
    files = [_LISTS / "sources.list", *sorted(folder.glob("*.list")), *sorted(folder.glob("*.sources"))]
    return [file.read_text() for file in files if file.is_file()]
