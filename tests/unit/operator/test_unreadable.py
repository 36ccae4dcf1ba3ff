"""Refreshes that cannot be read or whose run request is too long: stalled, with their objects and history kept."""

import json
import subprocess

import pytest

from refresh_api.names import RUN_REQUEST_ENV, RUN_REQUEST_LENGTH
from refresh_api.objects import UNREADABLE, object_of
from refresh_operator.errors import Unreadable
from refresh_operator.kube.envelopes import unwrap, wrap_event
from refresh_operator.kube.resources import JOBS, REFRESHES
from refresh_operator.kube.store import Store
from refresh_operator.state.kube_types import Job, parse_object
from refresh_operator.state.refresh import InvalidSpec, parse_refresh
from support.snapshots import Json, build_refresh, build_snapshot, condition_of, decision_for, minutes_from_now, sample_spec, status_after

METADATA: Json = {"name": "phase2", "namespace": "default", "uid": "u", "resourceVersion": "3", "creationTimestamp": minutes_from_now(-9)}


def bare_length() -> int:
    """Length of a run request with an empty variable."""
    seen = build_refresh(dbt={"vars": {"a": ""}})
    assert not isinstance(seen.spec, InvalidSpec)
    return len(seen.run_request(seen.spec).text)


def test_an_unreadable_refresh_is_stalled_and_left_alone():
    """Its history is kept, and the message names the field."""
    share = status_after(build_snapshot(build_refresh()))
    raw: Json = {"metadata": METADATA, "spec": sample_spec(), "status": share.model_dump(mode="json", by_alias=True, exclude_none=True)}
    seen = parse_refresh({**raw, UNREADABLE: {"spec.dbt.vars.odd": "is nested too deeply"}})
    decision = decision_for(build_snapshot(seen))
    assert (decision.create, decision.replace, decision.create_job) == ((), (), None)
    assert condition_of(decision.status, "Stalled")[0] == "True"
    assert condition_of(decision.status, "Ready") == ("False", "Unreadable", "spec.dbt.vars.odd: is nested too deeply")
    assert decision.status.missed_runs == share.missed_runs
    fixed = parse_refresh(raw)
    assert not isinstance(fixed.spec, InvalidSpec)


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"metadata": None},
        {"metadata": {"name": "a"}, "spec": None},
        {"metadata": {"name": "a", "labels": {"x": None}, "creationTimestamp": "yesterday"}, "spec": [], "status": "none"},
        {"metadata": {"name": "a", "annotations": [1]}, "spec": {"schedule": {}}, "status": {"history": [[]], "run": 7}},
        {"metadata": {"name": "a", "generation": 10**30}, "spec": {"layers": {"a": "b"}}},
    ],
)
def test_any_json_object_parses_to_a_refresh(raw):
    """One bad object must not stop the operator for all others."""
    assert isinstance(parse_refresh(raw).spec, InvalidSpec)


def test_a_run_request_that_is_too_long_stalls_the_refresh():
    """By one byte; one byte less is the control. The message names the longest part."""
    bare = bare_length()
    for length, kind in ((RUN_REQUEST_LENGTH - bare, "True"), (RUN_REQUEST_LENGTH - bare + 1, "False")):
        seen = build_refresh(dbt={"vars": {"a": "é" + "x" * (length - 2)}})
        assert condition_of(status_after(build_snapshot(seen)), "Ready")[0] == kind
    assert isinstance(seen.spec, InvalidSpec)
    assert f"{RUN_REQUEST_LENGTH + 1} bytes" in seen.spec.message
    assert "spec.dbt" in seen.spec.message
    assert not decision_for(build_snapshot(seen)).create


def test_variables_of_a_request_count_towards_the_limit():
    """The request is rejected, and the schedule continues."""
    bare = bare_length()
    asked = {"dashboards.sigeti.io/runVars": json.dumps({"b": "y" * 900})}
    seen = build_refresh(token="t", annotations=asked, dbt={"vars": {"a": "x" * (RUN_REQUEST_LENGTH - bare - 100)}})
    share = status_after(build_snapshot(seen))
    assert "Linux allows" in share.request_error
    assert condition_of(share, "Ready")[0] == "True"


