"""The images as OCI archives, which containerd, kind, podman and Docker 25 or newer read."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import shutil
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, Final

from cluster.images import IMAGES, build_images
from cluster.paths import Paths
from cluster.seam import builder_of
from release.sums import digest_of

REPOSITORY: Final = "docker.io/library"
_TYPE: Final = "application/vnd.oci.image"
_CONFIG: Final = ("architecture", "os", "variant", "author", "config", "rootfs", "history")
"""Fields of a configuration that OCI knows."""
_RUNTIME: Final = ("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal")
"""The same of what its `config` has. Docker adds others, such as the name of the container that built it."""
_LISTED: Final = re.compile(r"(?:.*\.dist-info/METADATA|var/lib/dpkg/status)")
"""Files that say what an image contains."""


@dataclass(frozen=True)
class Archived:
    """An image in a release, and the files in it that say what it contains."""

    name: str
    lists: Mapping[str, bytes]


def put_images(paths: Paths, folder: Path, version: str, epoch: int) -> list[Archived]:
    """Build the images of this checkout, write an archive of each, and return them."""
    folder.mkdir()
    builder = builder_of(paths)
    references = build_images(paths, builder)
    found = []
    with TemporaryDirectory(dir=folder) as place:
        layers = Layers(Path(place), epoch)
        for image in IMAGES:
            archive = builder.archive(image, references[image.name].partition(":")[2])
            found.append(write_oci(archive, folder, image.name, version, layers))
    return found


@dataclass(frozen=True)
class Layer:
    """A layer as it is released."""

    descriptor: dict[str, Any]
    identity: str
    """The digest of what it unpacks to."""
    lists: Mapping[str, bytes]
    """The files in it that say what it contains."""


@dataclass
class Layers:
    """The layers of all images, which share most of them, as blobs in one folder, with no time after `epoch` in them."""

    blobs: Path
    epoch: int
    _known: dict[str, Layer] = field(default_factory=dict)

    def of(self, built: str, content: Callable[[], IO[bytes]]) -> Layer:
        """Return the layer that was built with this digest; `content` opens it."""
        if built not in self._known:
            self._known[built] = self._written(content())
        return self._known[built]

    def _written(self, source: IO[bytes]) -> Layer:
        plain, packed = self.blobs / "layer.tar", self.blobs / "layer.tar.gz"
        lists: dict[str, bytes] = {}
        with tarfile.open(fileobj=source, mode="r|*") as old, tarfile.open(plain, "w", format=tarfile.PAX_FORMAT) as new:
            for member in old:
                # Older times stay: Python compares them with those in compiled files.
                member.mtime = min(int(member.mtime), self.epoch)
                member.pax_headers = {key: value for key, value in member.pax_headers.items() if key not in ("mtime", "atime", "ctime")}
                data = old.extractfile(member) if member.isreg() else None
                name = member.name.removeprefix("./")
                if data and _LISTED.fullmatch(name):
                    lists[name] = data.read()
                    data = io.BytesIO(lists[name])
                new.addfile(member, data)
        # mtime 0: gzip's header would contain the time
        with plain.open("rb") as content, packed.open("wb") as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as zipped:
            shutil.copyfileobj(content, zipped, 1 << 20)
        identity, digest = digest_of(plain), digest_of(packed)
        descriptor = {"mediaType": f"{_TYPE}.layer.v1.tar+gzip", "digest": f"sha256:{digest}", "size": packed.stat().st_size}
        plain.unlink()
        packed.rename(self.blobs / digest)
        return Layer(descriptor, f"sha256:{identity}", lists)


def write_oci(source: Path, folder: Path, name: str, version: str, layers: Layers) -> Archived:
    """Write a `docker save` archive as `NAME-VERSION-linux-ARCHITECTURE.tar`."""
    with tarfile.open(source) as saved:
        (entry,) = json.loads(_member(saved, "manifest.json"))
        config = json.loads(_member(saved, entry["Config"]))
        built = zip(config["rootfs"]["diff_ids"], entry["Layers"], strict=True)
        found = [layers.of(identity, partial(_opened, saved, path)) for identity, path in built]
    moment = datetime.fromtimestamp(layers.epoch, UTC).isoformat().replace("+00:00", "Z")
    config = {key: config[key] for key in _CONFIG if key in config} | {"created": moment}
    config["config"] = {key: config["config"][key] for key in _RUNTIME if config["config"].get(key)}
    config["rootfs"] = {"type": "layers", "diff_ids": [each.identity for each in found]}
    # comments have identities of intermediate images, which no other build has
    history = [{key: value for key, value in each.items() if key != "comment"} for each in config.get("history", [])]
    config["history"] = [{**each, "created": moment} for each in history]
    described = _blob(layers.blobs, f"{_TYPE}.config.v1+json", config)
    parts = [each.descriptor for each in found]
    manifest = {"schemaVersion": 2, "mediaType": f"{_TYPE}.manifest.v1+json", "config": described, "layers": parts}
    manifested = _blob(layers.blobs, f"{_TYPE}.manifest.v1+json", manifest)
    reference = f"{REPOSITORY}/{name}:{version}"
    # names of the image, for containerd and for others
    names = {"io.containerd.image.name": reference, "org.opencontainers.image.ref.name": version}
    files = {
        "oci-layout": {"imageLayoutVersion": "1.0.0"},
        "index.json": {"schemaVersion": 2, "mediaType": f"{_TYPE}.index.v1+json", "manifests": [{**manifested, "annotations": names}]},
        # for `docker load`, as `docker save` writes it
        "manifest.json": [{"Config": _path(described), "RepoTags": [reference], "Layers": [_path(each) for each in parts]}],
    }
    digests = sorted({each["digest"].removeprefix("sha256:") for each in (described, manifested, *parts)})
    blobs = [layers.blobs / digest for digest in digests]
    _write(folder / f"{name}-{version}-linux-{config['architecture']}.tar", files, blobs, layers.epoch)
    return Archived(name, {path: text for each in found for path, text in each.lists.items()})


def _blob(blobs: Path, media_type: str, value: object) -> dict[str, Any]:
    data = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def _path(descriptor: dict[str, Any]) -> str:
    return f"blobs/{str(descriptor['digest']).replace(':', '/')}"


def _write(target: Path, files: Mapping[str, object], blobs: Sequence[Path], epoch: int) -> None:
    def described(name: str, size: int) -> tarfile.TarInfo:
        member = tarfile.TarInfo(name)
        member.size, member.mtime = size, epoch
        return member

    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, value in sorted(files.items()):
            data = json.dumps(value, sort_keys=True).encode()
            archive.addfile(described(name, len(data)), io.BytesIO(data))
        for blob in blobs:
            with blob.open("rb") as content:
                archive.addfile(described(f"blobs/sha256/{blob.name}", blob.stat().st_size), content)


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    return _opened(archive, name).read()


def _opened(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    found = archive.extractfile(name)
    if found is None:
        raise ValueError(f"{name} is not a file in the image's archive")
    return found
