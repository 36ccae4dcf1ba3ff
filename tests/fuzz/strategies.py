"""Strategies for refreshes: values by the CRD's schema, and hostile mutations of good ones."""

from __future__ import annotations

import copy
import json
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import yaml
from hypothesis import strategies as st

from refresh_api.status import OperatorStatus
from support.page_refreshes import build_history, build_run_status
from support.snapshots import (
    NOW,
    ROOT,
    build_job,
    build_managed_objects,
    build_refresh,
    build_snapshot,
    minutes_from_now,
    sample_spec,
    status_after,
)

Json = dict[str, Any]
MARK = "<x-fuzz onload=alert(1)>"
ESCAPE = "\x1b]0;x\x07\x9b31m\u202e"
"""Characters that no page may contain unescaped, and no terminal output at all."""
DATES = (
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59.999999-14:00",
    "0001-01-01T00:00:00+14:00",
    "1970-01-01T00:00:00Z",
    "2026-03-29T02:30:00+01:00",
    minutes_from_now(-1),
    minutes_from_now(1),
)


def nested(levels: int, kind: str = "list") -> Any:
    """Generate nested lists or objects."""
    value: Any = 1
    for _ in range(levels):
        value = [value] if kind == "list" else {"a": value}
    return value


HOSTILE: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1,
    2**31,
    2**63,
    -(2**63),
    10**30,
    1e308,
    -0.0,
    "",
    " ",
    "x",
    "²",
    "0",
    "-",
    "null",
    MARK,
    ESCAPE,
    MARK + ESCAPE,
    "a\nb\r\nc\td",
    "{{ 7*7 }}{% raw %}",
    "'; drop table x; --",
    "../../etc/passwd",
    "🙂é\u0301\U000e0041",
    "x" * 300,
    "y" * 5000,
    "10%",
    "1h",
    "999999h",
    "* * * * *",
    "*/0 * * * *",
    "30 2 29 2 *",
    "0 0 31 2 *",
    "Europe/Paris",
    "Etc/UTC",
    "Local",
    "../UTC",
    [],
    {},
    [[]],
    [None],
    {"": ""},
    {MARK: ESCAPE},
    {"a" * 300: 1},
    nested(40),
    nested(180),
    nested(180, "object"),
    *DATES,
)
hostile = (
    st.sampled_from(HOSTILE).map(copy.deepcopy) | st.text(max_size=40) | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
free = st.recursive(
    hostile,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield all paths of a value, its own first."""
    yield path
    if len(path) > 8:
        return
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from paths_of(child, (*path, key))


@st.composite
def changed(draw: st.DrawFn, value: Any, most: int = 4) -> Any:
    """Generate a good value with up to `most` hostile mutations: replaced, removed, duplicated or extended."""
    found = copy.deepcopy(value)
    for _ in range(draw(st.integers(0, most))):
        path = draw(st.sampled_from(list(paths_of(found))))
        if not path:
            continue
        parent = found
        for key in path[:-1]:
            parent = parent[key]
        how = draw(st.sampled_from(("replace", "replace", "remove", "double", "add")))
        if how == "replace":
            parent[path[-1]] = draw(free)
        elif how == "remove":
            del parent[path[-1]]
        elif isinstance(parent, list):
            parent.append(copy.deepcopy(parent[path[-1]]) if how == "double" else draw(free))
        else:
            parent[draw(st.text(max_size=10))] = draw(free)
    return found


def by_schema(schema: Json) -> st.SearchStrategy[Any]:
    """Generate values by a schema's types, enumerations and bounds; CEL rules may be violated."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return st.integers(0, 10) | st.sampled_from(("250m", "2", "512Mi", "1e3", MARK))
    kind = schema.get("type")
    if kind == "object" and "properties" in schema:
        required = set(schema.get("required", ()))
        fields = {name: by_schema(each) for name, each in schema["properties"].items()}
        return st.fixed_dictionaries(
            {name: each for name, each in fields.items() if name in required},
            optional={name: each for name, each in fields.items() if name not in required},
        )
    if kind == "object":
        return st.dictionaries(st.text(max_size=8), free, max_size=3)
    if kind == "array":
        return st.lists(by_schema(schema["items"]), min_size=schema.get("minItems", 0), max_size=max(schema.get("minItems", 0), 3))
    if kind == "integer":
        return st.integers(schema.get("minimum", -5), schema.get("maximum", 2**40))
    if kind == "boolean":
        return st.booleans()
    if schema.get("format") == "date-time":
        return st.sampled_from(DATES)
    texts = (MARK, ESCAPE, "a", "a b", "a.b", "/a", "3m20s", "10%", "30 2 * * *", "Europe/Paris", "x" * 80)
    return st.sampled_from(texts).map(lambda text: text[: schema.get("maxLength", 10**6)])


def _schema() -> Json:
    version = yaml.safe_load((ROOT / "crds/dashboardrefreshes.yaml").read_text())["spec"]["versions"][0]
    properties: Json = version["schema"]["openAPIV3Schema"]["properties"]
    return properties


SCHEMA = _schema()
RUN = "phase2-29541600"
METADATA: Json = {
    "name": "phase2",
    "namespace": "default",
    "uid": "0e5f1c1a-0000-4000-8000-000000000001",
    "resourceVersion": "7",
    "generation": 3,
    "creationTimestamp": minutes_from_now(-600),
    "labels": {"a": "b"},
    "annotations": {
        "dashboards.sigeti.io/requestedAt": "now",
        "dashboards.sigeti.io/runMode": "from=marts",
        "dashboards.sigeti.io/runVars": '{"as_of": "2026-01-31"}',
        "dashboards.sigeti.io/cancel": RUN,
        "dashboards.sigeti.io/resetAt": "then",
    },
}


PROJECT: Json = {"git": {"url": "https://git.example.org/data/velos.git", "ref": {"branch": "main"}, "secretRef": {"name": "repository"}}}
REVISION = "main@sha1:" + "6e27e9a9" * 5


def _status() -> Json:
    share = status_after(build_snapshot(build_refresh()))
    status: Json = share.model_dump(mode="json", by_alias=True, exclude_none=True)
    active = [{"id": RUN, "trigger": "Scheduled", "generation": 3, "startTime": minutes_from_now(-5), "mode": "only=cache"}]
    runs = [{**each, "revision": REVISION} for each in build_history("phase2", NOW, "SFWKFS")]
    past = {"history": runs, "lastRun": runs[0], "lastSuccessTime": runs[0]["completionTime"], "active": active}
    project = {"url": PROJECT["git"]["url"], "path": ".", "revision": REVISION, "message": "tag v1 was moved"}
    return {**status, **past, "run": build_run_status(RUN, NOW - timedelta(minutes=5), 2, project=project)}


SPEC = sample_spec(
    freshness={"maxStaleness": "4h"},
    dbt={"vars": {"as_of": "2026-01-31", "list": [1, {"a": None}]}},
    suspendUntil=DATES[0],
    project=PROJECT,
)
GOOD: Json = {
    "apiVersion": "dashboards.sigeti.io/v1alpha1",
    "kind": "DashboardRefresh",
    "metadata": METADATA,
    "spec": SPEC,
    "status": _status(),
}
JOB: Json = json.loads(build_job(RUN, "Failed", reason="DeadlineExceeded").model_dump_json(by_alias=True))
POD: Json = {
    "kind": "Pod",
    "metadata": {"name": f"{RUN}-0-x", "creationTimestamp": minutes_from_now(-9), "labels": {"batch.kubernetes.io/job-name": RUN}},
    "status": {
        "phase": "Failed",
        "reason": "Evicted",
        "message": MARK,
        "conditions": [{"type": "PodScheduled", "status": "False", "message": ESCAPE}],
        "initContainerStatuses": [{"name": "project", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "message": "{}"}}}],
        "containerStatuses": [{"image": "i", "imageID": "i@sha256:1", "state": {"terminated": {"exitCode": 137, "message": "{}"}}}],
    },
}
KEPT: Json = build_managed_objects(build_refresh())
SHARE = OperatorStatus

refreshes = (
    changed(GOOD)
    | st.builds(lambda status: {**GOOD, "status": status}, by_schema(SCHEMA["status"]))
    | st.builds(lambda spec: {**GOOD, "spec": spec}, by_schema(SCHEMA["spec"]))
    | st.builds(lambda spec, status: {**GOOD, "spec": spec, "status": status}, changed(SPEC, 1), changed(GOOD["status"], 6))
)
"""Refreshes as the API server, or a faulty one, would send them."""


def is_plain(text: str) -> bool:
    """Return whether a text has no character that moves a cursor or changes direction; line breaks and tabs are allowed."""
    directions = ("LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI")
    return not any(
        (unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") and each not in "\n\t") or unicodedata.bidirectional(each) in directions
        for each in set(text)
    )


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Assert that the block takes at most this much CPU time."""
    begun = time.process_time()
    yield
    took = time.process_time() - begun
    assert took < seconds, f"it took {took:.1f} s"
