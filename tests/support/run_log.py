"""The run log's tables for tests of the page: created by the runner's own definitions, filled with runs of the test's choice."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from refresh_runner.postgres.own_tables import Table, ddl_statements
from refresh_runner.runlog.schema import ARTIFACT, MART, NODE, RUN, RUN_LOG, STEP
from support.page_refreshes import BROKEN, MARTS, STEPS

Row = dict[str, Any]
MODELS = {
    "staging": ("stg_implantations", "stg_indemnisations", "stg_emplois_crees"),
    "facts": ("fait_implantations", "fait_indemnisations", "fait_emplois_crees", "fait_factures"),
    "marts": tuple(mart.partition(".")[2] for mart in MARTS),
    "tests": ("unique_mart_implantation_suivi", "not_null_fait_factures_zone_id", "accepted_range_mart_creances_agees"),
}
USUAL = {"staging": 7.5, "facts": 11.0, "marts": 12.5, "tests": 6.0, "validation": 2.2, "cache": 3.1}
PARENTS = {
    "stg_implantations": ("source.sigeti.sigeti.implantations",),
    "stg_indemnisations": ("source.sigeti.sigeti.indemnisations", "source.sigeti.sigeti.lots"),
    "stg_emplois_crees": ("source.sigeti.sigeti.emplois",),
    "fait_implantations": ("model.sigeti.stg_implantations", "seed.sigeti.zones"),
    "fait_indemnisations": ("model.sigeti.stg_indemnisations",),
    "fait_emplois_crees": ("model.sigeti.stg_emplois_crees", "model.sigeti.stg_implantations"),
    "fait_factures": ("source.sigeti.sigeti.factures",),
    "mart_implantation_suivi": ("model.sigeti.fait_implantations",),
    "mart_indemnisations": ("model.sigeti.fait_indemnisations", "model.sigeti.fait_implantations"),
    "mart_emplois_crees": ("model.sigeti.fait_emplois_crees",),
    "mart_creances_agees": ("model.sigeti.fait_factures", "model.sigeti.stg_indemnisations"),
}
KEYS = ("zone_id", "annee", "mois")


def create_run_log_tables(connection: psycopg.Connection) -> None:
    """Create the tables of the run log."""
    for table in RUN_LOG:
        for statement in ddl_statements(table, []):
            connection.execute(statement.encode())


def _wobble(number: int, position: int, share: float) -> float:
    """Return a factor around 1 that looks random and is always the same."""
    return 1 + share * ((number * 7919 + position * 1033) % 101 / 101 - 0.5)


def _sql(name: str) -> str:
    """Return what dbt might have compiled for a model."""
    read = [each.rpartition(".")[2] for each in PARENTS[name]]
    joins = "".join(f"\nleft join dwh.{each} using (zone_id)" for each in read[1:])
    return f"-- {name}\nselect zone_id, annee, mois, sum(montant) as montant\nfrom dwh.{read[0]}{joins}\ngroup by 1, 2, 3"


class RunLogFiller:
    """Writes runs of one refresh into the run log."""

    def __init__(self, connection: psycopg.Connection, namespace: str, refresh: str) -> None:
        self._connection = connection
        self._known = {"namespace": namespace, "refresh": refresh, "generation": 1, "mode": "refresh", "attempts": 3}

    def run(self, run: str, started: datetime, outcome: str = "Succeeded", number: int = 0, done: int = 6, log: str = "") -> None:
        """Write a run; Failed fails in its first step, an empty outcome is still running with `done` steps finished."""
        failed, over = outcome == "Failed", bool(outcome)
        took = {name: round(seconds * _wobble(number, position, 0.35), 2) for position, (name, seconds) in enumerate(USUAL.items())}
        took = dict(list(took.items())[: 1 if failed else done])
        end = started + timedelta(seconds=sum(took.values()) + 2.5)
        row: Row = {**self._known, "run_id": run, "attempt": 1, "pod": f"{run}-0-x7k2p", "phase": "Finished" if over else "Running"}
        row |= {"started_at": started, "attempt_started_at": started, "heartbeat_at": end, "ended_at": end if over else None}
        row |= {"kept_since": started, "outcome": outcome or None, "message": BROKEN if failed else None}
        row |= {"reason": "LayerFailed" if failed else outcome or None, "marts": "0/4" if failed else "4/4" if over else None}
        self._write(RUN, row)
        self._steps(run, started, took, failed, over)
        if not failed and done == 6:
            self._marts(run, number, end)
        if log and over:
            self._file(run, "run.log", "text/plain", log, end)
            built = [name for step in list(MODELS)[: 1 if failed else 3] for name in MODELS[step]]
            results = [{"unique_id": f"model.sigeti.{name}", "status": "success", "compiled_code": _sql(name)} for name in built]
            self._file(run, "run_results.json", "application/json", json.dumps({"results": results, "elapsed_time": 41.2}), end)

    def _steps(self, run: str, started: datetime, took: dict[str, float], failed: bool, over: bool) -> None:
        at = started + timedelta(seconds=1.5)
        for position, name in enumerate(STEPS, 1):
            row: Row = {"run_id": run, "step": name, "position": position, "attempt": 1, "tries": 1, "started_at": at}
            if name in took:
                state = "Failed" if failed else "Succeeded"
                self._write(STEP, {**row, "state": state, "seconds": took[name], "message": BROKEN if failed else None})
                self._nodes(run, name, at, took[name], failed)
                at += timedelta(seconds=took[name])
            elif failed:
                self._write(STEP, {**row, "state": "Skipped", "started_at": None, "tries": 0, "message": "not started: 1/6 staging failed"})
            elif not over:
                self._write(STEP, {**row, "state": "Running", "seconds": None})
                return

    def _nodes(self, run: str, step: str, at: datetime, seconds: float, failed: bool) -> None:
        names = MODELS.get(step, ())
        for number, name in enumerate(names):
            share = 0.55 + 0.4 * ((number * 3) % len(names)) / len(names)
            broken = failed and name == "stg_indemnisations"
            kind = "test" if step == "tests" else "model"
            row: Row = {"run_id": run, "node_id": f"{kind}.sigeti.{name}", "node": name, "step": step, "attempt": 1}
            row |= {"parents": json.dumps(PARENTS[name])} if name in PARENTS else {}
            row |= {"state": "broken" if broken else "ok", "seconds": round(seconds * share, 2), "sqlstate": "42703" if broken else None}
            row |= {"message": BROKEN.partition(": ")[2] + "\nLINE 24:     montant_du,\n             ^" if broken else None}
            self._write(NODE, {**row, "ended_at": at + timedelta(seconds=0.15 * number + seconds * share)})

    def _marts(self, run: str, number: int, end: datetime) -> None:
        for position, relation in enumerate(MARTS):
            rows = (4180, 2240, 3655, 15)[position] + int(number * (11, 4, 9, 0)[position] * _wobble(number, position, 0.2))
            nulls = dict.fromkeys(KEYS[: 3 if position < 3 else 2], 0)
            if position == 1:
                nulls["zone_id"] = int(rows * 0.02 * _wobble(number, position, 0.9))
            row: Row = {"run_id": run, "relation": relation, "rows": rows, "nulls": json.dumps(nulls), "verdict": "VALID"}
            self._write(MART, {**row, "validated_at": end})

    def _file(self, run: str, name: str, media_type: str, text: str, at: datetime) -> None:
        packed = gzip.compress(text.encode())
        self._write(ARTIFACT, {"run_id": run, "name": name, "media_type": media_type, "content": packed, "stored_at": at})

    def _write(self, table: Table, row: Row) -> None:
        columns = sql.SQL(", ").join(map(sql.Identifier, row))
        values = sql.SQL(", ").join(map(sql.Placeholder, row))
        self._connection.execute(sql.SQL("insert into {} ({}) values ({})").format(sql.Identifier(table.name), columns, values), row)


def fill_run_log(connection: psycopg.Connection, namespace: str, refresh: str, runs: Sequence[dict[str, Any]], log: str = "") -> None:
    """Write the runs of a status history and thirty earlier ones, each with steps, nodes, marts and artifacts."""
    book = RunLogFiller(connection, namespace, refresh)
    oldest = min(datetime.fromisoformat(run["startTime"]) for run in runs)
    for number in range(30):
        book.run(f"{refresh}-{29_000_000 + number * 180}", oldest - (30 - number) * timedelta(hours=3), number=number)
    for number, run in enumerate(reversed(runs)):
        book.run(run["id"], datetime.fromisoformat(run["startTime"]), run["outcome"], number=30 + number, log=log)


def describe_project(connection: psycopg.Connection, namespace: str, refresh: str, text: str = "") -> None:
    """Write the description of the dbt project of all runs of a refresh; `text` is added to each description."""
    columns = [{"name": key, "type": "integer", "description": f"Key column {key}. {text}"} for key in KEYS]
    nodes: list[Row] = [
        {"unique_id": f"model.sigeti.{name}", "name": name, "description": f"One line for each zone and month. {text}", "columns": columns}
        | {"relation": next((mart for mart in MARTS if mart.endswith(f".{name}")), f"dwh.{name}"), "reads": list(PARENTS[name])}
        for name in PARENTS
    ]
    tested = ("mart_implantation_suivi", "fait_factures", "mart_creances_agees")
    for name, model in zip(MODELS["tests"], tested, strict=True):
        nodes.append({"unique_id": f"test.sigeti.{name}", "name": name, "reads": [f"model.sigeti.{model}"]})
    exposures = [
        {"unique_id": f"exposure.sigeti.{mart}", "name": mart.removeprefix("mart_"), "type": "dashboard", "owner": f"SIGETI {text}".strip()}
        | {"email": "admin@sigeti.local", "url": f"https://example.org/{mart}", "reads": [f"model.sigeti.{mart}"]}
        for mart in MODELS["marts"]
    ]
    content = gzip.compress(json.dumps({"nodes": nodes, "exposures": exposures}).encode())
    connection.execute("insert into dbt_refresh_project values (%s, %s, now())", [f"{namespace}/{refresh}", content])
    change = "update dbt_refresh_run set project = %s where namespace = %s and refresh = %s"
    connection.execute(change, [f"{namespace}/{refresh}", namespace, refresh])
