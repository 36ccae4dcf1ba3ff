"""The control groups of a cluster, below those of the machine (v1; v2 is implemented but untested)."""

import time
from contextlib import suppress
from pathlib import Path

from cluster.errors import ClusterError

_V2_CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids", "hugetlb")


def hierarchies(mounts: str) -> list[Path]:
    """Return the mount points of all control group hierarchies, from the text of /proc/mounts."""
    found = [line.split() for line in mounts.splitlines()]
    return [Path(fields[1]) for fields in found if len(fields) > 2 and fields[2] in ("cgroup", "cgroup2")]


def is_v2(mounts: str) -> bool:
    """Return whether the machine uses only the unified hierarchy. An empty v2 tree that is mounted in addition to v1 is ignored."""
    return not any(line.split()[2] == "cgroup" for line in mounts.splitlines() if len(line.split()) > 2)


def create(name: str) -> None:
    """Create the control group in every hierarchy; an existing one is used."""
    mounts = Path("/proc/mounts").read_text()
    if is_v2(mounts):
        return _create_v2(name)
    for hierarchy in hierarchies(mounts):
        branch = hierarchy / name
        try:
            branch.mkdir(exist_ok=True)
        except OSError as error:
            raise ClusterError(
                f"cannot create a control group in {hierarchy}: {error}", "cgroups must be writable; the control plane alone works without"
            ) from error
        # a v1 cpuset starts empty, and nothing can run in an empty one
        for setting in ("cpuset.cpus", "cpuset.mems"):
            if (branch / setting).exists():
                (branch / setting).write_text((hierarchy / setting).read_text())
    return None


def _create_v2(name: str) -> None:
    # Not tried on a real v2 machine. In a container the root group holds processes itself, and then no controller can be
    # handed down: the message says so.
    root = Path("/sys/fs/cgroup")
    try:
        offered = (root / "cgroup.controllers").read_text().split()
        wanted = " ".join(f"+{each}" for each in _V2_CONTROLLERS if each in offered)
        (root / "cgroup.subtree_control").write_text(wanted)
        (root / name).mkdir(exist_ok=True)
        (root / name / "cgroup.subtree_control").write_text(wanted)
    except OSError as error:
        raise ClusterError(
            f"cannot delegate cgroup v2 controllers: {error}",
            "run on the machine itself rather than in a container, or use kind; the control plane alone works without",
        ) from error


def remove(name: str, within: float = 5.0) -> None:
    """Remove the control group from every hierarchy, after its processes have ended; retry until the kernel has noticed that."""
    end = time.monotonic() + within
    while left := [branch for hierarchy in hierarchies(Path("/proc/mounts").read_text()) if (branch := hierarchy / name).exists()]:
        for branch in left:
            for folder in sorted((each for each in branch.rglob("*") if each.is_dir()), key=lambda each: -len(each.parts)):
                with suppress(OSError):
                    folder.rmdir()
            with suppress(OSError):
                branch.rmdir()
        if time.monotonic() > end:
            raise ClusterError(
                f"control group {left[0]} cannot be removed", f"see which processes are left: find {left[0]} -name cgroup.procs | xargs cat"
            )
        time.sleep(0.05)
