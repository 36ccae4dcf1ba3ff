"""The built images: no root, compiled bytecode, no dependency too many, and no trace of the machine that built them."""

import json
import os
import re
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.builders import Buildah, Docker
from cluster.docker import docker_answers
from cluster.images import EXAMPLES, IMAGES, OPERATOR, PAGE, RUNNER, Image, build_images, references
from cluster.paths import paths_of
from cluster.seam import chosen_kind

KIND = chosen_kind(os.environ.get("REFRESH_CLUSTER", ""), docker=docker_answers())
if KIND == "existing":
    pytest.skip("an existing cluster pulls images that were built elsewhere", allow_module_level=True)

PATHS = paths_of(os.environ)
BUILDER = Docker(PATHS) if KIND == "kind" else Buildah(PATHS)


@dataclass(frozen=True)
class Contents:
    """Configuration and content of an image's archive."""

    config: dict[str, object]
    files: frozenset[str]
    small: dict[str, bytes]
    """Contents of all files below 4 kB outside the packages."""

    def packages(self) -> set[str]:
        """Return the names below site-packages."""
        return {
            name.split("/site-packages/")[1].split("/")[0]
            for name in self.files
            if "/opt/venv/" in f"/{name}" and "/site-packages/" in name
        }


def contents(archive: Path) -> Contents:
    """Read an image's archive."""
    files: set[str] = set()
    small: dict[str, bytes] = {}
    with tarfile.open(archive) as outer:
        manifest = json.loads(member(outer, "manifest.json"))[0]
        for layer in manifest["Layers"]:
            with tarfile.open(fileobj=outer.extractfile(layer)) as inner:
                for entry in inner:
                    files.add(entry.name.removeprefix("./"))
                    if entry.isfile() and entry.size < 4096 and "site-packages" not in entry.name:
                        small[entry.name] = member(inner, entry.name)
        config = json.loads(member(outer, manifest["Config"]))
    return Contents(config["config"], frozenset(files), small)


def member(archive: tarfile.TarFile, name: str) -> bytes:
    """Return one file of an archive."""
    file = archive.extractfile(name)
    assert file
    return file.read()


@pytest.fixture(scope="module")
def images() -> dict[str, Contents]:
    """All images by name."""
    references = build_images(PATHS, BUILDER)
    return {image.name: contents(BUILDER.archive(image, references[image.name].partition(":")[2])) for image in IMAGES}


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_an_image_runs_its_program_and_not_as_root(images: dict[str, Contents], image: Image) -> None:
    """A namespace with Pod Security level `restricted` would refuse it otherwise."""
    config = images[image.name].config
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["/opt/venv/bin/python", "-IBu", f"/usr/local/bin/{image.name}"]
    assert f"usr/local/bin/{image.name}" in images[image.name].files


@pytest.mark.parametrize("image", [OPERATOR, RUNNER, PAGE], ids=lambda image: image.name)
def test_a_program_of_ours_is_isolated_however_it_is_started(images: dict[str, Contents], image: Image) -> None:
    """No environment variable can add code, by the entry point or by `kubectl exec`."""
    script = images[image.name].small[f"opt/refresh/bin/{image.name}"]
    assert script.splitlines()[0] == b"#!/opt/venv/bin/python -IBu"


def test_neither_product_image_has_the_other_s_dependencies(images: dict[str, Contents]) -> None:
    """Fewer packages, fewer vulnerabilities: no dbt in the operator, no kopf in the runner, no pip in any image."""
    assert {"kopf"} <= images[OPERATOR.name].packages()
    assert not {"dbt", "psycopg"} & images[OPERATOR.name].packages()
    assert {"dbt", "psycopg"} <= images[RUNNER.name].packages()
    assert not {"kopf", "kubernetes"} & images[RUNNER.name].packages()
    assert not {"dbt", "kopf", "kubernetes"} & images[PAGE.name].packages()
    assert not [name for image in IMAGES for name in images[image.name].packages() if name == "pip"]


@pytest.mark.parametrize("image", [OPERATOR, RUNNER], ids=lambda image: image.name)
def test_our_modules_and_the_third_parties_are_compiled(images: dict[str, Contents], image: Image) -> None:
    """On a read-only root file system Python would compile them again at every start."""
    files = images[image.name].files
    sources = [name for name in files if name.endswith(".py") and name.startswith(("opt/venv/lib", "opt/refresh"))]
    compiled = {name for name in files if name.endswith(".pyc")}
    lacking = [name for name in sources if not any(bytecode(name, version) in compiled for version in ("311", "312", "313", "314"))]
    assert len(sources) > 500
    # dbt's templates of new projects are not modules
    assert [name for name in lacking if "/include/" not in name] == []


def bytecode(source: str, version: str) -> str:
    """Return the path at which Python looks for a module's bytecode."""
    path = Path(source)
    return str(path.parent / "__pycache__" / f"{path.stem}.cpython-{version}.pyc")


def test_the_runner_brings_the_project_and_what_dbt_read_of_it(images: dict[str, Contents]) -> None:
    """The image contains the parsed project and the docs page of its models, but neither logs nor dbt's own target folder."""
    files = images[RUNNER.name].files
    assert "app/dbt_project/dbt_project.yml" in files
    targets = [Path(name).name for name in files if name.startswith("app/dbt_project/target/") and not name.endswith("target/")]
    page, project = sorted(targets, key=lambda name: not name.startswith("refresh_docs_"))
    assert re.fullmatch(r"refresh_[0-9a-f]{20}\.json", project)
    assert re.fullmatch(r"refresh_docs_[0-9a-f]{20}\.html\.gz", page)


@pytest.mark.parametrize("image", [OPERATOR, RUNNER, PAGE, EXAMPLES], ids=lambda image: image.name)
def test_no_layer_keeps_the_package_mirror_s_settings(images: dict[str, Contents], image: Image) -> None:
    """Neither pip's configuration, nor the build's certificate bundle, nor a proxy in the environment may reach users."""
    found = images[image.name]
    assert [name for name in found.files if name.startswith("run/secrets/") or name.endswith("pip.conf")] == []
    assert found.small
    assert [name for name, content in found.small.items() if b"index-url" in content or b"/run/secrets/ca" in content] == []
    assert "proxy" not in json.dumps(found.config).lower()


@pytest.mark.slow
def test_a_project_of_one_s_own_is_our_image_and_a_few_lines(images: dict[str, Contents], tmp_path: Path) -> None:
    """A user's image takes a few lines; its project takes precedence over ours and everything that its refresh names is found."""
    assert images
    folder = Path(shutil.copytree(PATHS.checkout / "examples" / "velos", tmp_path / "velos"))
    told = folder / "Dockerfile"
    steps = [line.split()[0] for line in told.read_text().splitlines() if line and not line.startswith("#")]
    assert steps == ["ARG", "FROM", "USER", "COPY", "RUN", "USER"]
    told.write_text(f'{told.read_text()}RUN ["refresh-runner", "lint", "/app/project/refresh.yaml"]\n')
    BUILDER.extend(references(PATHS)[RUNNER.name], folder, tmp_path / "log")
    said = (tmp_path / "log").read_text()
    assert "/app/project is cached: " in said
    assert "the docs of /app/project are cached" in said
    assert "/app/project can be parsed" in said
    assert "spec.layers[0].select (reference): selects 1 seed, 1 snapshot" in said
    assert "velos_rapport.trajets_par_jour is a model; it has no contract" in said
