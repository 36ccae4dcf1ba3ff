"""Commands that the guide has people run on their own machine; in a separate module, because dbt parses whole projects for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.guide import ROOT, all_blocks
from support.postgres import Database


@pytest.mark.parametrize("block", all_blocks("console", "run"), ids=str)
def test_commands_on_this_machine_work(fresh_database: Database, block):
    """They run in a checkout, with the warehouse given by PG* variables."""
    environment = {**os.environ, **fresh_database.env, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for command in block.commands:
        done = subprocess.run(["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{block}: {command}\n{done.stdout}{done.stderr}"
