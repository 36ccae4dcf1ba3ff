"""Intended differences between a refresh and plain dbt. `scripts/differences.py` generates the guide's table from them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Publish(StrEnum):
    """The values of `publish` with which a refresh differs."""

    SWAP = "`Swap`"
    BOTH = "`Direct`, `Swap`"


@dataclass(frozen=True)
class Difference:
    """A row of the table: what a project does, how a refresh differs, and what to do instead."""

    project: str
    """Completes the sentence "A project that …"."""
    plain: str
    refresh: str
    instead: str
    publish: Publish = Publish.SWAP

    @property
    def row(self) -> tuple[str, ...]:
        """Return the cells of the row."""
        return self.project, self.publish, self.plain, self.refresh, self.instead


HEAD: Final = ("A project that …", "with `publish`", "plain dbt", "a refresh", "what to do")

LIVE_NAME: Final = Difference(
    "names a listed table by anything but `ref()` and `this`: its name in SQL, a source, a macro with its name",
    "reads or changes the live table",
    "is refused: it would use the data of the previous run",
    "use `ref()`, or `this` in the model's own post-hooks",
)
PRE_HOOK: Final = Difference(
    "has a pre-hook with `this` on a listed table",
    "`this` is the live table",
    "is refused: the new table does not exist yet",
    "use a post-hook",
)
FUNCTION: Final = Difference(
    "has a function that reads a listed table",
    "the function reads the live table",
    "is refused: the function would read the staging table after the publish",
    "have the function read a table that is not listed, or set `publish: Direct`",
)
NAME_AS_TEXT: Final = Difference(
    "passes a listed table's name as text to a function of its own, or makes another name of it",
    "the text is the live name",
    "is refused: the text could be data, or the name of a table",
    "set `publish: Direct`",
)
STORED_VIEW: Final = Difference(
    "stores the failures of a listed table's tests as a view",
    "the view reads the live table",
    "is refused: the view would keep the staging table from being published",
    "`store_failures_as: table`",
)
NEVER_BUILT: Final = Difference(
    "dbt cannot build as a whole: a Python model, a `require-dbt-version` without this version, names that collide at 63 bytes",
    "fails, in part after other models are built",
    "is refused: nothing is built",
    "change the model, the version or the name",
    Publish.BOTH,
)
SET_BY_HAND: Final = Difference(
    "builds a listed table on which privileges or storage parameters were set by hand",
    "each run loses them",
    "keeps them",
    "declare them in the project: `grants`, post-hooks",
)
SELECTION: Final = Difference(
    "reads the selection in `invocation_args_dict`",
    "what the command line selects",
    "the nodes of each command, by name",
    "use `selected_resources`",
    Publish.BOTH,
)
HOOKS_OF_A_RESUMED_RUN: Final = Difference(
    "adds rows in `on-run-start` or `on-run-end`, when a run is resumed",
    "`dbt retry` runs the hooks again",
    "each attempt runs the hooks; `results` are those of the attempt",
    "write hooks that can run twice",
    Publish.BOTH,
)
FAILING_TESTS: Final = Difference(
    "has failing tests, or warnings that are errors, when `tests.failurePolicy` is `Warn`",
    "exits with 1",
    "exits with 0; the outcome is `SucceededWithWarnings`",
    "`failurePolicy: Fail`",
    Publish.BOTH,
)
EXIT_CODE: Final = Difference(
    "fails outside of its nodes, as by a hook that does not compile",
    "exits with 2",
    "exits with 1: 2 is for an invalid command line",
    "nothing",
    Publish.BOTH,
)

DIFFERENCES: Final = (
    LIVE_NAME,
    PRE_HOOK,
    FUNCTION,
    NAME_AS_TEXT,
    STORED_VIEW,
    NEVER_BUILT,
    SET_BY_HAND,
    SELECTION,
    HOOKS_OF_A_RESUMED_RUN,
    FAILING_TESTS,
    EXIT_CODE,
)
"""In the order of the table."""
