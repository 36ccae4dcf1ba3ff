"""Makes dbt ask, for each unit test that it has compiled with its fixtures, whether an earlier verdict is reused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from refresh_runner.dbt.engine import Candidate, NodeReuse, Verdict
from refresh_runner.dbt.patches.patch import Patch, Symbol, patched

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest
    from dbt.contracts.graph.nodes import UnitTestDefinition, UnitTestNode
    from dbt.task.test import TestRunner, UnitTestResultData

_MODULE: Final = "dbt.task.test"
PATCH: Final = Patch(
    name="unit_test_reuse",
    purpose="Unit tests whose earlier verdicts are still right are not run again.",
    symbols=(
        Symbol(_MODULE, "TestRunner.execute_unit_test", "self, unit_test_def, manifest"),
        Symbol(_MODULE, "TestRunner.build_unit_test_manifest_from_test", "self, unit_test_def, manifest"),
        Symbol(_MODULE, "UnitTestResultData", "should_error, adapter_response, diff"),
        Symbol("dbt.compilation", "Compiler.compile_node", "self, node, manifest, extra_context, write, split_suffix"),
    ),
)


@dataclass(frozen=True)
class _Compiled:
    """Stands for dbt's compiler once a unit test is compiled: dbt would compile it again."""

    node: UnitTestNode

    def compile_node(self, _node: UnitTestNode, _manifest: Manifest, _context: object) -> UnitTestNode:
        return self.node


@contextmanager
def asking_unit_tests(reuse: NodeReuse | None, describe: Callable[[UnitTestNode], Candidate]) -> Iterator[None]:
    """Make commands inside the block ask for each unit test; None, or the patch switched off, to run all."""
    if reuse is None or not PATCH.is_on:
        yield
        return
    from dbt.contracts.graph.nodes import UnitTestNode
    from dbt.task.test import TestRunner, UnitTestResultData

    execute: Callable[..., tuple[UnitTestNode, UnitTestResultData]] = TestRunner.execute_unit_test

    def execute_unless_reused(
        runner: TestRunner, unit_test_def: UnitTestDefinition, manifest: Manifest
    ) -> tuple[UnitTestNode, UnitTestResultData]:
        own = runner.build_unit_test_manifest_from_test(unit_test_def, manifest)
        test = own.nodes[unit_test_def.unique_id]
        node = runner.compiler.compile_node(test, own, {}) if isinstance(test, UnitTestNode) else test
        if not isinstance(node, UnitTestNode):
            return execute(runner, unit_test_def, manifest)
        candidate = describe(node)
        if known := reuse.verdict(candidate):
            return node, UnitTestResultData(known.should_error, {})
        # The runner is that of this test alone.
        with patched(runner, compiler=_Compiled(node), build_unit_test_manifest_from_test=lambda _test, _manifest: own):
            found, result = execute(runner, unit_test_def, manifest)
        reuse.tested(candidate, Verdict(int(result.should_error), should_warn=False, should_error=result.should_error))
        return found, result

    with patched(TestRunner, execute_unit_test=execute_unless_reused):
        yield
