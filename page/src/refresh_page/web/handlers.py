"""Handles requests: each path returns HTML, JSON or an event stream, as the request accepts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Final

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from refresh_api.model import Model
from refresh_api.status import Outcome, clip
from refresh_page.i18n.locale import Locale, language_of
from refresh_page.kube.models import Ref, Refresh
from refresh_page.kube.store import Store
from refresh_page.runlog.history import RunLogReader
from refresh_page.runlog.models import RunLogState
from refresh_page.views.affected import FAILED, Affected, affected_by, outdated
from refresh_page.views.calendar import Calendar, calendar_of
from refresh_page.views.comparison import comparison_of
from refresh_page.views.health import Tone, health_of
from refresh_page.views.node import compiled_of, neighbours_of, node_detail, run_with_sql
from refresh_page.views.overview import Overview, overview_of
from refresh_page.views.overview_query import MAX_SEARCH, GroupKind, OverviewQuery
from refresh_page.views.preview import preview_view
from refresh_page.views.refresh import detail_of
from refresh_page.views.run import run_view
from refresh_page.views.run_source import RunSource
from refresh_page.views.verdicts import verdicts_of
from refresh_page.web.memo import Memo
from refresh_page.web.sse import SseStreams
from refresh_page.web.templates import Templates

PAGE_SIZE: Final = 100
"""Lines of a page: refreshes of the overview, tests of a refresh."""
_MINUTE: Final = 60
_RUN_LOG_POLL: Final = 5
"""Seconds between two reads of the run log while a run is in progress."""
_INLINE_TYPES: Final = frozenset({"text/plain", "application/json"})
_SANDBOX: Final = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data:; font-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy for HTML artifacts: they may run scripts, but in an origin of their own, and load nothing."""

BADGE_TITLE: Final = 40
"""Maximum characters of a title in a badge."""
_EMBEDDED: Final[Mapping[str, str]] = {"Cross-Origin-Resource-Policy": "cross-origin", "Cache-Control": "private, max-age=60"}
"""Headers with which pages of other origins may show a picture."""


