#!/usr/bin/env -S python3 -IS
"""runc for machines without CAP_SYS_RESOURCE: removes settings from a container's configuration that the kernel would refuse.

Docker calls it as it calls runc; the bundle of `create` and `run` has a `config.json`, and `exec` has a file of its own.
"""

import json
import os
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

_CAPABILITY = "CAP_SYS_RESOURCE"


def reduced(configuration: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of a container or a process without the capability, rlimits, and a lowered OOM score."""
    if "ociVersion" in configuration:
        return {**configuration, "process": reduced(configuration.get("process") or {})}
    process = {name: value for name, value in configuration.items() if name != "rlimits"}
    capabilities = process.get("capabilities") or {}
    process["capabilities"] = {name: [each for each in listed or [] if each != _CAPABILITY] for name, listed in capabilities.items()}
    if (process.get("oomScoreAdj") or 0) < 0:
        process["oomScoreAdj"] = 0
    return process


def files(arguments: list[str]) -> list[Path]:
    """Return the configurations that runc reads with these arguments."""
    named = pairwise(arguments)
    return [
        Path(value) / "config.json" if option in ("--bundle", "-b") else Path(value)
        for option, value in named
        if option in ("--bundle", "-b", "--process", "-p")
    ]


if __name__ == "__main__":
    for file in files(sys.argv[1:]):
        if file.exists():
            file.write_text(json.dumps(reduced(json.loads(file.read_text()))))
    os.execvp("runc", ["runc", *sys.argv[1:]])
