"""Builds the page of the tests of a refresh: the results of each over the last runs, those that fail first."""

from collections.abc import Sequence

from refresh_api.model import Model, Time
from refresh_page.kube.models import Ref, Refresh
from refresh_page.runlog.verdict_models import TESTS_READ, VerdictRow, VerdictRows
from refresh_page.views.affected import FAILED


class Verdicts(Model):
    """A test over the last runs."""

    id: str
    test: str
    states: tuple[str | None, ...]
    """Its state in each run, oldest first; unset in a run that did not execute it."""
    failed: int = 0
    """Number of runs in which it failed, or could not be executed."""
    warned: int = 0
    last_state: str
    """In the last run that executed it."""
    last_bad_run: str | None = None
    """The last run in which it failed or warned."""

    @property
    def missing(self) -> int:
        """The number of runs that did not execute it."""
        return self.states.count(None)


class VerdictRun(Model):
    """One of the runs."""

    run: str
    start_time: Time


class RefreshTests(Model):
    """The page of the tests of a refresh."""

    namespace: str
    name: str
    title: str
    runs: tuple[VerdictRun, ...] = ()
    """Oldest first."""
    failing: int = 0
    """Number of tests that failed when they were last executed, whatever is searched for."""
    total: int = 0
    """Number of tests, whatever is searched for."""
    is_complete: bool = True
    """Whether all tests were read."""
    tests: tuple[Verdicts, ...] = ()
    """Those that fail first, then those that warn, then those that did so most often."""


def verdicts_of(ref: Ref, refresh: Refresh | None, rows: VerdictRows, search: str = "") -> RefreshTests:
    """Return the tests of a refresh that have each word of the search in their IDs."""
    runs = [each.run for each in reversed(rows.runs)]
    words = search.lower().split()
    every = [_verdicts(row, runs) for row in rows.tests]
    found = [each for each in every if all(word in each.id.lower() for word in words)]
    found.sort(
        key=lambda each: (each.last_state not in FAILED, each.last_state != "warned", -each.failed, -each.warned, each.test, each.id)
    )
    return RefreshTests(
        namespace=ref.namespace,
        name=ref.name,
        title=refresh.title if refresh else ref.name,
        runs=tuple(VerdictRun(run=each.run, start_time=each.started_at) for each in reversed(rows.runs)),
        failing=sum(each.last_state in FAILED for each in every),
        total=len(every),
        is_complete=len(every) < TESTS_READ,
        tests=tuple(found),
    )


def _verdicts(row: VerdictRow, runs: Sequence[str]) -> Verdicts:
    by_run = dict(zip(row.runs, row.states, strict=True))
    states = tuple(by_run.get(run) for run in runs)
    executed = [state for state in states if state is not None]
    bad = [run for run in runs if by_run.get(run) in {*FAILED, "warned"}]
    return Verdicts(
        id=row.node_id,
        test=row.node,
        states=states,
        failed=sum(state in FAILED for state in executed),
        warned=executed.count("warned"),
        last_state=executed[-1] if executed else "",
        last_bad_run=bad[-1] if bad else None,
    )
