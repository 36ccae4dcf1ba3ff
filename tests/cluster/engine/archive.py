"""An archive of images (docker-archive) that share layers, written without an engine."""

import io
import json
import platform
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_CHUNK = 1 << 20


@dataclass(frozen=True)
class LayeredImage:
    """An image with one layer: its names, the layer (a tar), and its entrypoint."""

    names: tuple[str, ...]
    layer: Path
    entrypoint: tuple[str, ...] = ()
    path: str = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    def config(self) -> bytes:
        """Return the image's configuration."""
        started = {"Env": [f"PATH={self.path}"], **({"Entrypoint": list(self.entrypoint)} if self.entrypoint else {})}
        layers = {"type": "layers", "diff_ids": [f"sha256:{_digest(self.layer)}"]}
        architecture = _ARCHITECTURES.get(platform.machine(), platform.machine())
        return json.dumps({"architecture": architecture, "os": "linux", "config": started, "rootfs": layers}).encode()


def write_archive(target: Path, images: Sequence[LayeredImage]) -> None:
    """Write the images into one archive; a shared layer is written once."""
    layers = {layer: f"layer-{number}.tar" for number, layer in enumerate(dict.fromkeys(image.layer for image in images))}
    configs = {f"config-{number}.json": image for number, image in enumerate(images)}
    manifest = [{"Config": name, "RepoTags": list(image.names), "Layers": [layers[image.layer]]} for name, image in configs.items()]
    with tarfile.open(target, "w") as archive:
        for layer, name in layers.items():
            archive.add(layer, arcname=name)
        texts = {name: image.config() for name, image in configs.items()} | {"manifest.json": json.dumps(manifest).encode()}
        for name, content in texts.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def _digest(file: Path) -> str:
    digest = sha256()
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
