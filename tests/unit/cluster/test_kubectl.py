"""Which kubectl is used: versions as they are printed, and the skew that Kubernetes supports."""

import json
from pathlib import Path

import pytest

from cluster.kubectl import Version, own_program, versions, within_skew


@pytest.mark.parametrize(
    ("client", "server", "supported"),
    [
        ((1, 34), (1, 35), True),
        ((1, 35), (1, 35), True),
        ((1, 36), (1, 35), True),
        ((1, 33), (1, 35), False),
        ((1, 37), (1, 35), False),
        ((2, 35), (1, 35), False),
    ],
)
def test_one_minor_version_older_or_newer_is_supported(client: Version, server: Version, supported: bool) -> None:
    """An older kubectl lacks fields and subresources, and a newer one calls what the API server lacks."""
    assert within_skew(client, server) is supported


def test_versions_are_read_as_kubectl_prints_them() -> None:
    """Providers add a plus to the minor version; an API server that does not answer has none; an old kubectl prints no JSON."""
    both = {"clientVersion": {"major": "1", "minor": "32"}, "serverVersion": {"major": "1", "minor": "33+"}}
    assert versions(json.dumps(both)) == ((1, 32), (1, 33))
    assert versions(json.dumps({"clientVersion": {"major": "1", "minor": "32"}})) == ((1, 32), None)
    assert versions(json.dumps({"clientVersion": {"major": "1", "minor": "x"}, "serverVersion": None})) == (None, None)
    assert versions("Client Version: v1.32.4") == (None, None)


def test_the_tools_of_the_checkout_are_not_taken_for_the_machine_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo prints a PATH with them first; the link would then lead to itself, and kubectl would be lost."""
    for folder in ("tools", "machine"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "kubectl").touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/tools:{tmp_path}/machine")
    assert own_program("kubectl", tmp_path / "tools") == tmp_path / "machine" / "kubectl"
    monkeypatch.setenv("PATH", f"{tmp_path}/tools")
    assert own_program("kubectl", tmp_path / "tools") is None
    assert own_program("kubectl", tmp_path / "elsewhere") == tmp_path / "tools" / "kubectl"