@pytest.mark.parametrize("annotation", ["requestedAt", "cancel", "resetAt"])
def test_a_long_annotation_is_handled_once_and_recorded_shortened(annotation):
    """A request of 200 kB would fill the status. The next one of usual length starts a run."""
    long = {f"dashboards.sigeti.io/{annotation}": "x" * 200_000}
    share = status_after(build_snapshot(build_refresh(annotations=long)))
    assert len(share.model_dump_json()) < 20_000
    if annotation == "requestedAt":
        assert "at most 256 are allowed" in share.request_error
        assert decision_for(build_snapshot(build_refresh(share, annotations=long))).create_job is None
        assert decision_for(build_snapshot(build_refresh(share, token="now"))).create_job
    again = status_after(build_snapshot(build_refresh(share, annotations=long)))
    assert (again.last_handled_request_at, again.last_handled_cancel) == (share.last_handled_request_at, share.last_handled_cancel)


def test_an_object_without_name_or_version_is_ignored():
    """Other objects of the same list are stored."""
    mirror = Store()
    good: Json = {"metadata": METADATA, "spec": {}}
    odd: list[Json] = [{}, {"metadata": []}, {"metadata": {"name": 7}}, {"metadata": {**METADATA, "resourceVersion": "²"}}]
    held, changed = mirror.put_page(REFRESHES, [*odd, good])
    assert (len(held), len(changed)) == (1, 1)
    assert all(mirror.put(REFRESHES, item) is None and mirror.remove(REFRESHES, item) is None for item in odd)


def test_the_store_records_which_parts_of_an_object_were_dropped():
    """Also for an object from a watch that is too long."""
    mirror = Store()
    assert mirror.put(REFRESHES, object_of(json.dumps({"metadata": METADATA, "spec": {"a": "x" * 400_000}}).encode()))
    assert UNREADABLE not in (mirror.get(REFRESHES, "default", "phase2") or {})
    longer = {**METADATA, "resourceVersion": "4"}
    assert mirror.put(REFRESHES, {"metadata": longer, "spec": {"a": "x" * 600_000}, UNREADABLE: {"status": "odd"}})
    assert set((mirror.get(REFRESHES, "default", "phase2") or {})[UNREADABLE]) == {"spec.a", "status"}  # type: ignore[arg-type]


def test_kopf_gets_only_metadata_and_json_text():
    """kopf would stop at an object that it cannot parse. Lines about the watch itself are unchanged."""
    deep = "[" * 3000 + "]" * 3000
    line = f'{{"type":"MODIFIED","object":{{"kind":"K","metadata":{json.dumps(METADATA)},"spec":{{"a":{deep}}}}}}}'.encode()
    event = json.loads(wrap_event(line))
    assert (event["type"], event["object"]["metadata"]["uid"], "spec" in event["object"]) == ("MODIFIED", "u", False)
    assert unwrap(event["object"])[UNREADABLE] == {"spec.a": "is nested too deeply: over 200 levels"}
    bookmark = b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}}'
    assert wrap_event(bookmark) == bookmark


def test_an_unreadable_job_is_named():
    """Users have to know which object to fix."""
    with pytest.raises(Unreadable, match=r"cannot read Job odd: metadata\.creationTimestamp"):
        parse_object(Job, {"kind": JOBS.name, "metadata": {"name": "odd", "creationTimestamp": "soon"}})


def test_the_limit_of_the_run_request_is_that_of_linux():
    """A longer variable keeps a process from starting, to the byte."""
    assert subprocess.run(["true"], env={"PATH": "/usr/bin:/bin", RUN_REQUEST_ENV: "x" * RUN_REQUEST_LENGTH}, check=False).returncode == 0
    with pytest.raises(OSError, match="Argument list too long"):
        subprocess.run(["true"], env={"PATH": "/usr/bin:/bin", RUN_REQUEST_ENV: "x" * (RUN_REQUEST_LENGTH + 1)}, check=False)
