"""Measures a refresh after one record in a hundred was corrected, compared with a full build and with no change.

    python -m bench.changes [--rows 10000] [--runs 5] [--seed 7]

Without any change it runs with `unchangedPolicy: Skip`. All are runner processes with every feature on, one after the other on the same
database. Corrections are spread evenly over all records, the worst case for anything that works by month. `bench.verdicts` judges.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
from psycopg import sql

from bench.refresh import RESULTS, Stand, conditions, phase2, prepared, state_of
from bench.verdicts import Samples
from bench.verdicts import main as judge
from refresh_api.spec import UnchangedPolicy
from refresh_api.status import Reason
from support.laptop import SEED, dashboard_api, say, warehouse
from support.old_way import Side

CHANGED = {
    "demandes_implantation": ("demande_id", "superficie_m2"),
    "indemnisations": ("indemnisation_id", "montant_du"),
    "emplois": ("emploi_id", "nb_crees"),
    "factures": ("facture_id", "montant_ttc"),
    "paiements": ("paiement_id", "montant"),
}
_SLOT = 29_000_000
"""Suffix of a scheduled run's name: only scheduled runs are skipped when nothing has changed."""
_FURTHER = """
    insert into {table} select made.*
    from (select distinct on ({id}) * from {table} where {id} %% 100 = %s order by {id}, updated_at desc, numero_ligne desc) as latest,
        lateral jsonb_populate_record(null::{table}, to_jsonb(latest) || jsonb_build_object(
            'numero_ligne', numero_ligne + 100000000, 'updated_at', updated_at + interval '1 hour',
            {measure}, coalesce(latest.{column}, 0) + 1)) as made"""


def change(dsn: str, hundredth: int, sources: Mapping[str, tuple[str, str]] = CHANGED) -> int:
    """Correct the records of one hundredth of the ids in every source, or in some; return the number of lines."""
    count = 0
    with psycopg.connect(dsn, autocommit=True) as connection:
        for table, (id_, column) in sources.items():
            names = {"table": sql.Identifier("sigeti", table), "id": sql.Identifier(id_), "column": sql.Identifier(column)}
            statement = sql.SQL(_FURTHER).format(**names, measure=sql.Literal(column))
            count += connection.execute(statement, [hundredth]).rowcount
    return count


def facts_seconds(dsn: str) -> float:
    """Return the seconds of the last run's facts step."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "select seconds from dbt_refresh_step where step = 'facts' and seconds is not null order by started_at desc limit 1"
        ).fetchone()
    return float(row[0]) if row else 0.0


def last_reason(dsn: str) -> str | None:
    """Return the last run's reason."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select reason from dbt_refresh_run order by started_at desc limit 1").fetchone()
    return str(row[0]) if row else None


def main() -> int:
    """Measure, store and judge; return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description="Measures what a small change costs.")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=SEED, help="of the generated sources")
    chosen = parser.parse_args()
    state = state_of(chosen.rows)
    started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    samples = Samples(f"changes-{chosen.rows}", started, f"make bench-changes ROWS={chosen.rows} RUNS={chosen.runs} SEED={chosen.seed}")
    with warehouse(state) as server:
        prepared(server, state, chosen.rows, chosen.seed, ["ours"])
        dsn, env = server.dsn_of("ours"), {**server.env, "PGDATABASE": "ours"}
        with dashboard_api(env) as api:
            changed = Stand(server, {"ours": Side("ours", dsn, env, api)}, phase2(), state)
            full = replace(changed, run_request=changed.run_request.model_copy(update={"mode": "full-refresh"}))
            full.ours(None, 0)
            spec = changed.run_request.spec.model_copy(update={"unchanged_policy": UnchangedPolicy.SKIP})
            skipping = replace(changed, run_request=changed.run_request.model_copy(update={"spec": spec}))
            skipping.ours(None, _SLOT)
            for number in range(1, chosen.runs + 1):
                say(f"run {number} of {chosen.runs}: nothing changed")
                began = time.monotonic()
                skipping.ours(None, _SLOT + number)
                samples.add("unchanged_seconds", time.monotonic() - began)
                samples.add("unchanged_built", int(last_reason(dsn) != Reason.NOTHING_CHANGED))
            for number in range(1, chosen.runs + 1):
                say(f"run {number} of {chosen.runs}: one record in a hundred changed, then everything")
                samples.add("lines", change(dsn, number))
                for name, stand, run in (("changed", changed, 2 * number), ("full", full, 2 * number + 1)):
                    one = Samples("one", "", "")
                    stand.ours(one, run)
                    samples.add(f"{name}_seconds", *one.samples["ours_seconds"])
                    samples.add(f"{name}_facts_seconds", facts_seconds(dsn))
            conditions(server, samples, chosen.rows)
        server.stop("fast")
    path = samples.store(RESULTS)
    say(f"stored in {path.name}")
    return judge([str(path)])


if __name__ == "__main__":
    sys.exit(main())
