"""The Dockerfiles: their base, what they install, and that no variable adds code before ours."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "Dockerfile", ROOT / "examples/Dockerfile"]
TEXTS = {str(file.relative_to(ROOT)): re.sub(r"\\\n", " ", file.read_text()) for file in FILES}
ISOLATED = "-IBu"


def test_both_stand_on_one_base_by_its_digest():
    """A tag may point to another image next month."""
    bases = {re.findall(r"^ARG BASE_IMAGE=(.*)$", text, re.MULTILINE)[0] for text in TEXTS.values()}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.13-slim@sha256:[0-9a-f]{64}", bases.pop())


@pytest.mark.parametrize("name", TEXTS)
def test_third_parties_come_as_wheels_by_their_hashes(name):
    """A source distribution executes code when it is installed. Our own wheels are installed from a folder, without an index."""
    installs = [line for line in TEXTS[name].split("&&") if re.search(r"\bpip .*\binstall\b|pip install", line)]
    third = [line for line in installs if "-r requirements/" in line]
    assert len(third) >= 3
    assert [line for line in third if "--require-hashes --only-binary :all:" not in line] == []
    assert [line for line in installs if line not in third and "--no-index" not in line] == []


def test_so_does_the_development_environment():
    """Installed by pip or by uv."""
    installs = [line for line in (ROOT / "scripts/setup").read_text().splitlines() if "pip install" in line and "-e crds" not in line]
    assert len(installs) == 3
    assert [line for line in installs if "--require-hashes --only-binary :all:" not in line] == []


@pytest.mark.parametrize("name", TEXTS)
def test_a_failure_within_a_pipe_fails_the_build(name):
    """Set in each stage that starts from the base; others inherit it."""
    begins = re.findall(r"^FROM \$\{BASE_IMAGE\}.*\n(.*)$", TEXTS[name], re.MULTILINE)
    assert begins
    after = re.findall(r"^FROM \$\{BASE_IMAGE\}[^\n]*\n(?:ENV[^\n]*\n|#[^\n]*\n)*SHELL (.*)$", TEXTS[name], re.MULTILINE)
    assert after == ['["/bin/bash", "-euo", "pipefail", "-c"]'] * len(begins)


def test_two_builds_are_the_same():
    """Bytecode depends on the order of sets, and a wheel on the time of its build, unless both are fixed."""
    (environment,) = re.findall(r"^ENV (PIP_NO_CACHE_DIR.*)$", TEXTS["Dockerfile"], re.MULTILINE)
    assert {"PYTHONHASHSEED=0", "SOURCE_DATE_EPOCH=315532800"} <= set(environment.split())
    assert re.findall(r"^RUN (?:(?!PYTHONHASHSEED).)*xargs python3 -m compileall", TEXTS["Dockerfile"], re.MULTILINE) == []


PRACTICES = {
    "ADD fetches and unpacks; COPY does neither (DL3020)": r"^ADD ",
    "a stage of this file or a pinned base, never a moving tag (DL3006, DL3007)": r"^FROM (?!\$\{BASE_IMAGE\}|[a-z-]+( AS [a-z-]+)?$)",
    "sudo has unpredictable effects (DL3004)": r"\bsudo\b",
    "apt-get has a stable command line, and apt has none (DL3027)": r"\bapt (install|update)\b",
    "the working directory is set by WORKDIR (DL3003)": r"^RUN cd ",
    "an entry point in a shell gets no signals (DL3025)": r"^(CMD|ENTRYPOINT) (?!\[)",
}
"""Rules of hadolint that concern these files, by what they look for."""


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("practice", PRACTICES)
def test_it_follows_the_practices_of_hadolint(name, practice):
    """That program is no package of an index that this project uses, so its rules are here."""
    assert re.findall(PRACTICES[practice], TEXTS[name], re.MULTILINE) == []


def test_each_practice_is_found_where_it_is_broken():
    """The control: a Dockerfile with all these mistakes."""
    text = "FROM debian:latest\nADD a b\nRUN cd /tmp\nRUN sudo x && apt install y\nCMD x\n"
    assert [practice for practice, pattern in PRACTICES.items() if not re.search(pattern, text, re.MULTILINE)] == []


@pytest.mark.parametrize("name", TEXTS)
def test_packages_of_debian_come_without_recommendations_and_leave_no_lists(name):
    """Rules DL3009 and DL3015 of hadolint."""
    for line in re.findall(r"^RUN .*apt-get install.*$", TEXTS[name], re.MULTILINE):
        assert "--no-install-recommends" in line
        assert "rm -rf /var/lib/apt/lists/*" in line


@pytest.mark.parametrize("name", TEXTS)
def test_the_last_user_of_a_stage_that_starts_is_not_root(name):
    """Rule DL3002 of hadolint, for each stage with an entry point."""
    stages = [stage for stage in re.split(r"^FROM ", TEXTS[name], flags=re.MULTILINE) if "\nENTRYPOINT" in stage]
    assert stages
    assert [re.findall(r"^USER (.*)$", stage, re.MULTILINE)[-1] for stage in stages] == ["65532:65532"] * len(stages)


@pytest.mark.parametrize("name", TEXTS)
def test_every_program_is_isolated(name):
    """By its entry point, and by its first line where it is called by name."""
    entries = re.findall(r"^ENTRYPOINT (.*)$", TEXTS[name], re.MULTILINE)
    assert entries
    assert [each for each in entries if not each.startswith(f'["/opt/venv/bin/python", "{ISOLATED}", ')] == []
    assert TEXTS[name].count(f"#!/opt/venv/bin/python {ISOLATED}") == len(entries)


def test_isolated_no_variable_adds_code(tmp_path):
    """PYTHONPATH and files of the working directory are ignored; the control is the same call without isolation."""
    for module in ("sitecustomize", "json", "refresh_runner"):
        (tmp_path / f"{module}.py").write_text("print('code of others')\n")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path), "PYTHONSTARTUP": str(tmp_path / "json.py")}

    def said(*options: str) -> str:
        command = [sys.executable, *options, str(Path(sys.executable).with_name("refresh-runner")), "--help"]
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
        return done.stdout + done.stderr

    assert "code of others" in said()
    isolated = said(ISOLATED)
    assert "code of others" not in isolated
    assert "usage: refresh-runner" in isolated
