"""What a kind cluster is created with."""

from pathlib import Path

import pytest

from cluster.errors import ClusterError
from cluster.kind import create_arguments


def test_image_and_configuration_of_the_nodes_are_the_user_s(tmp_path: Path) -> None:
    """kind pins its own image by digest, which a closed network cannot pull. Without the variables, kind's defaults apply."""
    config = tmp_path / "kind.yaml"
    config.touch()
    plain = create_arguments("demo", tmp_path / "kubeconfig", {})
    assert plain == ["create", "cluster", "--name=demo", f"--kubeconfig={tmp_path}/kubeconfig", "--wait=180s"]
    chosen = {"REFRESH_KIND_IMAGE": "registry.example/node:v1.33.1", "REFRESH_KIND_CONFIG": str(config)}
    added = create_arguments("demo", tmp_path / "kubeconfig", chosen)[len(plain) :]
    assert added == ["--image=registry.example/node:v1.33.1", f"--config={config}"]


def test_a_configuration_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A typo would otherwise be reported by kind after the remains of an earlier cluster were deleted."""
    with pytest.raises(ClusterError, match=r"REFRESH_KIND_CONFIG=.*no-file is not a file"):
        create_arguments("demo", tmp_path / "kubeconfig", {"REFRESH_KIND_CONFIG": str(tmp_path / "no-file")})
