"""What the engine derives without touching the machine: containers' configurations, kept settings, archives of images."""

import json
import tarfile
from pathlib import Path

from cluster.engine.archive import write_archive
from cluster.engine.node_image import images_of
from cluster.engine.runc import files, reduced
from cluster.engine.sysctls import NAMES, note, present, put_back

PROCESS = {
    "args": ["/sbin/init"],
    "capabilities": {"bounding": ["CAP_CHOWN", "CAP_SYS_RESOURCE"], "ambient": None},
    "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1, "soft": 1}],
    "oomScoreAdj": -500,
}
LESS = {"args": ["/sbin/init"], "capabilities": {"bounding": ["CAP_CHOWN"], "ambient": []}, "oomScoreAdj": 0}


def test_a_container_asks_the_kernel_for_nothing_that_it_would_refuse() -> None:
    """Without CAP_SYS_RESOURCE, limits cannot be raised nor a lower score be set; everything else stays as Docker wrote it."""
    assert reduced({"ociVersion": "1.0.2", "root": {"path": "rootfs"}, "process": PROCESS}) == {
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs"},
        "process": LESS,
    }
    assert reduced(PROCESS) == LESS  # of `docker exec`
    assert reduced({"args": ["true"], "oomScoreAdj": 300}) == {"args": ["true"], "capabilities": {}, "oomScoreAdj": 300}


def test_the_configuration_is_found_in_what_docker_calls() -> None:
    """A container has a bundle, and `exec` a file; other commands have none."""
    create = ["--root", "/run/runc", "create", "--bundle", "/run/bundle", "--pid-file", "/run/pid", "id"]
    assert files(create) == [Path("/run/bundle/config.json")]
    assert files(["exec", "--process", "/tmp/process", "--detach", "id"]) == [Path("/tmp/process")]
    assert files(["--root", "/run/runc", "delete", "id"]) == []


def test_settings_that_a_node_changed_are_put_back(tmp_path: Path) -> None:
    """Only those that differ are written, since others may not be writable; a crash does not make the changed values the noted ones."""
    proc, file = tmp_path / "proc", tmp_path / "noted.json"
    for name in NAMES[:3]:
        (proc / name).parent.mkdir(parents=True, exist_ok=True)
        (proc / name).write_text("0\n")
    note(file, proc)
    (proc / NAMES[1]).write_text("1\n")
    note(file, proc)
    assert put_back(file, proc) == [NAMES[1]]
    assert present(proc) == dict.fromkeys(NAMES[:3], "0")
    assert put_back(file, proc) == []


def test_settings_are_those_of_this_kernel() -> None:
    """A misspelled name would be passed over, and the setting would stay changed."""
    assert {"vm/overcommit_memory", "kernel/panic", "fs/file-max"} <= set(present())
    assert set(NAMES) - set(present()) <= {"kernel/keys/root_maxbytes", "kernel/keys/root_maxkeys", "kernel/sysrq", "fs/protected_fifos"}


def test_the_control_plane_s_images_share_one_layer(tmp_path: Path) -> None:
    """It has 240 MB; pause is as small as its program, and CoreDNS, whose manifest names no command, has an entrypoint."""
    names = [f"registry.example/{name}" for name in ("kube-apiserver:v1.35.4", "etcd:3.6.5-0", "coredns/coredns:v1.13", "pause:3.10")]
    for layer in ("layer.tar", "pause.tar"):
        (tmp_path / layer).write_text(layer)
    images = images_of(names, tmp_path / "layer.tar", tmp_path / "pause.tar")
    write_archive(tmp_path / "images.tar", images)
    with tarfile.open(tmp_path / "images.tar") as archive:
        members = {member: archive.extractfile(member) for member in archive.getnames()}
        contents = {name: file.read() for name, file in members.items() if file}
    entries = json.loads(contents["manifest.json"])
    assert [entry["RepoTags"] for entry in entries] == [names[:2], names[2:3], names[3:]]
    assert [contents[entry["Layers"][0]].decode() for entry in entries] == ["layer.tar", "layer.tar", "pause.tar"]
    assert sorted(name for name in contents if name.startswith("layer")) == ["layer-0.tar", "layer-1.tar"]
    assert [json.loads(contents[entry["Config"]])["config"].get("Entrypoint") for entry in entries] == [None, ["/coredns"], ["/pause"]]


def test_a_program_without_a_layer_of_its_own_is_none_of_pause_s() -> None:
    """The name decides, not a part of the registry's."""
    images = images_of(["pause.example/kube-proxy:v1", "pause.example/pause:3"], Path("layer"), Path("pause"))
    assert [image.names for image in images if image.layer == Path("pause")] == [("pause.example/pause:3",)]
