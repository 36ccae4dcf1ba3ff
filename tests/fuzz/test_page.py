"""The page with any refresh and any rows of the run log: every path answers, and no text of theirs becomes markup."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.conftest import CASES
from fuzz.strategies import DATES, ESCAPE, GOOD, MARK, RUN, is_plain, refreshes, within
from refresh_api.objects import object_of
from refresh_page.kube.models import Ref, refresh_of
from refresh_page.kube.store import Store
from refresh_page.runlog.comparison_models import ComparedRunRow, ComparisonRows, MartPairRow, NodePairRow
from refresh_page.runlog.history import RunLogReader, RunLogResult
from refresh_page.runlog.models import ArtifactRow, MartRow, NodeRow, RefreshRows, RunLogState, RunRow, RunRows, StepRow
from refresh_page.runlog.node_models import NeighbourRow, NodeMartRow, NodeRows, NodeRunRow
from refresh_page.runlog.project import Project, project_of
from refresh_page.runlog.repository import ArtifactContent
from refresh_page.runlog.run_results import Statement, compiled_sql
from refresh_page.runlog.verdict_models import VerdictRow, VerdictRows, VerdictRunRow
from refresh_page.web.app import application
from refresh_page.web.handlers import Handlers
from refresh_page.web.sse import SseStreams
from refresh_page.web.templates import Templates
from support.snapshots import NOW

PAGES = Templates("")
HERE = "/refreshes/default/phase2"
PATHS = ("/", "/calendar", HERE, f"{HERE}/runs/{RUN}", f"{HERE}/nodes/model.p.a", f"{HERE}/compare", f"{HERE}/tests")
texts = st.sampled_from(("", "x", MARK, ESCAPE, MARK + ESCAPE, "Failed", "Succeeded", "failed", "marts", "\x00", "x" * 4000, RUN))
moments = (
    st.sampled_from([datetime.fromisoformat(each).astimezone(UTC) for each in DATES if each.startswith(("19", "20"))])
    | st.just(datetime.max.replace(tzinfo=UTC))
    | st.just(datetime.min.replace(tzinfo=UTC))
)
numbers = st.sampled_from((0, 1, 10, 2**31, 2**62))
seconds = st.none() | st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12)
counts = st.none() | numbers
maybe = st.none() | texts
runs = st.builds(
    RunRow, st.just(RUN), texts, numbers, numbers, maybe, texts, maybe, maybe, maybe, maybe, moments, moments, st.none() | moments
)
steps = st.builds(StepRow, st.just(RUN), texts, numbers, texts, numbers, st.none() | moments, seconds, st.none() | texts)
nodes = st.builds(
    NodeRow, texts, texts, texts, texts, seconds, st.none() | texts, st.none() | texts, moments, st.none() | st.lists(texts, max_size=4)
)
marts = st.builds(
    MartRow,
    st.just(RUN),
    texts,
    st.none() | numbers,
    st.dictionaries(texts, numbers),
    st.none() | numbers,
    st.none() | st.dates(),
    texts,
    st.none() | texts,
)
files = st.builds(ArtifactRow, texts, texts, numbers)


class Told(RunLogReader):
    """A run log with the rows of a test."""

    def __init__(self, rows: RunRows, files: dict[str, str]) -> None:
        super().__init__(None)
        self._rows, self._files = rows, files

    async def refresh_rows(self, _ref: Ref) -> RunLogResult[RefreshRows]:
        """Return the run."""
        return RunLogResult(RefreshRows((self._rows.run,), self._rows.steps, self._rows.marts), RunLogState.AVAILABLE)

    async def run_rows(self, _ref: Ref, _run: str) -> tuple[RunLogResult[RunRows], dict[str, str]]:
        """Return the run."""
        return RunLogResult(self._rows, RunLogState.AVAILABLE), self._files

    async def node_runs(self, _ref: Ref, _node: str) -> RunLogResult[tuple[NodeRunRow, ...]]:
        """Return each node as a run of one node."""
        run = self._rows.run
        of_run = (run.run, run.outcome, run.started_at, run.revision, run.project)
        found = (
            NodeRunRow(*of_run, each.node, each.step, each.state, each.seconds, each.sqlstate, each.message, None, each.parents)
            for each in self._rows.nodes
        )
        return RunLogResult(tuple(found), RunLogState.AVAILABLE)

    async def node_rows(self, _node: str, _runs: Sequence[str], _ids: Sequence[str], _relation: str | None) -> NodeRows:
        """Return all nodes and marts."""
        nodes = tuple(NeighbourRow(each.node_id, each.node, each.state, each.is_test) for each in self._rows.nodes)
        return NodeRows(nodes, tuple(NodeMartRow(each.run, each.rows, each.verdict) for each in self._rows.marts))

    async def compiled_sql(self, _ref: Ref, _run: str, node: str) -> RunLogResult[Statement]:
        """Return the artifact with the log as SQL."""
        content = json.dumps({"results": [{"unique_id": node, "compiled_code": self._files.get("run.log", "")}]})
        return RunLogResult(compiled_sql(content.encode(), node), RunLogState.AVAILABLE)

    async def project(self, _id: str | None) -> Project | None:
        """Return a project whose texts are those of the nodes."""
        reads = [each.node_id for each in self._rows.nodes]
        told = [
            {"unique_id": each.node_id, "name": each.node, "description": each.message or "", "reads": reads}
            | {"relation": each.step, "columns": [{"name": each.node, "type": each.state, "description": each.step}]}
            for each in self._rows.nodes
        ]
        shown = [
            {"unique_id": "e", "name": each.node, "owner": each.message, "url": each.message, "reads": reads} for each in self._rows.nodes
        ]
        return project_of(json.dumps({"nodes": told, "exposures": shown}).encode())

    async def comparison_rows(self, _ref: Ref, _before: str, _after: str) -> RunLogResult[ComparisonRows]:
        """Return the run compared with itself, as if it had nodes and marts in one of both only."""
        run, node_rows, mart_rows = self._rows.run, self._rows.nodes, self._rows.marts
        one = ComparedRunRow(run.run, run.mode, run.outcome, run.attempt, run.marts, run.started_at, run.ended_at, None, "", run.message)
        nodes = [NodePairRow(each.node_id, each.node, None, each.state, None, each.seconds) for each in node_rows]
        nodes += [NodePairRow(each.node_id, each.node, each.state, each.step, each.seconds, each.seconds) for each in node_rows]
        marts = tuple(MartPairRow(each.relation, each.verdict, None, each.rows, each.rows) for each in mart_rows)
        variables = {each.relation: each.rows for each in mart_rows}
        other = dataclasses.replace(one, mode=run.phase, revision=run.revision, variables=variables)
        return RunLogResult(ComparisonRows(one, other, tuple(nodes), marts), RunLogState.AVAILABLE)

    async def verdict_rows(self, _ref: Ref) -> RunLogResult[VerdictRows]:
        """Return each node as a test."""
        tests = tuple(VerdictRow(each.node_id, each.node, [RUN], [each.state]) for each in self._rows.nodes)
        return RunLogResult(VerdictRows((VerdictRunRow(RUN, self._rows.run.started_at),), tests), RunLogState.AVAILABLE)

    async def content(self, _ref: Ref, _run: str, _name: str) -> RunLogResult[ArtifactContent]:
        """Return an artifact's content."""
        return RunLogResult(ArtifactContent("text/html", MARK.encode()), RunLogState.AVAILABLE)


