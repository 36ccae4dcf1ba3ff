"""Errors of a dbt command beyond those of the selected nodes."""

from __future__ import annotations

from typing import Any

import pytest
from dbt.artifacts.schemas.results import NodeStatus
from dbt.artifacts.schemas.run import RunExecutionResult, RunResult
from dbt.cli.main import dbtRunnerResult
from dbt.contracts.graph.nodes import ModelNode
from dbt_common.exceptions import DbtRuntimeError

from refresh_runner.dbt.in_process import outcome_of
from refresh_runner.dbt.patches.connections import Connections
from refresh_runner.dbt.results import command_error
from refresh_runner.model.step_results import Node

ASKED = [Node("model.petit.a", "a")]


def model(name: str, kind: str = "model") -> Any:
    node = ModelNode.__new__(ModelNode)
    node.unique_id, node.name, node.resource_type = f"{kind}.petit.{name}", name, kind  # type: ignore[assignment]
    return node


def result(name: str, status: str, message: str | None = None, kind: str = "model") -> RunResult:
    return RunResult(NodeStatus(status), [], "Thread-1", 0, {}, message, None, model(name, kind), batch_results=None)  # type: ignore[arg-type]


def outcome(*results: RunResult, success: bool = False, error: BaseException | None = None) -> dbtRunnerResult:
    whole = RunExecutionResult.__new__(RunExecutionResult)
    whole.results = list(results)
    return dbtRunnerResult(success, error, None if error else whole)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (outcome(result("a", "success"), success=True), None),
        (outcome(result("a", "error", "bad SQL")), None),
        (outcome(result("a", "success"), result("hook", "success", kind="operation"), success=True), None),
        (outcome(result("a", "success"), result("hook", "error", "no such\nrole", "operation")), "no such role"),
        (outcome(result("a", "success"), result("hook", "skipped", kind="operation")), "hook: skipped"),
        (outcome(result("a", "success"), result("b", "error", "bad SQL")), "bad SQL"),
        (
            outcome(result("a", "success"), result("b", "success"), success=True),
            "dbt ran model.petit.b, which was not selected",
        ),
        (outcome(success=True), "dbt neither ran nor skipped model.petit.a, which was selected"),
        (outcome(result("a", "skipped")), None),
        (outcome(result("a", "success")), "dbt failed without naming an error"),
        (outcome(error=DbtRuntimeError("no connection")), "Runtime Error no connection"),
        (dbtRunnerResult(False, None, result("a", "fail", "stopped at the first")), "stopped at the first"),  # type: ignore[arg-type]
    ],
)
def test_an_error_of_dbt_that_no_selected_node_shows_fails_the_command(found: dbtRunnerResult, expected: str | None):
    """A run that selected one node too many or too few would otherwise look successful."""
    error = command_error(ASKED, outcome_of(found, Connections()))
    assert (error.message if error else None) == expected
