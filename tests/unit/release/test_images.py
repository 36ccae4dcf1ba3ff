"""Images as OCI archives, made from what `docker save` and buildah write."""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from cyclonedx.model.component import ComponentType
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from release.folder import put_others
from release.images import Archived, Layers, write_oci
from release.sbom import Package, document, licence_list, packages_of

METADATA = "Metadata-Version: 2.4\nName: Some_Package\nVersion: 1.2\nLicense-Expression: MIT\n\nText: no field\n"
STATUS = """Package: libc6
Status: install ok installed
Version: 2.41-12

Package: gone
Status: deinstall ok config-files
Version: 1
"""
EPOCH = 1_700_000_000


def tar_of(files: dict[str, bytes], mtime: float) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), mtime
            archive.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "opt"
        archive.addfile(link)
    return content.getvalue()


def saved(place: Path, built: float) -> Path:
    """An archive as `docker save` writes it, of an image that was built at a time."""
    layers = [
        tar_of({"./var/lib/dpkg/status": STATUS.encode(), "old.pyc": b"0"}, 5),
        tar_of({"opt/venv/x.dist-info/METADATA": METADATA.encode()}, built),
    ]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": str(built),
        "container": "of Docker",
        "config": {"User": "65532", "Hostname": str(built), "Cmd": None},
        "rootfs": {"type": "layers", "diff_ids": ["first", "second"]},
        "history": [{"created": str(built), "created_by": "RUN x", "comment": f"FROM {built}"}],
    }
    files = {"c.json": json.dumps(config).encode(), **{f"{number}.tar": layer for number, layer in enumerate(layers)}}
    manifest = [{"Config": "c.json", "RepoTags": ["docker.io/library/demo:abc"], "Layers": ["0.tar", "1.tar"]}]
    place.write_bytes(tar_of({"manifest.json": json.dumps(manifest).encode(), **files}, built))
    return place


def written(tmp_path: Path, built: float) -> tuple[Archived, Path]:
    with TemporaryDirectory() as blobs:
        image = write_oci(saved(tmp_path / "saved.tar", built), tmp_path, "demo", "1.0.0", Layers(Path(blobs), EPOCH))
    return image, tmp_path / "demo-1.0.0-linux-amd64.tar"


def blobs_of(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as opened:
        return {each.name: data.read() for each in opened if (data := opened.extractfile(each))}


def test_an_image_is_the_same_whenever_it_was_built(tmp_path):
    """Times after the release's own are set to it; older ones, which compiled files contain, stay."""
    first = written(tmp_path, EPOCH + 100.5)[1].read_bytes()
    assert written(tmp_path, EPOCH + 9999)[1].read_bytes() == first
    assert written(tmp_path, EPOCH - 1)[1].read_bytes() != first


def test_images_share_what_they_have_in_common(tmp_path):
    """A layer is read and packed once. Each archive has it, and nothing of another image."""
    (tmp_path / "blobs").mkdir()
    layers = Layers(tmp_path / "blobs", EPOCH)
    archive = saved(tmp_path / "saved.tar", EPOCH)
    for name in ("demo", "other"):
        write_oci(archive, tmp_path, name, "1.0.0", layers)
    first, second = (blobs_of(tmp_path / f"{name}-1.0.0-linux-amd64.tar") for name in ("demo", "other"))
    assert len(list((tmp_path / "blobs").iterdir())) == 2 + 1 + 1  # layers, configuration, manifest
    assert {name for name in first if name.startswith("blobs/")} == {name for name in second if name.startswith("blobs/")}
    assert written(tmp_path, EPOCH)[1].read_bytes() == (tmp_path / "demo-1.0.0-linux-amd64.tar").read_bytes()


def test_an_archive_follows_the_image_specification(tmp_path):
    """Each digest is that of its blob; the configuration has the digests of the unpacked layers, and no field of Docker's."""
    files = blobs_of(written(tmp_path, EPOCH + 100)[1])
    (listed,) = json.loads(files["index.json"])["manifests"]
    assert listed["annotations"]["io.containerd.image.name"] == "docker.io/library/demo:1.0.0"

    def blob(descriptor: dict[str, Any]) -> bytes:
        data = files[f"blobs/sha256/{descriptor['digest'].removeprefix('sha256:')}"]
        assert hashlib.sha256(data).hexdigest() == descriptor["digest"].removeprefix("sha256:")
        assert len(data) == descriptor["size"]
        return data

    manifest = json.loads(blob(listed))
    config = json.loads(blob(manifest["config"]))
    assert (config["config"], "container" in config, len(config["history"])) == ({"User": "65532"}, False, 1)
    for layer, identity in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
        raw = gzip.decompress(blob(layer))
        assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == identity
        with tarfile.open(fileobj=io.BytesIO(raw)) as unpacked:
            assert "link" in unpacked.getnames()
    docker = json.loads(files["manifest.json"])[0]
    assert (docker["RepoTags"], set(docker["Layers"]) <= files.keys()) == (["docker.io/library/demo:1.0.0"], True)


def test_what_is_in_an_image_is_listed_with_its_licence(tmp_path):
    """Python distributions by their metadata, Debian packages by dpkg's list, without removed ones."""
    packages = packages_of(written(tmp_path, EPOCH)[0].lists)
    assert [(each.kind, each.name, each.version) for each in packages] == [("deb", "libc6", "2.41-12"), ("pypi", "some-package", "1.2")]
    text = document("demo", "1.0.0", ComponentType.CONTAINER, packages, EPOCH)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    parsed = json.loads(text)
    assert parsed["components"][1]["licenses"] == [{"license": {"id": "MIT"}}]
    assert text == document("demo", "1.0.0", ComponentType.CONTAINER, packages, EPOCH)
    assert "| some-package | 1.2 | MIT | demo, other |" in licence_list({"demo": packages, "other": packages})


def test_a_licence_is_found_wherever_it_is_stated():
    """The expression, then the short field, then classifiers; a text is no name."""
    forms = {
        "License-Expression: MIT": "MIT",
        "License: BSD": "BSD",
        "License: " + "x" * 200 + "\nClassifier: License :: OSI Approved :: Apache Software License": "Apache Software License",
        "Classifier: License :: OSI Approved": "not stated",
    }
    for text, licence in forms.items():
        file = {"a.dist-info/METADATA": f"Name: a\nVersion: 1\n{text}\n".encode()}
        assert packages_of(file) == [Package("pypi", "a", "1", licence)]


def test_images_of_other_machines_are_added_and_replace_none_of_ours(tmp_path):
    """From wherever a forge has put them. A folder without any is a mistake: the release would lack an architecture."""
    ours, theirs = tmp_path / "images", tmp_path / "got" / "1.0.0" / "images"
    ours.mkdir()
    theirs.mkdir(parents=True)
    (ours / "demo-1.0.0-linux-amd64.tar").write_text("ours")
    for name in ("demo-1.0.0-linux-amd64.tar", "demo-0.9.0-linux-arm64.tar"):
        (theirs / name).write_text("theirs")
    with pytest.raises(ValueError, match=r"no images of 1\.0\.0 for another architecture"):
        put_others(tmp_path / "got", ours, "1.0.0")
    (theirs / "demo-1.0.0-linux-arm64.tar").write_text("theirs")
    put_others(tmp_path / "got", ours, "1.0.0")
    assert {each.name: each.read_text() for each in ours.iterdir()} == {
        "demo-1.0.0-linux-amd64.tar": "ours",
        "demo-1.0.0-linux-arm64.tar": "theirs",
    }
