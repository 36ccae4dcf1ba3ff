"""Kernel settings that a privileged node changes for the whole machine: they are saved before, and restored afterwards."""

import json
from pathlib import Path

# systemd's and the kubelet's
NAMES = (
    "fs/file-max",
    "fs/nr_open",
    "fs/protected_fifos",
    "fs/protected_hardlinks",
    "fs/protected_regular",
    "fs/protected_symlinks",
    "kernel/core_pattern",
    "kernel/core_uses_pid",
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/pid_max",
    "kernel/sysrq",
    "vm/max_map_count",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)
_PROC = Path("/proc/sys")


def note(file: Path, proc: Path = _PROC) -> None:
    """Save the current values to a file, unless it exists: after a crash, changed values must not be saved as the original ones."""
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps(present(proc), indent=1))
    draft.replace(file)


def put_back(file: Path, proc: Path = _PROC) -> list[str]:
    """Restore the saved values that differ, and delete the file; return the names of the restored settings."""
    if not file.exists():
        return []
    now, noted = present(proc), json.loads(file.read_text())
    changed = [name for name, value in noted.items() if now.get(name) != value]
    for name in changed:
        (proc / name).write_text(noted[name])
    file.unlink()
    return changed


def present(proc: Path = _PROC) -> dict[str, str]:
    """Return the current values of the settings that this kernel has."""
    return {name: (proc / name).read_text().strip() for name in NAMES if (proc / name).exists()}
