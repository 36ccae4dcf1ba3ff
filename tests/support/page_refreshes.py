"""Builders of refreshes in every state that the page shows, as the API server sends them; shared by unit, integration and browser tests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from support.snapshots import sample_spec

Json = dict[str, Any]
MARTS = (
    "dwh_marts_operationnel.mart_implantation_suivi",
    "dwh_marts_operationnel.mart_indemnisations",
    "dwh_marts_operationnel.mart_emplois_crees",
    "dwh_marts_financier.mart_creances_agees",
)
STEPS = ("staging", "facts", "marts", "tests", "validation", "cache")
BROKEN = (
    "1/6 staging: stg_indemnisations: Database Error in model stg_indemnisations (models/staging/stg_indemnisations.sql) "
    'column "montant_du" does not exist'
)


def kube_time(moment: datetime) -> str:
    """Return a time as the API server writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def build_history_entry(run: str, ended: datetime, outcome: str = "Succeeded", reason: str = "", seconds: int = 47, **changes: Any) -> Json:
    """Build an entry of `status.history`."""
    of_outcome = {"Succeeded": "Succeeded", "Warned": "SucceededWithWarnings", "Failed": "LayerFailed", "Skipped": "LockHeld"}
    marts = {"Succeeded": "4/4", "Warned": "3/4", "Failed": "0/4"}.get(outcome)
    found = {
        "id": run,
        "trigger": "Scheduled",
        "generation": 1,
        "outcome": outcome,
        "reason": reason or of_outcome[outcome],
        "message": {"Failed": BROKEN, "Warned": "3/4 marts valid"}.get(outcome),
        "marts": marts,
        "startTime": kube_time(ended - timedelta(seconds=seconds)),
        "completionTime": kube_time(ended),
        "duration": f"{seconds}s",
        **changes,
    }
    return {key: value for key, value in found.items() if value is not None}


def build_condition(kind: str, status: str, reason: str, since: datetime, message: str = "") -> Json:
    """Build a condition."""
    found = {"type": kind, "status": status, "reason": reason, "message": message}
    return {**found, "lastTransitionTime": kube_time(since), "observedGeneration": 1}


def build_run_status(run: str, started: datetime, done: int, failed: int | None = None, **changes: Any) -> Json:
    """Build `status.run` with `done` steps finished and the next one running; step number `failed`, counted from 0, has failed."""
    steps: list[Json] = []
    for number, name in enumerate(STEPS):
        state = "Succeeded" if number < done else "Running" if number == done and failed is None else "Pending"
        if failed is not None and number >= failed:
            state = "Failed" if number == failed else "Skipped"
        step: Json = {"name": name, "state": state, "tries": int(state in ("Succeeded", "Running", "Failed"))}
        if state in ("Succeeded", "Running", "Failed"):
            step["startTime"] = kube_time(started + timedelta(seconds=8 * number))
        if state in ("Succeeded", "Failed"):
            step["duration"] = "8s"
        if state == "Failed":
            step["message"] = BROKEN.partition(": ")[2]
        if state == "Skipped":
            step["message"] = f"not started: {failed + 1 if failed is not None else 1}/6 {STEPS[failed or 0]} failed"
        steps.append(step)
    over = failed is not None or done == len(STEPS)
    ended: Json = {"completionTime": kube_time(started + timedelta(seconds=8 * done + 8)), "phase": "Finished"} if over else {}
    if over:
        ended |= {"outcome": "Failed", "reason": "LayerFailed", "message": BROKEN} if failed is not None else {"outcome": "Succeeded"}
    found: Json = {
        "id": run,
        "generation": 1,
        "phase": "Running",
        "attempt": 1,
        "attempts": 3,
        "pod": f"{run}-0-x7k2p",
        "step": None if over else f"{done + 1}/6 {STEPS[done]}",
        "startTime": kube_time(started),
        "heartbeatTime": kube_time(started + timedelta(seconds=8 * done)),
        "steps": steps,
        **ended,
        **changes,
    }
    return {key: value for key, value in found.items() if value is not None}


def build_refresh(
    name: str, now: datetime, runs: Sequence[Json] = (), namespace: str = "default", spec: Json | None = None, **status: Any
) -> Json:
    """Build a refresh with the status that the operator writes after these runs, newest first, with changes to the status."""
    judged = next((run for run in runs if run["outcome"] != "Skipped"), None)
    good = next((run for run in runs if run["outcome"] in ("Succeeded", "Warned")), None)
    found: Json = {
        "observedGeneration": 1,
        "phase": "Scheduled",
        "history": list(runs),
        "lastRun": runs[0] if runs else None,
        "lastSuccessTime": good["completionTime"] if good else None,
        "nextScheduleTime": kube_time(now + timedelta(minutes=73)),
        "next": "Tue 14:30",
        "nextScheduleTimes": [f"{now + timedelta(minutes=73 + 180 * each):%Y-%m-%dT%H:%M}+00:00" for each in range(3)],
        "conditions": [
            build_condition("Ready", "True", "Scheduled", now - timedelta(days=9), "CronJob is up to date"),
            build_condition("Stalled", "False", "NotStalled", now - timedelta(days=9)),
        ],
        **status,
    }
    if judged:
        answer = "False" if judged["outcome"] == "Failed" else "True"
        since = datetime.fromisoformat(judged["completionTime"])
        found["conditions"].append(build_condition("LastRunSucceeded", answer, judged["reason"], since, judged.get("message", "")))
    return {
        "apiVersion": "dashboards.sigeti.io/v1alpha1",
        "kind": "DashboardRefresh",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{name}",
            "resourceVersion": "7",
            "generation": 1,
            "creationTimestamp": kube_time(now - timedelta(days=9)),
        },
        "spec": sample_spec(**(spec or {})),
        "status": {key: value for key, value in found.items() if value is not None},
    }


def build_history(name: str, now: datetime, outcomes: str, every: timedelta = timedelta(hours=3)) -> list[Json]:
    """Build `status.history`, newest first, from one letter a run: S succeeded, W warned, F failed, K skipped; for example `SSWFK`."""
    words = {"S": "Succeeded", "W": "Warned", "F": "Failed", "K": "Skipped"}
    return [
        build_history_entry(
            f"{name}-{29_800_000 - number * 180}", now - timedelta(minutes=12) - number * every, words[letter], seconds=44 + number * 3 % 7
        )
        for number, letter in enumerate(outcomes)
    ]
