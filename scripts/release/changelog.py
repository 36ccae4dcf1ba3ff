"""The sections of CHANGELOG.md."""

from __future__ import annotations

import re

UNRELEASED = "Unreleased"


def section(text: str, version: str) -> str:
    """Return what the changelog says about a version, without its heading; ValueError if it has no dated section or an empty one."""
    found = re.search(rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if not found or not found[1].strip():
        raise ValueError(
            f"CHANGELOG.md has no section '## {version} - DATE', or an empty one: run `make release-version VERSION={version}`"
        )
    return found[1].strip() + "\n"


def unreleased(text: str) -> str:
    """Return what no version has yet."""
    found = re.search(rf"^## {UNRELEASED}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else ""


def promoted(text: str, version: str, day: str) -> str:
    """Return the changelog with what is unreleased as the section of a version; ValueError if nothing is unreleased."""
    if re.search(rf"^## {re.escape(version)} ", text, re.MULTILINE):
        raise ValueError(f"CHANGELOG.md already has a section of {version}")
    if not unreleased(text):
        raise ValueError(f"CHANGELOG.md has nothing below '## {UNRELEASED}'")
    return re.sub(rf"^## {UNRELEASED}\n", f"## {UNRELEASED}\n\n## {version} - {day}\n", text, count=1, flags=re.MULTILINE)
