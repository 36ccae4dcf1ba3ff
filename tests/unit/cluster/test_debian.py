"""The Debian mirror, from what apt's lists say."""

import re
from pathlib import Path

import pytest

import cluster
from cluster.debian import mirror_of_machine

RELEASE = 'PRETTY_NAME="Debian GNU/Linux 12"\nVERSION_CODENAME=bookworm\nID=debian\n'
ONE_LINE = "# a comment\ndeb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bookworm main contrib\n"
PARAGRAPHS = """Types: deb
# URIs: http://old.example/debian
URIs: https://security.example/debian-security
Suites: bookworm-security
Components: main

Types: deb deb-src
URIs:
 https://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
"""
OTHERS = "deb https://packages.example/apt cloud-sdk-bookworm main\ndeb https://nodes.example nodistro main\n"


@pytest.mark.parametrize(
    ("sources", "mirror"),
    [
        ([ONE_LINE], "http://mirror.example/debian"),
        ([PARAGRAPHS], "https://mirror.example/debian"),
        ([OTHERS, PARAGRAPHS], "https://mirror.example/debian"),
        (["deb http://mirror.example/debian stable main"], "http://mirror.example/debian"),
        (["deb file:/srv/debian bookworm main"], "file:/srv/debian"),
        (["deb cdrom:[Debian]/ bookworm main\n" + ONE_LINE], "http://mirror.example/debian"),
        ([PARAGRAPHS.replace("Types: deb deb-src", "Enabled: no\nTypes: deb")], ""),
        ([PARAGRAPHS.replace("deb deb-src", "deb-src")], ""),
        ([OTHERS], ""),
        ([], ""),
    ],
)
def test_the_mirror_is_that_of_the_machine_s_own_suite(sources: list[str], mirror: str) -> None:
    """Archives of other products, security updates, sources and media are not mirrors of Debian."""
    assert mirror_of_machine({}, sources, RELEASE) == mirror


def test_another_distribution_s_archive_is_no_mirror_of_debian() -> None:
    """debootstrap would fail there; DEBIAN_MIRROR names one, on each distribution."""
    other = "ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=bookworm\n"
    assert mirror_of_machine({}, [ONE_LINE], other) == ""
    assert mirror_of_machine({"DEBIAN_MIRROR": "http://named.example/debian"}, [ONE_LINE], other) == "http://named.example/debian"
    assert mirror_of_machine({"DEBIAN_MIRROR": "http://named.example/debian"}, [ONE_LINE], RELEASE) == "http://named.example/debian"


def test_no_mirror_is_written_into_the_launcher() -> None:
    """Closed networks have a mirror of their own; the control is the pattern on such a line."""
    pattern = re.compile(r"https?://[\w-]+\.[\w.-]+/")
    assert pattern.search('mirror = "http://mirror.example/debian"')
    folder = Path(cluster.__file__).parent
    files = [file for kind in ("*.py", "*.sh") for file in folder.rglob(kind)]
    assert len(files) > 20
    assert [file.name for file in files if pattern.search(file.read_text())] == []
