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
