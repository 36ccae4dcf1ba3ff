"""Names, configurations, tags and certificates that the launcher derives without touching the machine."""

import io
import json
import ssl
import tarfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from cluster.embedded import components, node_files
from cluster.embedded.cgroups import hierarchies, is_v2
from cluster.embedded.components import Plane
from cluster.embedded.full import cgroup_of
from cluster.embedded.node_files import NodeSettings
from cluster.embedded.pki import Authority
from cluster.embedded.toolchain import version_of
from cluster.images import RUNNER
from cluster.mirror import mirror_of, parse_pip_config
from cluster.paths import paths_of
from cluster.processes import environment_of_programs

V1 = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n"
V2 = "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"
PLANE = Plane("127.0.0.1", "127.0.0.1", 6443, 2379, 2380, Path("/home/pki"), Path("/home/data"), "10.96.0.0/24", has_nodes=False)


def test_clusters_of_two_names_or_two_checkouts_have_control_groups_of_their_own() -> None:
    """The folder decides, so that checkouts do not share control groups."""
    homes = [Path(checkout) / ".state" / "clusters" / name for checkout in ("/a", "/b") for name in ("demo", "test")]
    assert len({cgroup_of(home) for home in homes}) == 4


def test_v1_is_told_from_v2_also_when_an_empty_v2_tree_is_mounted_beside_it() -> None:
    """The v1 mounts decide."""
    assert not is_v2(V1)
    assert is_v2(V2)
    assert hierarchies(V1) == [Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup/unified")]


def test_a_plane_without_nodes_listens_on_loopback_alone() -> None:
    """Every address in its command lines is 127.0.0.1, except the Services' range."""
    words = [*components.etcd(PLANE), *components.apiserver(PLANE), *components.controller_manager(PLANE)]
    assert "--bind-address=127.0.0.1" in words
    assert not [word for word in words if "0.0.0.0" in word]
    assert "--endpoint-reconciler-type=none" in words
    assert "--endpoint-reconciler-type=lease" in components.apiserver(replace(PLANE, has_nodes=True))


def test_the_kubelet_keeps_to_the_cluster_s_own_control_groups_and_collects_no_images() -> None:
    """Two kubelets on a machine would otherwise kill each other's pods, and a removed image cannot be pulled again."""
    config = json.loads(node_files.kubelet_config(NodeSettings("refresh-abc", "overlayfs", "/usr/lib/cni")))
    assert config["cgroupRoot"] == "/refresh-abc"
    assert config["imageGCHighThresholdPercent"] == 100


def test_an_image_archive_holds_the_program_and_its_name() -> None:
    """containerd reads these files of the archive."""
    with tarfile.open(fileobj=io.BytesIO(node_files.image_archive("localhost/x:1", b"program"))) as archive:
        manifest = archive.extractfile("manifest.json")
        layer = archive.extractfile("layer.tar")
        assert manifest
        assert json.load(manifest)[0]["RepoTags"] == ["localhost/x:1"]
        with tarfile.open(fileobj=layer) as content:
            assert content.getnames() == ["program"]


def test_certificates_are_good_for_python_3_13_and_private_keys_for_their_owner(tmp_path: Path) -> None:
    """Python 3.13 requires keyUsage; keys are readable by their owner only."""
    authority = Authority(tmp_path / "pki", datetime.now(UTC))
    authority.issue("server", "server", group="masters", hosts=("127.0.0.1", "kubernetes.default"))
    certificate = x509.load_pem_x509_certificate((tmp_path / "pki" / "server.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["kubernetes.default"]
    assert certificate.subject.rfc4514_string() == "CN=server,O=masters"
    ca = x509.load_pem_x509_certificate((tmp_path / "pki" / "ca.crt").read_bytes())
    assert ca.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    ssl.create_default_context(cafile=str(tmp_path / "pki" / "ca.crt"))
    assert all(file.stat().st_mode & 0o077 == 0 for file in (tmp_path / "pki").iterdir())


def test_a_tag_follows_the_sources_and_the_base_and_nothing_else(tmp_path: Path) -> None:
    """Equal content has an equal tag; bytecode and build results do not count."""
    for name in ("crds", "notify", "runner", "dbt_project", "requirements"):
        (tmp_path / name).mkdir()
    for file in ("Dockerfile", "requirements/build.txt", "requirements/runner.txt", "runner/run.py"):
        (tmp_path / file).write_text(file)
    first = RUNNER.tag(tmp_path, "base:1")
    (tmp_path / "runner" / "__pycache__").mkdir()
    (tmp_path / "runner" / "__pycache__" / "run.pyc").write_text("bytecode")
    assert RUNNER.tag(tmp_path, "base:1") == first
    assert RUNNER.tag(tmp_path, "base:2") != first
    (tmp_path / "runner" / "run.py").write_text("changed")
    assert RUNNER.tag(tmp_path, "base:1") != first


def test_a_mirror_s_settings_reach_the_build_without_paths_of_the_machine(tmp_path: Path) -> None:
    """The index stays, a folder of wheels is dropped, the certificate bundle is the mounted one."""
    bundle = tmp_path / "ca.crt"
    bundle.write_text("certificates")
    listing = (
        f"global.index-url='https://mirror.example/simple'\n:env:.cert='{bundle}'\n:env:.find-links='/wheels'\n:env:.default-timeout='60'\n"
    )
    mirror = mirror_of(parse_pip_config(listing), {"HTTPS_PROXY": "http://proxy.example:3128", "HOME": "/root"})
    assert mirror.pip_conf.split("\n")[:4] == [
        "[global]",
        "index-url = https://mirror.example/simple",
        "timeout = 60",
        "cert = /run/secrets/ca",
    ]
    assert mirror.ca == bundle
    assert mirror.proxies == (("HTTPS_PROXY", "http://proxy.example:3128"),)


def test_without_a_mirror_nothing_is_set() -> None:
    """pip's own defaults apply."""
    assert mirror_of({}, {}).pip_conf.strip() == "[global]"


@pytest.mark.parametrize(("output", "version"), [("go version go1.26.8 linux/amd64", (1, 26)), ("go version devel", None), ("", None)])
def test_go_s_version_is_read_from_what_it_prints(output: str, version: tuple[int, int] | None) -> None:
    """Unreadable output is reported as such."""
    assert version_of(output) == version


def test_state_is_the_checkout_s_and_the_cache_is_everybody_s() -> None:
    """Checkouts share what is expensive and nothing else."""
    one, other = (paths_of({"XDG_CACHE_HOME": "/cache"}, Path(checkout)) for checkout in ("/a", "/b"))
    assert one.cache == other.cache == Path("/cache/dashboard-refresh")
    assert one.clusters != other.clusters


def test_no_proxy_comes_between_the_parts_of_a_cluster() -> None:
    """A company's proxy would receive requests for the API server; and kube-proxy's iptables is in sbin."""
    environment = environment_of_programs({"HTTPS_PROXY": "http://proxy", "no_proxy": "x", "HOME": "/root", "PATH": "/usr/bin"})
    assert environment == {"HOME": "/root", "PATH": "/usr/bin:/usr/local/sbin:/usr/sbin:/sbin"}