async def answers(store: Store, past: RunLogReader) -> dict[str, httpx.Response]:
    site = Handlers(store, past, PAGES, SseStreams(store), lambda: NOW)
    transport = httpx.ASGITransport(app=application(site))
    found = {}
    async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
        for path in PATHS:
            for language in ("en", "fr"):
                found[f"{path} {language}"] = await client.get(path, headers={"Accept-Language": language})
            found[f"{path} json"] = await client.get(path, headers={"Accept": "application/json"})
    return found


def look(refresh: dict[str, Any], past: RunLogReader) -> None:
    """Assert that every path answers with well-formed content."""
    with within(5):
        store = Store(NOW, ("",))
        try:
            store.replace("", [refresh_of(object_of(json.dumps(refresh).encode()))])
        except ValueError:
            return  # it has no name and is skipped
        for path, answer in asyncio.run(answers(store, past)).items():
            assert answer.status_code in (200, 404), path
            if path.endswith("json"):
                assert isinstance(answer.json(), dict)
            else:
                assert MARK not in answer.text, path
                assert is_plain(answer.text), path


def test_the_control_a_good_refresh_is_shown_and_a_mark_would_be_found() -> None:
    """All paths answer 200; a template engine without escaping would pass the mark on. Rows of the run log reach the page."""
    store = Store(NOW, ("",))
    store.replace("", [refresh_of(GOOD)])
    found = asyncio.run(answers(store, RunLogReader(None)))
    further = tuple(path for path in PATHS if path.startswith(HERE) and path not in (HERE, f"{HERE}/runs/{RUN}"))
    assert {answer.status_code for path, answer in found.items() if not path.startswith(further)} == {200}
    marked = {**GOOD, "spec": {**GOOD["spec"], "displayName": MARK}}
    store.replace("", [refresh_of(marked)])
    shown = asyncio.run(answers(store, RunLogReader(None)))["/ en"].text
    assert "&lt;x-fuzz" in shown
    run = RunRow(RUN, "refresh", 1, 1, None, "Finished", "Failed", None, MARK, None, NOW, NOW, NOW)
    node = NodeRow("model.p.a", MARK, "staging", "broken", 1.0, None, MARK, NOW, ["source.p.raw.a"])
    told = asyncio.run(answers(store, Told(RunRows(run, nodes=(node,)), {"run.log": MARK})))
    assert told[f"{HERE}/runs/{RUN} en"].text.count("&lt;x-fuzz") > 3
    for path in further:
        assert told[f"{path} en"].text.count("&lt;x-fuzz") > 1, path


@settings(max_examples=max(50, CASES // 4))
@given(refreshes)
def test_every_address_shows_whatever_the_cluster_says(refresh: Any) -> None:
    """In both languages and in JSON."""
    look(refresh, RunLogReader(None))


@settings(max_examples=max(50, CASES // 4))
@given(
    st.builds(
        RunRows,
        runs,
        st.lists(steps, max_size=4).map(tuple),
        st.lists(nodes, max_size=4).map(tuple),
        st.lists(marts, max_size=4).map(tuple),
        st.lists(files, max_size=3).map(tuple),
        st.dictionaries(texts, st.floats(0, 1e9), max_size=3),
    ),
    st.dictionaries(st.sampled_from(("run.log", "failing_rows.json")), texts | st.just("[" * 3000) | st.text(max_size=200), max_size=2),
)
def test_every_address_shows_whatever_the_log_tables_say(rows: Any, kept: Any) -> None:
    """Also where a clock was wrong or an artifact is broken."""
    look(GOOD, Told(dataclasses.replace(rows), kept))
