"""Sends the events of a finished run. Nothing here fails a run, or keeps its pod longer than the timeout."""

from __future__ import annotations

import time
from collections.abc import Mapping
from importlib.metadata import version

import httpx

from refresh_api.lineage import TIMEOUT, Lineage
from refresh_api.status import Run
from refresh_notify.calls import Caller, proxy_for
from refresh_runner.core.after_run import NotDoneError, Work, calls_to
from refresh_runner.core.errors import RunFailedError
from refresh_runner.core.secrets import header_value
from refresh_runner.lineage.events import DescribedRun
from refresh_runner.model.plan import Plan
from refresh_runner.postgres.catalog import Relation
from refresh_runner.postgres.columns import columns_of
from refresh_runner.postgres.connection import WarehouseConnection
from refresh_runner.postgres.conninfo import ConnectionInfo
from refresh_runner.report.step_times import StepTimes
from refresh_runner.run.services import Services


class Describer:
    """Follows one run, and sends its events once it has ended."""

    def __init__(self, plan: Plan, services: Services, access: ConnectionInfo) -> None:
        self._plan = plan
        self._services = services
        self._warehouse = WarehouseConnection(access, f"{plan.attempt.run_id} lineage", services.clock)
        self._times = StepTimes()

    def update(self, run: Run) -> None:
        """Note a new state of the run."""
        self._times.update(run)

    def work(self) -> Work | None:
        """Return the work of sending the events; None if another attempt follows."""
        run, lineage = self._times.run, self._plan.run_request.spec.lineage
        if run is None or run.outcome is None or lineage is None:
            return None
        return Work("lineage", TIMEOUT, lambda: self._send(lineage, run), self._warehouse.abort)

    def _send(self, lineage: Lineage, run: Run) -> str:
        try:
            authorization, problem = header_value(self._services.secrets, lineage.authorization_secret_ref)
            if problem:
                raise NotDoneError(f"not sent: {problem}")
            return f"{send(lineage, authorization, self._described(run))} events sent"
        finally:
            self._warehouse.close()

    def _described(self, run: Run) -> DescribedRun:
        dbt, access = self._services.dbt, self._warehouse.info
        spec, refresh = self._plan.run_request.spec, self._plan.run_request.refresh
        found = dbt.lineage()
        return DescribedRun(
            namespace=refresh.namespace,
            refresh=refresh.name,
            run=run,
            datasets=f"postgres://{access.host}:{access.port}",
            database=access.dbname,
            ends=self._times.ends,
            nodes=found.nodes,
            assertions=found.assertions,
            columns=self._columns([node.relation for node in found.nodes if node.succeeded]),
            published=frozenset(mart.relation for mart in spec.validation.marts) if spec.validation else frozenset(),
            product=version("refresh-runner"),
            engine=version("dbt-core"),
            redact=self._services.redact,
        )

    def _columns(self, relations: list[Relation]) -> Mapping[Relation, list[tuple[str, str]]]:
        """Return the columns of what was built; nothing if the warehouse cannot be reached, so that the events are sent without them."""
        if not relations:
            return {}
        try:
            with self._warehouse.session() as connection:
                return columns_of(connection, relations)
        except RunFailedError:
            return {}


def send(lineage: Lineage, authorization: str | None, run: DescribedRun) -> int:
    """Send the events one after the other; return their number. Raise NotDoneError at the first that the server does not accept."""
    ends = time.monotonic() + TIMEOUT
    headers = {"Authorization": authorization} if authorization else {}
    events = list(run.events())
    sent = 0

    def progress() -> str:
        return f"; {sent} of {len(events)} events were sent"

    with calls_to("the server", progress), Caller(lineage.url, headers, proxy=proxy_for(httpx.URL(lineage.url), TIMEOUT)) as caller:
        for event in events:
            status = caller.call("POST", lineage.url, ends - time.monotonic(), content=event, to_end=False).status
            if not httpx.codes.is_success(status):
                raise NotDoneError(f"the server answered {status}{progress()}")
            sent += 1
    return sent
