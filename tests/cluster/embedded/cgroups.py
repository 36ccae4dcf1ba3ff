"""A cluster's own branch in the machine's control groups (v1, or v2 as far as it can be written without trying it)."""

import time
from contextlib import suppress
from pathlib import Path

from cluster.errors import ClusterError

_V2_CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids", "hugetlb")


def hierarchies(mounts: str) -> list[Path]:
    """The mount points of all control group hierarchies, from the text of /proc/mounts."""
    found = [line.split() for line in mounts.splitlines()]
    return [Path(fields[1]) for fields in found if len(fields) > 2 and fields[2] in ("cgroup", "cgroup2")]


def is_v2(mounts: str) -> bool:
    """Whether the machine uses the unified hierarchy alone (beside v1 an empty v2 tree may be mounted, which doesn't count)."""
    return not any(line.split()[2] == "cgroup" for line in mounts.splitlines() if len(line.split()) > 2)


def create(name: str) -> None:
    """Make the branch in every hierarchy; one that is there already is used."""
    mounts = Path("/proc/mounts").read_text()
    if is_v2(mounts):
        return _create_v2(name)
    for hierarchy in hierarchies(mounts):
        branch = hierarchy / name
        try:
            branch.mkdir(exist_ok=True)
        except OSError as error:
            raise ClusterError(
                f"can't make a control group in {hierarchy}: {error}", "cgroups must be writable; the control plane alone works without"
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
            f"can't hand down cgroup v2 controllers: {error}",
            "run on the machine itself rather than in a container, or use kind; the control plane alone works without",
        ) from error


def remove(name: str, within: float = 5.0) -> None:
    """Remove the branch from every hierarchy; its processes have ended, the kernel may take a moment to notice."""
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
                f"control group {left[0]} can't be removed", f"see which processes are left: find {left[0]} -name cgroup.procs | xargs cat"
            )
        time.sleep(0.05)
