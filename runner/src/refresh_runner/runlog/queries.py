"""The SQL statements of the run log."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from psycopg import sql
from pydantic import JsonValue

from refresh_runner.postgres.own_tables import Table
from refresh_runner.runlog.schema import ARTIFACT, MART, NODE

CLOSE_LOST_SQL: Final = """
    update dbt_refresh_run set phase = 'Finished', outcome = 'Failed',
        reason = case when phase = 'Running' then 'RunnerLost' else coalesce(reason, 'RunnerLost') end,
        message = case when phase = 'Running' or message is null
            then 'runner exited without reporting' || coalesce(' during ' || step, '') else message end,
        ended_at = case when phase = 'Running' then clock_timestamp() else heartbeat_at end
    where ended_at is null and run_id <> %(run_id)s and (phase = 'Running' or heartbeat_at < now() - interval '1 day')"""
"""A run between two attempts may continue, so it is closed only after a day, with the reason of its last attempt."""

EARLIER_SQL: Final = """
    select fingerprint,
        exists (select from dbt_refresh_run other where other.run_id <> ours.run_id and other.heartbeat_at >= ours.kept_since),
        array(select node_id from dbt_refresh_node node where node.run_id = ours.run_id and state in ('ok', 'warned')
            and node_id not like 'operation.%%')
    from dbt_refresh_run ours where run_id = %(run_id)s"""


@dataclass(frozen=True)
class EarlierAttempts:
    """A row of EARLIER_SQL: the work of earlier attempts of the run."""

    fingerprint: str | None
    other_run_since: bool
    """Whether another run has held the warehouse lock since the reusable work began."""
    nodes: list[str]


BEGIN_SQL: Final = """
    insert into dbt_refresh_run as ours (run_id, refresh, namespace, generation, mode, attempt, attempts, pod, phase, fingerprint,
        vars, project, revision, started_at, attempt_started_at, heartbeat_at, kept_since)
    select %(run_id)s, %(refresh)s, %(namespace)s, %(generation)s, %(mode)s, %(attempt)s, %(attempts)s, %(pod)s, 'Running', %(fingerprint)s,
        %(vars)s, %(project)s, %(revision)s, now, now, now, now from clock_timestamp() now
    on conflict (run_id) do update set attempt = excluded.attempt, attempts = excluded.attempts, pod = excluded.pod,
        phase = excluded.phase, fingerprint = excluded.fingerprint, project = excluded.project, revision = excluded.revision,
        step = null, outcome = null, reason = null, message = null,
        marts = null, ended_at = null, inputs = case when %(resumed)s then ours.inputs end,
        attempt_started_at = excluded.attempt_started_at, heartbeat_at = excluded.heartbeat_at,
        kept_since = case when %(resumed)s then ours.kept_since else excluded.kept_since end"""

HAS_REVISIONS_SQL: Final = """
    select exists (select from pg_attribute
        where attrelid = to_regclass('dbt_refresh_run') and attname = 'revision' and not attisdropped)"""
PREVIOUS_REVISION_SQL: Final = """
    select revision from dbt_refresh_run
    where namespace = %(namespace)s and refresh = %(refresh)s and revision is not null and run_id <> %(run_id)s
    order by started_at desc limit 1"""
"""The revision of the dbt project of the previous run."""

LAST_GOOD_SQL: Final = """
    select revision from dbt_refresh_run
    where namespace = %(namespace)s and refresh = %(refresh)s and revision is not null and outcome = any(%(good)s)
        and split_part(mode, '=', 1) <> all(%(partial)s)
    order by started_at desc limit 1"""
"""The revision of the dbt project of the last run that successfully built the whole refresh."""

DELETE_NODES_SQL: Final = "delete from dbt_refresh_node where run_id = %(run_id)s"
DELETE_ARTIFACT_SQL: Final = "delete from dbt_refresh_artifact where run_id = %(run_id)s and name = %(name)s"

HEARTBEAT_SQL: Final = """
    update dbt_refresh_run set phase = %(phase)s, step = %(step)s, outcome = %(outcome)s, reason = %(reason)s, message = %(message)s,
        marts = %(marts)s, heartbeat_at = clock_timestamp(), ended_at = case when %(over)s then coalesce(ended_at, clock_timestamp()) end
    where run_id = %(run_id)s and pod is not distinct from %(pod)s"""

INPUTS_SQL: Final = "update dbt_refresh_run set inputs = %(inputs)s where run_id = %(run_id)s"
OUTPUTS_SQL: Final = "update dbt_refresh_run set inputs = inputs || %(made)s where run_id = %(run_id)s and inputs is not null"

PREVIOUS_RUN_SQL: Final = """
    select run_id, inputs, coalesce(fingerprint = %(fingerprint)s and outcome = 'Succeeded', false) from dbt_refresh_run
    where namespace = %(namespace)s and refresh = %(refresh)s and run_id <> %(run_id)s
    and (outcome is distinct from 'Skipped' or exists (select from dbt_refresh_node node where node.run_id = dbt_refresh_run.run_id))
    order by started_at desc limit 1"""
"""The previous run, whatever its outcome, unless it was skipped before it did anything."""


@dataclass(frozen=True)
class PreviousRun:
    """A row of PREVIOUS_RUN_SQL."""

    run_id: str
    inputs: JsonValue
    is_comparable: bool
    """Whether it had the same fingerprint and succeeded without a warning."""


PRUNE_SQL: Final = """
    delete from dbt_refresh_run where run_id in (
        select run_id from dbt_refresh_run
        where namespace = %(namespace)s and refresh = %(refresh)s and started_at < now() - make_interval(days => %(days)s)
        order by started_at limit 200)"""
"""One batch at each run's end: little compared to what a run writes, and enough to catch up."""