@dataclass(frozen=True)
class Handlers:
    """The request handlers, with what they read."""

    store: Store
    run_log: RunLogReader
    templates: Templates
    streams: SseStreams
    now: Callable[[], datetime]
    """Returns the current time, without microseconds."""
    overview_memo: Memo[Overview] = field(default_factory=Memo)
    calendar_memo: Memo[Calendar] = field(default_factory=Memo)
    json_memo: Memo[bytes] = field(default_factory=Memo)
    calendar_json_memo: Memo[bytes] = field(default_factory=Memo)

    async def overview(self, request: Request) -> Response:
        """Show all refreshes that match the search."""
        if _wants_events(request):
            return self.streams.open(self._overview_version)
        query = OverviewQuery.of(request.query_params)
        moment = self.store.version, self.now()
        shown = self.overview_memo.get(moment, query, lambda: self._overview(query))
        if _wants_json(request):
            return Response(self.json_memo.get(moment, query, lambda: to_json(shown, by_alias=True)), media_type="application/json")
        page, last = _page(request, len(shown.refreshes))
        lines = shown.refreshes[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
        values = {
            "overview": shown,
            "sections": [(name, list(rows)) for name, rows in groupby(lines, key=lambda row: row.group)],
            "group_counts": {group.name: group.counts for group in shown.groups},
            "page": page,
            "last": last,
            "query": query,
            "namespaces": {each.namespace for each in shown.refreshes},
        }
        return self._html(request, "overview.html", self._overview_version(), values)

    async def calendar(self, request: Request) -> Response:
        """Show the scheduled runs of the next 24 hours of all refreshes that match the search."""
        if _wants_events(request):
            return self.streams.open(self._overview_version)
        query = replace(OverviewQuery.of(request.query_params), group=GroupKind.NONE, label="")
        now = self.now().replace(second=0)
        moment = self.store.version, now
        shown = self.calendar_memo.get(moment, query, lambda: self._calendar(query, now))
        if _wants_json(request):
            return Response(
                self.calendar_json_memo.get(moment, query, lambda: to_json(shown, by_alias=True)), media_type="application/json"
            )
        rows = [((each.namespace, each.secret), row) for each in shown.warehouses for row in each.rows]
        page, last = _page(request, len(rows))
        lines = groupby(rows[(page - 1) * PAGE_SIZE : page * PAGE_SIZE], key=itemgetter(0))
        values = {
            "calendar": shown,
            "sections": [(warehouse, [row for _, row in found]) for warehouse, found in lines],
            "page": page,
            "last": last,
            "query": query,
        }
        return self._html(request, "calendar.html", self._overview_version(), values)

    async def refresh(self, request: Request) -> Response:
        """Show one refresh."""
        ref = _ref(request)
        if _wants_events(request):
            return self.streams.open(lambda: self._version(ref))
        refresh = self.store.get(ref)
        if refresh is None:
            return self._not_found(request)
        past = await self.run_log.refresh_rows(ref)
        detail = detail_of(refresh, self.store.previews.of(ref), past.value, past.state, self.now())
        if detail.refresh.health.tone is Tone.BAD:
            detail = detail.model_copy(update={"affected": await self._affected(ref)})
        if _wants_json(request):
            return _json(detail)
        return self._html(request, "refresh.html", self._version(ref), {"detail": detail, **self._banner()})

    async def run(self, request: Request) -> Response:
        """Show one run; after its refresh was deleted, from the run log."""
        ref, run = _ref(request), str(request.path_params["run"])
        if _wants_events(request):
            return self.streams.open(lambda: self._version(ref, run))
        refresh = self.store.get(ref)
        rows, files = await self.run_log.run_rows(ref, run)
        if rows.value is None and not RunSource(refresh).has(run):
            return self._not_found(request, unavailable=rows.state is RunLogState.UNAVAILABLE)
        has_failed = rows.value is not None and any(node.state in FAILED for node in rows.value.nodes)
        project = await self.run_log.project(rows.value.run.project) if rows.value and has_failed else None
        view = run_view(ref, run, refresh, rows.value, rows.state, self.now(), files, project)
        if _wants_json(request):
            return _json(view)
        return self._html(request, "run.html", self._version(ref, run), {"view": view, **self._banner()})

    async def node(self, request: Request) -> Response:
        """Show one node of a refresh, with its SQL in the run that the parameter `run` names."""
        ref, node = _ref(request), str(request.path_params["node"])
        if _wants_events(request):
            return self.streams.open(lambda: self._version(ref))
        found = await self.run_log.node_runs(ref, node)
        if not found.value:
            return self._not_found(request, unavailable=found.state is RunLogState.UNAVAILABLE)
        last, runs = found.value[0], [row.run for row in found.value]
        project = await self.run_log.project(last.project)
        relation = project.by_id[node].relation if project and node in project.by_id else None
        rows = await self.run_log.node_rows(node, runs, neighbours_of(node, last, project), relation)
        run = run_with_sql(found.value, request.query_params.get("run", ""))
        statement = await self.run_log.compiled_sql(ref, run, node)
        compiled = compiled_of(run, statement.value, statement.state)
        detail = node_detail(ref, node, self.store.get(ref), found.value, rows, project, compiled)
        if _wants_json(request):
            return _json(detail)
        return self._html(request, "node.html", self._version(ref), {"detail": detail, **self._banner()})

    async def compare(self, request: Request) -> Response:
        """Compare the runs that the parameters `before` and `after` name; by default the last run and the one before it."""
        ref, (before, after) = _ref(request), (request.query_params.get(name, "") for name in ("before", "after"))
        if _wants_events(request):
            return self.streams.open(lambda: self._version(ref))
        rows = await self.run_log.comparison_rows(ref, before, after)
        if rows.value is None:
            return self._not_found(request, unavailable=rows.state is RunLogState.UNAVAILABLE)
        refresh = self.store.get(ref)
        comparison = comparison_of(ref, refresh, rows.value)
        if _wants_json(request):
            return _json(comparison)
        past = await self.run_log.refresh_rows(ref)
        runs = [run.run for run in past.value.runs if run.outcome != Outcome.SKIPPED] if past.value else []
        return self._html(request, "compare.html", self._version(ref), {"comparison": comparison, "runs": runs, **self._banner()})

    async def tests(self, request: Request) -> Response:
        """Show the tests of a refresh that match the search, with their results over the last runs."""
        ref, search = _ref(request), request.query_params.get("q", "").strip()[:MAX_SEARCH]
        if _wants_events(request):
            return self.streams.open(lambda: self._version(ref))
        rows = await self.run_log.verdict_rows(ref)
        refresh = self.store.get(ref)
        if rows.value is None or not (rows.value.runs or refresh):
            return self._not_found(request, unavailable=rows.state is RunLogState.UNAVAILABLE)
        shown = verdicts_of(ref, refresh, rows.value, search)
        if _wants_json(request):
            return _json(shown)
        page, last = _page(request, len(shown.tests))
        lines = shown.tests[(page - 1) * PAGE_SIZE : page * PAGE_SIZE]
        values = {"shown": shown, "lines": lines, "search": search, "query": OverviewQuery(search), "page": page, "last": last}
        return self._html(request, "tests.html", self._version(ref), {**values, **self._banner()})

    async def preview(self, request: Request) -> Response:
        """Show one preview."""
        ref, name = _ref(request), str(request.path_params["preview"])
        if _wants_events(request):
            return self.streams.open(lambda: self._version(ref))
        preview, refresh = self.store.previews.get(ref, name), self.store.get(ref)
        if preview is None:
            return self._not_found(request)
        view = preview_view(preview, refresh.title if refresh else ref.name, self.now())
        if _wants_json(request):
            return _json(view)
        return self._html(request, "preview.html", self._version(ref), {"view": view, **self._banner()})

    async def badge(self, request: Request) -> Response:
        """Return a small picture that says whether the data of a refresh is fresh, for pages of others.

        It has no banner, so it says nothing about a refresh while the cluster does not respond.
        """
        refresh, locale = self.store.get(_ref(request)), Locale(language_of(request.headers.get("accept-language", "")), self.now())
        is_known = refresh is not None and self.store.unreachable_since is None
        status = 200 if is_known else 404 if self.store.is_synced and refresh is None else 503
        title = clip(refresh.title if refresh else str(request.path_params["name"]), BADGE_TITLE)
        health = health_of(refresh, self.now()) if refresh and is_known else None
        text = self.templates.render("badge.svg", locale, "", title=title, health=health)
        return Response(text, status, {"Content-Language": locale.language, **_EMBEDDED}, "image/svg+xml")

    async def artifact(self, request: Request) -> Response:
        """Return an artifact of a run."""
        name = str(request.path_params["file"])
        answer = await self.run_log.content(_ref(request), str(request.path_params["run"]), name)
        if answer.value is None:
            return self._not_found(request, unavailable=answer.state is RunLogState.UNAVAILABLE)
        content, media_type = answer.value.content, answer.value.media_type.partition(";")[0].strip()
        if media_type == "text/html":
            return Response(content, headers={"Content-Security-Policy": _SANDBOX}, media_type="text/html")
        if media_type in _INLINE_TYPES:
            return Response(content, headers={"Content-Security-Policy": "sandbox; default-src 'none'"}, media_type=media_type)
        return Response(content, headers={"Content-Disposition": "attachment"}, media_type="application/octet-stream")

    async def alive(self, _request: Request) -> Response:
        """Liveness probe."""
        return PlainTextResponse("ok")

    async def ready(self, _request: Request) -> Response:
        """Readiness probe: ready once all refreshes have been listed."""
        done = self.store.is_synced
        return PlainTextResponse("ok" if done else "not all refreshes have been listed yet", status_code=200 if done else 503)

    async def missing(self, request: Request, _error: Exception) -> Response:
        """Respond to an unknown path."""
        return self._not_found(request)

    async def refused(self, request: Request, error: Exception) -> Response:
        """Respond to an address with an unknown value."""
        if _wants_json(request):
            return Response(to_json({"error": str(error)}), 400, media_type="application/json")
        return PlainTextResponse(str(error), 400)

    async def _affected(self, ref: Ref) -> tuple[Affected, ...]:
        """Return the exposures whose data are outdated, according to the last run that has executed anything."""
        last = await self.run_log.last_states(ref)
        return affected_by(await self.run_log.project(last.project), outdated(last.states)) if last.states else ()

    def _calendar(self, query: OverviewQuery, now: datetime) -> Calendar:
        unreachable = self.store.unreachable_since
        return calendar_of(self.store.all(), self.store.is_synced, unreachable[0] if unreachable else None, now, query)

    def _overview(self, query: OverviewQuery) -> Overview:
        unreachable = self.store.unreachable_since
        return overview_of(self.store.all(), self.store.is_synced, unreachable[0] if unreachable else None, self.now(), query)

    def _not_found(self, request: Request, unavailable: bool = False) -> Response:
        """Respond 404, or 503 if it is not known yet whether the resource exists."""
        status = 503 if unavailable or not self.store.is_synced else 404
        if _wants_json(request):
            return Response(
                to_json({"error": "not known right now, try again" if status == 503 else "not found"}),
                status,
                media_type="application/json",
            )
        return self._html(request, "missing.html", "", {"what": request.url.path, "status": status}, status)

    def _banner(self) -> Mapping[str, object]:
        unreachable = self.store.unreachable_since
        return {"unreachable_since": unreachable[0] if unreachable else None}

    def _overview_version(self) -> str:
        return f"{self.store.version}.{self._tick(_MINUTE)}"

    def _version(self, ref: Ref, run: str = "") -> str:
        """Return a version that changes when an open page must be updated: with the cluster, the clock, and the run log during a run."""
        refresh = self.store.get(ref)
        in_progress = self.run_log.is_configured and _is_active(refresh, run)
        return f"{self.store.version_of(ref)}.{self._tick(_RUN_LOG_POLL if in_progress else _MINUTE)}"

    def _tick(self, seconds: int) -> int:
        return int(self.now().timestamp()) // seconds

    def _html(self, request: Request, template: str, version: str, values: Mapping[str, object], status: int = 200) -> Response:
        locale = Locale(language_of(request.headers.get("accept-language", "")), self.now())
        text = self.templates.render(template, locale, version, **values)
        return Response(text, status, {"Content-Language": locale.language}, "text/html; charset=utf-8")


def _is_active(refresh: Refresh | None, run: str) -> bool:
    active = refresh.status.active if refresh else []
    return any(each.id == run for each in active) if run else bool(active)


def _ref(request: Request) -> Ref:
    return Ref(str(request.path_params["namespace"]), str(request.path_params["name"]))


def _json(view: Model) -> Response:
    return Response(to_json(view, by_alias=True), media_type="application/json")


def _wants_json(request: Request) -> bool:
    if request.url.path.endswith(".json"):
        return True
    accepted = request.headers.get("accept", "")
    return "application/json" in accepted and "text/html" not in accepted


def _wants_events(request: Request) -> bool:
    return request.headers.get("accept", "").startswith("text/event-stream")


def _page(request: Request, count: int) -> tuple[int, int]:
    """Return the page that a request asks for, and the last one, with PAGE_SIZE of `count` lines on each."""
    last = max(1, -(-count // PAGE_SIZE))
    return min(last, max(1, _number(request.query_params.get("page", "1")))), last


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 1
