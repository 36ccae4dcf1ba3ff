"""What goes wrong around a run: poolers, silent lines, full disks, other runs, channels and APIs that are down."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from refresh_api.order import ExitCode
from refresh_api.status import Reason
from support.pooler import pooler
from support.runs import Ran
from support.scene import Scene
from support.silent_line import Line


def said(ran: Ran) -> tuple[object, object, str]:
    """Return exit code, reason and message of a run."""
    assert ran.words is not None, ran.output
    return ran.code, ran.words.reason, ran.words.message or ""


@contextmanager
def through(scene: Scene, port: int) -> Iterator[None]:
    """Have runs reach the warehouse by another port."""
    secret = scene.bench.secrets["warehouse"]
    before, secret["port"] = secret["port"], str(port)
    yield
    secret["port"] = before


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_a_pooler_that_shares_sessions_is_named(scene: Scene, tmp_path: Path, mode: str):
    """A lock taken through it would be anybody's. The run ends at once, finally, and says where to point it instead."""
    before = scene.live()
    with pooler(scene.bench.database, tmp_path, mode) as port, through(scene, port):
        ran = scene.bench.run(scene.spec())
    code, reason, message = said(ran)
    assert (code, reason) == (ExitCode.FAILED, Reason.WAREHOUSE_UNREACHABLE), ran.output
    assert "is a connection pooler whose clients share sessions: no run can hold the warehouse there" in message
    assert scene.live() == before


def test_a_pooler_that_keeps_sessions_is_fine(scene: Scene, tmp_path: Path):
    """The positive control of the two above: the same pooler in session mode."""
    with pooler(scene.bench.database, tmp_path, "session") as port, through(scene, port):
        ran = scene.bench.run(scene.spec())
    assert ran.code == 0, ran.output
    assert scene.live() == {scene.generation}


@pytest.mark.parametrize("step", ["facts", "validation"])
def test_a_line_that_falls_silent_does_not_hold_the_end_up(scene: Scene, step: str):
    """Connected still, but no answer: told to end, the run ends within a pod's grace; then PostgreSQL has ended what it did."""
    server = scene.bench.database.server
    with Line(server.host, server.port) as line:
        with through(scene, line.port):
            process = scene.start_until(step, f"fault-silent-{step}")
        line.freeze()
        process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        ran = scene.bench.finish(process, within=60)
        assert time.monotonic() - started < 28
        assert said(ran)[:2] == (ExitCode.INTERRUPTED, Reason.INTERRUPTED), ran.output
    scene.wake()
    assert scene.again(f"fault-silent-{step}", failures=0).code == 0
    scene.assert_all_well_after(f"fault-silent-{step}", rows=1)
