"""The programs of the cluster, built from the upstream Go modules once per version, and cached for all checkouts."""

import hashlib
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.embedded.kubernetes_versions import KubernetesVersion, chosen
from cluster.embedded.toolchain import go_toolchain
from cluster.errors import ClusterError
from cluster.once import made_once, run_logged

HELM = "4.3.1"
_MODULES = Path(__file__).resolve().parent
_BUILD_LIMIT = 1800.0  # in seconds
_KUBE_COMMANDS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl")


_CHOSEN = chosen(os.environ)
KUBERNETES = _CHOSEN.version


@dataclass(frozen=True)
class Program:
    """A program and how to build it."""

    name: str
    module: Path
    package: str
    expectation: str
    version_flags: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    modfile: Path | None = None
    """Defaults to the module's go.mod; its checksums are in the file of the same name that ends in `.sum`."""

    def key(self) -> str:
        """Return a hash of everything that the program is built from."""
        digest = hashlib.sha256(" ".join([self.package, platform.machine(), *self.version_flags]).encode())
        modules = self.modfile or self.module / "go.mod"
        checksums = modules.with_suffix(".sum")  # a module without dependencies has none
        for file in sorted([*self.module.glob("*.go"), modules, *([checksums] if checksums.exists() else [])]):
            digest.update(file.read_bytes())
        return digest.hexdigest()[:12]


def _version_flags(version: str) -> tuple[str, ...]:
    major, minor, _ = version.split(".")
    place = "k8s.io/component-base/version"
    # kubectl refuses to work with a version that it cannot parse
    return (f"-X {place}.gitVersion=v{version}", f"-X {place}.gitMajor={major}", f"-X {place}.gitMinor={minor}")


def kube_of(version: KubernetesVersion) -> Program:
    """Return the program with all components of a version of Kubernetes, and its etcd."""
    flags = _version_flags(version.version)
    return Program("kube", _MODULES / "kubernetes", ".", "4 to 7 minutes on two cores", flags, modfile=version.modfile)


KUBE = kube_of(_CHOSEN)
COREDNS = Program("coredns", _MODULES / "coredns", ".", "about a minute")
KUBEADM = Program(
    "kubeadm", _MODULES.parent / "engine" / "kubeadm", "k8s.io/kubernetes/cmd/kubeadm", "about 2 minutes", _version_flags(KUBERNETES)
)
NODE = Program("node", _MODULES / "inside", ".", "a second", environment=(("CGO_ENABLED", "0"),))
KIND = Program("kind", _MODULES / "kind", "sigs.k8s.io/kind", "half a minute")
KUBE_ROUTER = Program("kube-router", _MODULES / "kube-router", "github.com/cloudnativelabs/kube-router/v2/cmd/kube-router", "2 minutes")
HELM_PROGRAM = Program(
    "helm", _MODULES / "helm", "helm.sh/helm/v4/cmd/helm", "about 3 minutes", (f"-X helm.sh/helm/v4/internal/version.version=v{HELM}",)
)


def place_of(program: Program, cache: Path) -> Path:
    """Return the path of the built program."""
    return cache / "bin" / f"{program.name}-{program.key()}"


def build(program: Program, cache: Path) -> Path:
    """Return the built program in `cache`, and build it if it is missing. A second builder waits for the first."""
    place = place_of(program, cache)
    return made_once(place, cache / f"{program.name}.lock", lambda: _compile(program, place, cache))


def _compile(program: Program, place: Path, cache: Path) -> None:
    go = go_toolchain(cache)
    print(f"cluster: building {program.name} from upstream's Go modules, once ({program.expectation})", flush=True)
    started = time.monotonic()
    draft, log = place.with_suffix(".draft"), cache / f"{program.name}-build.log"
    flags = " ".join(["-s", "-w", *program.version_flags])
    # buildvcs: the modules are in our git checkout, whose state does not matter to the program
    modules = [f"-modfile={program.modfile}"] if program.modfile else []
    command = [str(go), "build", "-buildvcs=false", *modules, "-ldflags", flags, "-o", str(draft), program.package]
    log.unlink(missing_ok=True)
    run_logged(
        command,
        log,
        _BUILD_LIMIT,
        f"building {program.name}",
        "Go's module proxy must be reachable (GOPROXY); what was fetched is kept, so try again",
        cwd=program.module,
        environment={**os.environ, "GOTOOLCHAIN": "local", **dict(program.environment)},
    )
    draft.replace(place)
    print(f"cluster: {program.name} built in {time.monotonic() - started:.0f} s", flush=True)


def module_folder(program: Program, module: str, cache: Path) -> Path:
    """Return the folder in Go's module cache with the sources of `module`, on which the program depends."""
    command = [str(go_toolchain(cache)), "list", "-m", "-f", "{{.Dir}}", module]
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    fetch = [command[0], "mod", "download", module]  # the program may be cached, and its sources not
    for each in (fetch, command):
        done = subprocess.run(each, cwd=program.module, env=environment, capture_output=True, text=True, timeout=_BUILD_LIMIT, check=False)
        if done.returncode != 0:
            raise ClusterError(f"{module} cannot be fetched: {done.stderr.strip()}", "Go's module proxy must be reachable (GOPROXY)")
    return Path(done.stdout.strip())


def link_tools(folder: Path, kube: Path, helm: Path | None = None) -> None:
    """Link `kubectl` (and `helm`) into `folder`, for a user's PATH; the programs act by the name they are called by."""
    link_kubectl(folder, kube)
    if helm:
        _link(folder / "helm", helm)


def link_kubectl(folder: Path, kubectl: Path) -> None:
    """Link only `kubectl`."""
    folder.mkdir(parents=True, exist_ok=True)
    _link(folder / "kubectl", kubectl)


def kube_command(kube: Path, component: str, arguments: Sequence[str]) -> list[str]:
    """Return the command line of one component of the `kube` program."""
    assert component in _KUBE_COMMANDS, component
    return [str(kube), component, *arguments]


def _link(link: Path, target: Path) -> None:
    draft = link.with_name(f".{link.name}.{os.getpid()}")
    draft.symlink_to(target)
    draft.replace(link)
