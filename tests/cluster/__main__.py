"""The command `python -m cluster`: a Kubernetes cluster for demo and tests, its programs and its images."""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster.docker import docker_answers
from cluster.embedded.binaries import KUBE, build, link_tools
from cluster.embedded.control_plane import ControlPlane
from cluster.embedded.full import EmbeddedCluster
from cluster.embedded.kubernetes_versions import cluster_name
from cluster.engine.engine import Engine
from cluster.engine.prepare import bring_up
from cluster.errors import ClusterError
from cluster.existing import ExistingCluster
from cluster.forwards import Forwards
from cluster.homes import recorded_kind
from cluster.images import build_images
from cluster.kind import KindCluster, delete_kind_cluster, kind_clusters, tools
from cluster.local import LocalCluster, build_programs
from cluster.paths import Paths, paths_of
from cluster.preflight import checks, ensure, lines, look, without
from cluster.remains import remains
from cluster.seam import Cluster, builder_of, chosen_kind, cluster_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; if it fails, print a message to standard error and return 1."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options, paths_of(os.environ))
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("--name", default="demo", help="which of this checkout's clusters (default: demo)")
    named.add_argument("--control-plane", action="store_true", help="without a node: no privileges, up in seconds, no pods")
    commands.add_parser("preflight", parents=[named], help="what this machine can run, and what is missing")
    commands.add_parser("build", parents=[named], help="build the programs (minutes, once)")
    commands.add_parser("build-images", help="build the four images where their sources changed")
    for command, text in (
        ("up", "start it"),
        ("down", "end and remove it"),
        ("status", "whether it runs"),
        ("load", "build the images and load them"),
    ):
        commands.add_parser(command, parents=[named], help=text)
    expose = commands.add_parser("expose", parents=[named], help="lead a port of 127.0.0.1 to a Service")
    expose.add_argument("service")
    expose.add_argument("port", type=int)
    expose.add_argument("--namespace", default="default")
    expose.add_argument("--host-port", type=int, default=0)
    execute = commands.add_parser("exec", parents=[named], help="run a command inside the embedded node")
    execute.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    engine = commands.add_parser("engine", help="a Docker engine for a machine without one, in a network that nothing leaves")
    engine.add_argument("action", choices=["up", "exec", "down", "status"], help="up: with images; exec: a command that uses it")
    engine.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    commands.add_parser("clean", help="every cluster of this checkout down, images and state gone")
    commands.add_parser("remains", help="what `clean` leaves, and how to remove it")
    return parser


def _run(options: argparse.Namespace, paths: Paths) -> int:
    match options.command:
        case "preflight":
            return _preflight(paths, control_plane=options.control_plane)
        case "build":
            _build(paths, control_plane=options.control_plane)
        case "build-images":
            for reference in build_images(paths, builder_of(paths)).values():
                print(reference)
        case "clean":
            clean(paths)
        case "engine":
            return _engine(options, paths)
        case "remains":
            print("\n".join(remains(paths)))
        case "exec":
            command = EmbeddedCluster(paths.clusters / cluster_name(options.name, os.environ)).node.entering(_command(options))
            os.execvp(command[0], command)
        case _ if options.control_plane:
            return _on_plane(options, paths)
        case _:
            return _on_cluster(options, cluster_of(options.name, paths=paths), paths)
    return 0


def _on_cluster(options: argparse.Namespace, cluster: Cluster, paths: Paths) -> int:
    match options.command:
        case "up":
            cluster.up()
            _say_how(cluster.kubeconfig, paths)
        case "down":
            cluster.down()
        case "load":
            for reference in cluster.load().values():
                print(reference)
        case "expose":
            print(f"http://127.0.0.1:{cluster.expose(options.service, options.namespace, options.port, options.host_port)}")
        case "status":
            alive = cluster.alive()
            print(f"{options.name} ({cluster.kind}): {'runs' if alive else 'does not run'}")
            return 0 if alive else 1
    return 0


def _on_plane(options: argparse.Namespace, paths: Paths) -> int:
    ensure(paths, "control-plane")
    plane = ControlPlane(paths.clusters / cluster_name(options.name, os.environ), build(KUBE, paths.cache))
    match options.command:
        case "up":
            link_tools(paths.tools, plane.kube)
            plane.up()
            _say_how(plane.kubeconfig, paths)
        case "down":
            plane.down()
        case "status":
            print(f"{options.name} (control plane): {'runs' if plane.alive() else 'does not run'}")
            return 0 if plane.alive() else 1
        case _:
            raise ClusterError(f"a control plane without a node cannot {options.command}", "leave out --control-plane")
    return 0


def _preflight(paths: Paths, *, control_plane: bool) -> int:
    docker = docker_answers()
    kind = "control-plane" if control_plane else chosen_kind(os.environ.get("REFRESH_CLUSTER", ""), docker=docker)
    found = checks(look(paths, docker=docker), kind)
    print("\n".join([f"preflight: {kind}", *lines(found)]))
    if all(check.fine or not check.needed for check in found):
        return 0
    print(f"  → {without()}")
    return 1


def _build(paths: Paths, *, control_plane: bool) -> None:
    if control_plane:
        link_tools(paths.tools, build(KUBE, paths.cache))
    elif chosen_kind(os.environ.get("REFRESH_CLUSTER", ""), docker=docker_answers()) == "embedded":
        build_programs(paths)
    else:
        tools(paths)


def _command(options: argparse.Namespace) -> list[str]:
    """Return the command after `--`. Defaults to a shell."""
    words: list[str] = options.words[1:] if options.words[:1] == ["--"] else options.words
    return words or ["/bin/bash"]


def _engine(options: argparse.Namespace, paths: Paths) -> int:
    engine = Engine(paths)
    match options.action:
        case "up":
            ensure(paths, "embedded", "a Docker engine of its own")
            bring_up(engine, paths)
        case "exec":
            command = engine.in_network(_command(options))
            os.execvpe(command[0], command, engine.environment())
        case "down":
            engine.down()
            _forget_clusters_on(engine, paths)
        case "status":
            print(f"the Docker engine of this checkout {'runs' if engine.alive() else 'does not run'}")
            return 0 if engine.alive() else 1
    return 0


def _forget_clusters_on(engine: Engine, paths: Paths) -> None:
    for home in paths.clusters.glob("*/"):
        cluster = KindCluster(paths, home.name)
        if recorded_kind(home) == cluster.kind and cluster.is_on(engine.host):
            cluster.forget()


def _say_how(kubeconfig: Path, paths: Paths) -> None:
    print(f"export KUBECONFIG={kubeconfig} PATH={paths.tools}:$PATH")


def clean(paths: Paths) -> None:
    """Stop every cluster of this checkout and remove its images and state; the cache shared by checkouts stays."""
    engine = Engine(paths)
    if engine.home.exists():
        print("cluster: removing the Docker engine of this checkout", flush=True)
        engine.remove()
        _forget_clusters_on(engine, paths)
    for home in [each for each in paths.clusters.glob("*") if each.is_dir()]:
        print(f"cluster: removing {home.name}", flush=True)
        Forwards(home, "kubectl").close()
        match recorded_kind(home):
            case "kind":
                KindCluster(paths, home.name).down()
            case "existing":
                ExistingCluster(paths, home.name, os.environ).down()
            case _:
                LocalCluster(paths, home.name).down()  # also ends the processes of a control plane
    for name in kind_clusters(paths):
        print(f"cluster: removing the kind cluster {name}, whose folder was lost", flush=True)
        delete_kind_cluster(paths, name)
    for folder in (paths.clusters, paths.images, paths.tools):
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