MEDIAN_ROWS_SQL: Final = """
    with published as (
        select run_id, started_at from dbt_refresh_run
        where namespace = %(namespace)s and refresh = %(refresh)s and run_id <> %(run_id)s
        and outcome in ('Succeeded', 'Warned') and split_part(mode, '=', 1) not in ('only', 'rollback')
        order by started_at desc limit 100)
    select relation, percentile_disc(0.5) within group (order by rows)
    from (select relation, rows, row_number() over (partition by relation order by started_at desc) as nth
          from dbt_refresh_mart join published using (run_id) where rows is not null) as validated
    where nth <= 10 group by relation having count(*) >= 3"""
"""The median needs at least three of the last hundred published runs, and uses at most ten."""

LOAD_KEPT_SQL: Final = """
    update dbt_refresh_project_cache set used_at = clock_timestamp() where name = %(name)s returning content, signature"""
HAS_KEPT_SQL: Final = """
    update dbt_refresh_project_cache set used_at = clock_timestamp() where name = %(name)s returning sha256(content), signature"""
STORE_KEPT_SQL: Final = """
    insert into dbt_refresh_project_cache (name, content, signature, stored_at, used_at)
    values (%(name)s, %(content)s, %(signature)s, clock_timestamp(), clock_timestamp())
    on conflict (name) do update set content = excluded.content, signature = excluded.signature,
        stored_at = excluded.stored_at, used_at = excluded.used_at"""
PRUNE_KEPT_SQL: Final = """
    delete from dbt_refresh_project_cache
    where used_at < now() - case when name ~ '_(source|pin)_' then interval '7 days' else interval '30 days' end"""
"""Files of commits take the most space, and each fetch renews those that are still needed."""
PRUNE_DOCS_SQL: Final = "delete from dbt_refresh_docs d where not exists (select from dbt_refresh_run run where run.project = d.project)"
PRUNE_PROJECTS_SQL: Final = """
    delete from dbt_refresh_project p where not exists (select from dbt_refresh_run run where run.project = p.project)"""
HAS_PROJECT_SQL: Final = "select from dbt_refresh_project where project = %s"
STORE_PROJECT_SQL: Final = """
    insert into dbt_refresh_project (project, content, stored_at) values (%s, %s, clock_timestamp()) on conflict (project) do nothing"""
HAS_DOCS_SQL: Final = "select from dbt_refresh_docs where project = %s"
STORE_DOCS_SQL: Final = """
    insert into dbt_refresh_docs (project, media_type, content, stored_at) values (%s, 'text/html', %s, clock_timestamp())
    on conflict (project) do nothing"""

_STAMPS: Final = {NODE.name: "ended_at", MART.name: "validated_at", ARTIFACT.name: "stored_at"}


def upsert(table: Table, columns: Iterable[str]) -> bytes:
    """Return the statement that inserts a row with these columns, or updates it."""
    return _upsert(table.name, tuple(table.key), tuple(columns))


@cache
def _upsert(table: str, key: Sequence[str], names: Sequence[str]) -> bytes:
    columns = [sql.Identifier(name) for name in names]
    values: list[sql.Composable] = [sql.Placeholder(name) for name in names]
    if stamp := _STAMPS.get(table):
        columns.append(sql.Identifier(stamp))
        values.append(sql.SQL("clock_timestamp()"))
    statement = sql.SQL("insert into {} ({}) values ({}) on conflict ({}) do update set {}").format(
        sql.Identifier(table),
        sql.SQL(", ").join(columns),
        sql.SQL(", ").join(values),
        sql.SQL(", ").join(map(sql.Identifier, key)),
        sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(column) for column in columns),
    )
    return statement.as_bytes()
