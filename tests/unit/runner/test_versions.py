"""Which tag a range of versions takes."""

from __future__ import annotations

import pytest

from refresh_runner.repository.versions import newest, newest_first

TAGS = ["v1.10.0", "1.2.0", "v1.2.3", "2.0.0", "v2.0.0-rc.1", "v2.0.0-rc.10", "1.3.0-beta", "0.2.5", "0.3.0", "v0.0.3", "0.0.4"]
NO_VERSIONS = ["latest", "1.2", "v1", "release/1.2.3", "01.2.3", "1.2.3.4", "1.2.3-", "vv1.2.3", "v1.2.3\n", "1.2.²", "9" * 5000 + ".0.0"]


@pytest.mark.parametrize(
    ("range_", "tag"),
    [
        (">=1.2 <2", "v1.10.0"),
        (">=1.2, <1.10", "v1.2.3"),
        (">= 1.2 < 1.10", "v1.2.3"),
        ("^1.2", "v1.10.0"),
        ("^0.2", "0.2.5"),
        ("^0.0.3", "v0.0.3"),
        ("^0", "0.3.0"),
        ("^0.0", "0.0.4"),
        ("~1.2", "v1.2.3"),
        ("~1.2.1", "v1.2.3"),
        ("~1", "v1.10.0"),
        ("1", "v1.10.0"),
        ("1.x", "v1.10.0"),
        ("1.2.*", "v1.2.3"),
        ("v1.2.0", "1.2.0"),
        ("=1.2.0", "1.2.0"),
        ("1.2 !=1.2.3", "1.2.0"),
        ("!=2", "v1.10.0"),
        ("*", "2.0.0"),
        ("<=1", "v1.10.0"),
        ("<1.2.3 >0", "1.2.0"),
        (">1.2", "2.0.0"),
        (">1.2 <2", "v1.10.0"),
        (">2", None),
        ("1.2 - 1.10", "v1.10.0"),
        ("1.2.1 - 1.9", "v1.2.3"),
        ("^3 || ^0.2", "0.2.5"),
        ("0.2.5||1.2", "v1.2.3"),
        ("^3", None),
        ("<0.0.3", None),
        ("9.9.9 - 9", None),
    ],
)
def test_the_highest_version_in_the_range(range_: str, tag: str | None):
    """The syntax of Flux, with each operator, and the values next to its limits."""
    assert newest(TAGS, range_) == tag


@pytest.mark.parametrize(
    ("range_", "tag"),
    [
        (">=2.0.0-0 <2.0.0-z", "v2.0.0-rc.10"),
        (">=2.0.0-rc.1 !=2.0.0 !=2.0.0-rc.10", "v2.0.0-rc.1"),
        ("=2.0.0-rc.1", "v2.0.0-rc.1"),
        ("<2.0.0 >=1.3.0", "v1.10.0"),
        (">=1.3.0-0 <1.4", "1.3.0-beta"),
        (">=1.11.0-0 <2", None),
        ("~1.3", None),
        ("^2.0.0-rc.2", "2.0.0"),
    ],
)
def test_prereleases_count_only_if_the_range_names_one(range_: str, tag: str | None):
    """A prerelease of 2.0.0 is never below 2: nobody who writes <2 means it."""
    assert newest(TAGS, range_) == tag


def test_tags_that_are_not_versions_are_ignored():
    """They may be anything that git allows."""
    assert newest_first([*NO_VERSIONS, "v1.2.3", "1.2.3-rc.1+build.5"]) == ["v1.2.3", "1.2.3-rc.1+build.5"]
    assert newest(NO_VERSIONS, "*") is None
