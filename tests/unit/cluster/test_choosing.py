"""Which kind of cluster is chosen, and what the machine needs for it."""

from dataclasses import replace
from pathlib import Path

import pytest

from cluster.docker import DockerCommand, docker_answers, docker_command, remedy_for_buildkit, with_buildkit
from cluster.errors import ClusterError
from cluster.existing import image_references
from cluster.preflight import Check, Machine, checks, lines
from cluster.seam import chosen_kind, cluster_of

GOOD = Machine(
    system="Linux",
    root=True,
    capabilities=(1 << 41) - 1,
    cgroup="v1",
    disk_gb=50,
    memory_gb=8,
    go=(1, 26),
    missing=(),
    apt=True,
    docker=False,
    docker_command=DockerCommand((28, 2), buildx=True),
    taken_ports=(),
)


def verdict(machine: Machine, name: str, kind: str = "embedded") -> Check:
    """Return the check of that name."""
    return next(check for check in checks(machine, kind) if check.name == name)


def stops(machine: Machine, kind: str = "embedded") -> list[str]:
    """Return the names of failed checks that prevent this kind of cluster."""
    return [check.name for check in checks(machine, kind) if check.needed and not check.fine]


@pytest.mark.parametrize(
    ("wish", "docker", "kind"),
    [("", False, "embedded"), ("", True, "kind"), ("embedded", True, "embedded"), ("existing", False, "existing")],
)
def test_a_wish_wins_over_what_the_machine_offers(wish: str, docker: bool, kind: str) -> None:
    """REFRESH_CLUSTER, then Docker, then the embedded cluster."""
    assert chosen_kind(wish, docker=docker) == kind


def test_an_unknown_wish_names_the_known_ones() -> None:
    """A typo must not silently give another kind of cluster."""
    with pytest.raises(ClusterError, match="embedded, kind, existing"):
        chosen_kind("knid", docker=True)


@pytest.mark.parametrize("name", ["../demo", "a/b", "", "x" * 31])
def test_a_name_that_could_leave_the_state_folder_is_refused(name: str) -> None:
    """Names become folders."""
    with pytest.raises(ClusterError, match="not a valid name"):
        cluster_of(name, {"REFRESH_CLUSTER": "embedded", "HOME": "/"})


def test_a_machine_that_has_all_is_fine() -> None:
    """The positive control of the checks below."""
    assert all(check.fine for check in checks(GOOD, "embedded"))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"system": "Darwin"}, "Linux"),
        ({"root": False}, "root"),
        ({"capabilities": ((1 << 41) - 1) & ~(1 << 21)}, "capabilities"),
        ({"cgroup": ""}, "cgroups"),
    ],
)
def test_what_the_node_can_not_do_without_stops_it(change: dict[str, object], name: str) -> None:
    """One requirement is missing, and it alone is named."""
    assert stops(replace(GOOD, **change)) == [name]  # type: ignore[arg-type]  # the fields' types differ


def test_the_control_plane_alone_needs_no_privileges() -> None:
    """Neither root, capabilities, cgroups nor packages are required."""
    poor = replace(GOOD, root=False, capabilities=0, cgroup="", missing=("runc",), apt=False)
    assert stops(poor, "control-plane") == []


def test_missing_packages_stop_only_a_machine_that_can_not_install_them() -> None:
    """apt-get installs them; without it the message names them."""
    assert stops(replace(GOOD, missing=("runc",))) == []
    assert stops(replace(GOOD, missing=("runc",), apt=False)) == ["packages"]
    assert "apt-get install runc" in verdict(replace(GOOD, missing=("runc",), apt=False), "packages").remedy


def test_a_taken_port_is_said_before_the_demo_starts_and_how_to_name_another() -> None:
    """It prevents nothing, since tests do not need the port."""
    check = verdict(replace(GOOD, taken_ports=("4200",)), "ports")
    assert (check.fine, check.needed, check.remedy) == (False, False, "API_PORT, PAGE_PORT and GIT_PORT name others")


@pytest.mark.parametrize(
    ("version", "buildx", "remedy"),
    [
        ((18, 6), False, "install Docker 23"),
        ((18, 9), False, ""),
        ((20, 10), False, ""),
        ((22, 6), False, ""),
        ((23, 0), False, "docker-buildx"),
        ((28, 2), False, "docker-buildx"),
        ((28, 2), True, ""),
        (None, False, ""),
    ],
)
def test_a_docker_that_can_not_build_the_images_is_named_before_a_cluster_is_made(
    version: tuple[int, int] | None, buildx: bool, remedy: str
) -> None:
    """The Dockerfiles mount secrets, which only BuildKit can; the build would fail after the cluster was created."""
    command = DockerCommand(version, buildx)
    assert bool(remedy) == bool(remedy_for_buildkit(command))
    assert remedy in remedy_for_buildkit(command)
    machine = replace(GOOD, docker=True, docker_command=command)
    assert stops(machine, "kind") == (["BuildKit"] if remedy else [])
    assert "BuildKit" not in stops(machine)


_DOCKER = """#!/bin/sh
case "$*" in
  --version) echo "Docker version 28.2.2, build e6534b4" ;;
  "buildx version") exit {buildx} ;;
  *) exit 1 ;;
esac
"""


@pytest.mark.parametrize(("buildx", "found"), [(0, True), (1, False)])
def test_version_and_plugin_are_read_from_what_docker_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, buildx: int, found: bool
) -> None:
    """A script answers as the command line does with and without the plugin, and without an engine."""
    (tmp_path / "docker").write_text(_DOCKER.format(buildx=buildx))
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert docker_command() == DockerCommand((28, 2), buildx=found)
    assert not docker_answers()


def test_builds_switch_buildkit_on_also_where_the_user_switched_it_off() -> None:
    """Docker before 23 builds without it otherwise."""
    assert with_buildkit({"DOCKER_BUILDKIT": "0", "HOME": "/"}) == {"DOCKER_BUILDKIT": "1", "HOME": "/"}


@pytest.mark.parametrize(("go", "fine"), [(None, False), ((1, 25), False), ((1, 26), True), ((2, 0), True)])
def test_an_old_go_only_means_that_a_new_one_is_fetched(go: tuple[int, int] | None, fine: bool) -> None:
    """A newer toolchain is downloaded instead."""
    check = verdict(replace(GOOD, go=go), "Go")
    assert check.fine is fine
    assert not check.needed


def test_a_line_says_what_was_found_and_what_to_do() -> None:
    """The remedy is printed only with what is missing."""
    assert lines([Check("root", False, "no", "run as root"), Check("memory", True, "8 GB", "more")]) == [
        "  ✗ root: no – run as root",
        "  ✓ memory: 8 GB",
    ]


def test_an_existing_cluster_wants_all_images_named() -> None:
    """The message names the variables that are not set."""
    with pytest.raises(ClusterError, match="REFRESH_IMAGE_RUNNER, REFRESH_IMAGE_PAGE, REFRESH_IMAGE_EXAMPLES not set"):
        image_references({"REFRESH_IMAGE_OPERATOR": "registry/operator:1"})


def test_nothing_of_an_unbuilt_cluster_is_touched_by_asking_for_it(tmp_path: Path) -> None:
    """Constructing a cluster creates no folder."""
    from cluster.paths import paths_of

    cluster_of("demo", {"REFRESH_CLUSTER": "embedded"}, paths_of({"XDG_CACHE_HOME": str(tmp_path / "cache")}, tmp_path))
    assert list(tmp_path.iterdir()) == []
