"""Random histories of a warehouse on a real PostgreSQL, with the runner's own decisions and recording, and SQL in place of dbt.

dbt takes a second for each run; without it, thousands of histories fit into minutes. Statements are those that dbt sends: a table is built
beside the old one and renamed, a mart in a staging schema and then merged or moved.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final, Self

import psycopg
from hypothesis import strategies as st
from psycopg.pq import TransactionStatus

from refresh_examples.embedded import psql_program
from refresh_runner.dbt.engine import Candidate, CandidateKind, Verdict
from refresh_runner.postgres.catalog import Relation
from refresh_runner.reuse.evidence import Evidence, Scope
from refresh_runner.reuse.reuser import Reuser
from support.postgres import Database

SOURCES: Final = ("s0", "s1", "s2")
_RESET: Final = """
drop schema if exists src, dwh, dwh__next, dwh__previous, truth cascade; drop table if exists dbt_refresh_result;
create schema src; create schema dwh; create schema dwh__next; create schema dwh__previous; create schema truth;
"""
_DUMPED: Final = (("--schema=src", "--schema=dwh"), ("--table=public.dbt_refresh_result",))
"""What a dump has: sources and models, and the results that are known of them."""
_SOURCE: Final = """
create table src.{0} (id int, g int, v numeric(10,2), d date, t text);
insert into src.{0} select n, n % 3, n * 1.5, date '2026-01-01' + n, 'x' || n % 4 from generate_series(1, 12) n;
"""
VARIANTS: Final = (
    "select id, g, v, d, t from {0}",
    "select id, g, v * 2 as v, d, t from {0} where g <> 1",
    "select min(id) as id, g, sum(v) as v, max(d) as d, min(t) as t from {0} group by g",
    "select a.id, a.g, a.v + coalesce(b.v, 0) as v, a.d, b.t from {0} a left join {1} b on a.id = b.id",
    "select id, g, v, d, t from {0} union all select id, g + 1, v, d, t from {1}",
    "select id, g, sum(v) over (partition by g) as v, d, to_char(d, 'YYYY-MM') as t from {0}",
    "select distinct 1 as id, g, 0.50 as v, date '2026-01-01' as d, 'y' as t from {0}",
)
"""SQL of nodes, which read one or two others."""
ALL: Final = (1 << 20) - 1
"""All nodes, as bits."""
VOLATILE: Final = "select id, g, round(random()::numeric, 9) as v, d, clock_timestamp()::text as t from {0}"


@dataclass(frozen=True)
class NodeShape:
    """One node of a history: what it reads and how it is built."""

    kind: str
    """table, view, mart, other (an incremental model), idempotent (one whose project says so) or volatile."""
    parents: tuple[int, int]
    """Indices of what it reads, sources first, taken modulo the number of what exists before it."""
    variant: int


ACTIONS: Final = {
    "late row": "insert into src.{source} values (100 + (random() * 100)::int, 1, 7, '2025-12-01', 'late')",
    "corrected": "update src.{source} set v = v + 1 where id % 4 = 1",
    "same value": "update src.{source} set v = v where id % 4 = 1",
    "deleted": "delete from src.{source} where id = (select min(id) from src.{source})",
    "moved between groups": "update src.{source} set g = (g + 1) % 3 where id % 5 = 0",
    "a row comes": "insert into src.{source} values (998, 1, 1, '2026-01-01', 'z')",
    "and goes": "delete from src.{source} where id = 998",
    "rolled back": "begin; update src.{source} set v = v + 1; delete from src.{source} where g = 1; rollback",
    "in subtransactions": "begin; savepoint a; update src.{source} set v = v + 3 where id % 4 = 2; release a; savepoint b;"
    " delete from src.{source} where id % 4 = 3; rollback to b; commit",
    "rows locked": "begin; select from src.{source} for update; commit",
    "came and went": "insert into src.{source} values (999, 1, 1, '2026-01-01', 'z'); delete from src.{source} where id = 999",
    "loaded again": "create temp table kept as table src.{source}; truncate src.{source};"
    " insert into src.{source} table kept; drop table kept",
    "truncated": "truncate src.{source}",
    "rewritten": "vacuum full src.{source}",
    "frozen": "vacuum freeze src.{source}",
    "swapped": "create table src.other as table src.{source}; drop table src.{source} cascade; alter table src.other rename to {source}",
    "another column": "alter table src.{source} add column if not exists extra int default 1",
    "rows exchanged": "update src.{source} a set v = b.v from src.{source} b where a.id = 13 - b.id",
    "a function": "create or replace function public.f(int) returns int language sql as 'select {number}'",
    "written by others": "update dwh.{node} set v = v + 1",
    "deleted by others": "delete from dwh.{node} where g = 0",
    "added by others": "insert into dwh.{node} (id, g) values (5, 5)",
    "and taken away": "delete from dwh.{node} where (id, g) = (5, 5)",
    "emptied by others": "truncate dwh.{node}",
    "rewritten by others": "vacuum full dwh.{node}",
    "dropped": "drop table dwh.{node} cascade",
    "indexed": "create index on dwh.{node} (id)",
    "another definition": "create or replace view dwh.{node} as select id, g, v, d, t from src.s0 where false",
}
WRITES: Final = "update src.{source} set v = v + 2 where id % 3 = 0; insert into src.{source} values (700, 2, 1, '2025-11-01', 'w')"
"""What a second writer does in a transaction that it leaves open."""
OTHERS: Final = (
    "a second writer begins",
    "the second writer commits",
    "the second writer rolls back",
    "dumped",
    "restored",
    "marts rolled back",
)
"""Actions that are more than statements."""
_EXCLUSIVE: Final = frozenset({"loaded again", "truncated", "rewritten", "swapped", "another column"})
"""Actions that wait for a writer of the same table."""
_REFUSED: Final = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.WrongObjectType,
    psycopg.errors.InvalidTableDefinition,
    psycopg.errors.ObjectNotInPrerequisiteState,
    psycopg.errors.FeatureNotSupported,
    psycopg.errors.LockNotAvailable,
)
"""How PostgreSQL refuses an action, such as a view where there is a table, or a write that waits for another writer."""


@dataclass(frozen=True)
class Action:
    """Something that happens to the warehouse; `at` is the number of nodes that a run has decided before it, -1 for between runs."""

    name: str
    target: int
    at: int = -1
    between: str = "decision"
    """If inside a run: right after the `decision` about a node, or after it was `built` and before that is recorded."""


@dataclass(frozen=True)
class Step:
    """Actions, then a run, with more actions in it."""

    actions: tuple[Action, ...]
    inside: tuple[Action, ...]
    edits: tuple[tuple[int, int], ...]
    """Nodes that get another variant of SQL first."""
    ends: str
    """finished, failed (nothing is published) or killed (nothing is recorded)."""
    stops_at: int
    moves: bool
    """Whether marts are moved into place, not merged."""
    only: int = ALL
    """The nodes that the run builds, as bits: another refresh of the same warehouse builds some of them."""


def shapes() -> st.SearchStrategy[list[NodeShape]]:
    """Return a strategy for the nodes of a history."""
    kinds = st.sampled_from(["table", "table", "view", "mart", "mart", "other", "idempotent", "volatile"])
    parents = st.tuples(st.integers(0, 20), st.integers(0, 20))
    return st.lists(st.builds(NodeShape, kinds, parents, st.integers(0, len(VARIANTS) - 1)), min_size=2, max_size=6)


def steps() -> st.SearchStrategy[list[Step]]:
    """Return a strategy for what happens in a history."""
    names, targets = st.sampled_from(sorted([*ACTIONS, *OTHERS])), st.integers(0, 20)
    before = st.lists(st.builds(Action, names, targets), max_size=2).map(tuple)
    places = st.sampled_from(["decision", "built"])
    inside = st.lists(st.builds(Action, names, targets, st.integers(0, 5), places), max_size=1).map(tuple)
    edits = st.lists(st.tuples(targets, st.integers(0, len(VARIANTS) - 1)), max_size=1).map(tuple)
    ends = st.sampled_from(["finished"] * 4 + ["failed", "killed"])
    only = st.one_of(st.just(ALL), st.just(ALL), st.integers(1, 63))
    return st.lists(st.builds(Step, before, inside, edits, ends, st.integers(0, 6), st.booleans(), only), min_size=1, max_size=4)


def random_history(seed: int) -> tuple[list[NodeShape], list[Step]]:
    """Return the history of a seed. Each action is as likely as any other, which hypothesis does not promise."""
    draw = random.Random(seed)
    kinds = ("table", "table", "view", "mart", "mart", "other", "idempotent", "volatile")
    names = (*ACTIONS, *OTHERS)

    def acts(at: int, most: int) -> tuple[Action, ...]:
        places = ((draw.choice(names), draw.randrange(6), draw.randrange(at) if at else -1) for _ in range(draw.randint(0, most)))
        return tuple(Action(name, target, place, draw.choice(("decision", "built"))) for name, target, place in places)

    def node() -> NodeShape:
        return NodeShape(draw.choice(kinds), (draw.randrange(9), draw.randrange(9)), draw.randrange(len(VARIANTS)))

    nodes = [node() for _ in range(draw.randint(2, 6))]
    story = [
        Step(
            actions=acts(0, 3),
            inside=acts(len(nodes), 2),
            edits=tuple((draw.randrange(6), draw.randrange(len(VARIANTS))) for _ in range(draw.random() < 0.3)),
            ends=draw.choice(("finished", "finished", "finished", "finished", "failed", "killed")),
            stops_at=draw.randrange(7),
            moves=draw.random() < 0.5,
            only=draw.choice((ALL, ALL, draw.randrange(1, 64))),
        )
        for _ in range(draw.randint(1, 4))
    ]
    return nodes, story


class _Kept(psycopg.Connection):
    """A connection that outlives the runs of a history."""

    def close(self) -> None:
        """Stay open: a new connection takes longer than a run."""

    def really_close(self) -> None:
        """Close the connection."""
        super().close()


@dataclass(frozen=True)
class Place:
    """Where a database is, also for another process."""

    name: str
    dsn: str
    env: Mapping[str, str]
    folder: Path
    """For dumps."""

    @classmethod
    def of(cls, database: Database) -> Self:
        """Return the place of a database."""
        return cls(database.name, database.dsn, database.env, database.server.folder)


@dataclass
class Warehouse:
    """A database in which histories happen, one after the other."""

    connection: psycopg.Connection
    kept: _Kept
    writer: psycopg.Connection
    """The second writer."""
    place: Place
    nodes: list[NodeShape] = field(default_factory=list)
    tested: str = ""
    """What the test reads, if not the last node."""
    runs: int = 0
    reused: int = 0
    """Number of nodes reused in all histories."""
    happened: Counter[str] = field(default_factory=Counter)
    """How often each action took place."""
    keeps_previous: bool = False
    """Whether a publish keeps what was live before."""
    written: str = ""
    """The source to which the second writer has an open transaction."""
    dumps: tuple[Path, ...] = ()

    @classmethod
    def open(cls, place: Place) -> Self:
        """Connect to a database."""
        kept = _Kept.connect(place.dsn, autocommit=True)
        writer = psycopg.connect(place.dsn)
        connection = psycopg.connect(place.dsn, autocommit=True)
        for each in (connection, writer):
            each.execute("set lock_timeout = '50ms'")
        writer.commit()
        return cls(connection, kept, writer, place)

    def close(self) -> None:
        """Close the connections."""
        self.writer.close()
        self.connection.close()
        self.kept.really_close()

    def begin(self, nodes: Sequence[NodeShape]) -> None:
        """Begin a history with these nodes."""
        self.writer.rollback()
        self.written, self.keeps_previous, self.dumps = "", False, ()
        self.execute(_RESET)
        for source in SOURCES:
            self.execute(_SOURCE.format(source))
        self.nodes, self.tested = list(nodes), ""

    def execute(self, statement: str) -> None:
        """Execute statements one by one, as another user's session does."""
        for each in statement.split(";"):
            if each.strip():
                self.connection.execute(each.encode())
        if self.connection.info.transaction_status is TransactionStatus.IDLE:
            # A session tells others only once a second what it has counted.
            self.connection.execute("select pg_stat_force_next_flush()")

    def act(self, action: Action) -> None:
        """Do something to the warehouse. What PostgreSQL refuses has not happened."""
        source, node = SOURCES[action.target % len(SOURCES)], f"n{action.target % len(self.nodes)}"
        if self.written == source and action.name in _EXCLUSIVE:
            return
        try:
            if action.name in OTHERS:
                self._act_otherwise(action.name, source)
            else:
                self.execute(ACTIONS[action.name].format(source=source, node=node, number=action.target))
        except _REFUSED:
            self.connection.rollback()
        else:
            self.happened[action.name] += 1

    def _act_otherwise(self, name: str, source: str) -> None:
        match name:
            case "a second writer begins" if not self.written:
                try:
                    self.writer.execute(WRITES.format(source=source).encode())
                except _REFUSED:
                    self.writer.rollback()
                    raise
                self.written = source
            case "the second writer commits":
                self.writer.commit()
                self.written = ""
            case "the second writer rolls back":
                self.writer.rollback()
                self.written = ""
            case "dumped":
                self.dumps = self._dumped()
            case "restored" if self.dumps:
                self._restore()
            case "marts rolled back":
                for number, shape in enumerate(self.nodes):
                    if shape.kind == "mart":
                        self._roll_back(f"n{number}")

    def _dumped(self) -> tuple[Path, ...]:
        places = tuple(self.place.folder / f"{self.place.name}-{number}.dump" for number in range(len(_DUMPED)))
        for place, parts in zip(places, _DUMPED, strict=True):
            self._postgres("pg_dump", "--format=custom", "--file", str(place), *parts)
        return places

    def _restore(self) -> None:
        """Restore the state of a dump: the same rows in new files, by other transactions. The second writer does not survive it."""
        self.writer.rollback()
        self.written = ""
        self.execute("drop schema if exists src, dwh cascade; drop table if exists dbt_refresh_result")
        for dump in self.dumps:
            self._postgres("pg_restore", "--dbname", self.place.name, str(dump))

    def _postgres(self, program: str, *arguments: str) -> None:
        environment = {**os.environ, **self.place.env}
        subprocess.run([psql_program().parent / program, *arguments], env=environment, check=True, timeout=60)

    def _roll_back(self, name: str) -> None:
        """Make live what was live before, as the mode `rollback` does."""
        if self.connection.execute("select to_regclass(%s) is not null", [f"dwh__previous.{name}"]).fetchone() == (True,):
            self.execute(f"drop table if exists dwh.{name} cascade; alter table dwh__previous.{name} set schema dwh")

    def edit(self, node: int, variant: int) -> None:
        """Give a node other SQL."""
        place = node % len(self.nodes)
        old = self.nodes[place]
        self.nodes[place] = NodeShape(old.kind, old.parents, variant)

    def wrong(self) -> dict[str, list[tuple[object, ...]]]:
        """Return the rows by which each node's relation differs from a build of the whole, for nodes that have one truth."""
        self.execute("drop schema truth cascade; create schema truth")
        found = {}
        certain: set[str] = set()
        for number, node in enumerate(self.nodes):
            name, read = f"n{number}", self._read(number)
            self.connection.execute(f"create view truth.{name} as {self._sql(number, 'truth')}".encode())
            if node.kind == "volatile" or any(each.startswith("dwh.") and each not in certain for each in read):
                continue
            certain.add(f"dwh.{name}")
            query = f"select r::text from {{0}}.{name} r except all select r::text from {{1}}.{name} r"
            texts = [query.format("dwh", "truth"), query.format("truth", "dwh")]
            rows = [row for text in texts for row in self.connection.execute(text.encode()).fetchall()]
            if rows:
                found[name] = rows
        return found

    def run(self, step: Step | None = None) -> None:
        """Run all nodes, with what happens inside the run; None for a run in which nothing does."""
        self.runs += 1
        run = _Run(self, f"run-{self.runs}", step)
        run.execute()
        self.reused += len(run.reuser.reused)

    def _read(self, number: int) -> tuple[str, ...]:
        node = self.nodes[number]
        # Only marts may read marts: a run refuses other models that do, because these are published later.
        readable = [earlier for earlier in range(number) if node.kind == "mart" or self.nodes[earlier].kind != "mart"]
        existing = [*(f"src.{source}" for source in SOURCES), *(f"dwh.n{earlier}" for earlier in readable)]
        # The second one only counts for SQL that reads two.
        both = tuple(existing[parent % len(existing)] for parent in node.parents)
        return both if "{1}" in self._template(node) else both[:1]

    def _template(self, node: NodeShape) -> str:
        return VOLATILE if node.kind == "volatile" else VARIANTS[node.variant]

    def _sql(self, number: int, schema: str = "dwh", staged: frozenset[str] = frozenset()) -> str:
        names = [name if name.startswith("src.") else name.replace("dwh.", f"{schema}.") for name in self._read(number)]
        names = [name.replace("dwh.", "dwh__next.") if name in staged else name for name in names]
        return self._template(self.nodes[number]).format(*names, *names)


class _Run:
    """One run of all nodes."""

    def __init__(self, warehouse: Warehouse, name: str, step: Step | None) -> None:
        self.warehouse, self.step = warehouse, step
        self.staged: frozenset[str] = frozenset()
        nodes = [f"dwh.n{number}" for number in range(len(warehouse.nodes))]
        tables = [name for name, node in zip(nodes, warehouse.nodes, strict=True) if node.kind != "view"]
        names = [*(f"src.{source}" for source in SOURCES), *nodes, "test"]
        scope = Scope(programs=("1",), names=names, models=frozenset(_relation(name) for name in tables))
        self.reuser = Reuser(Evidence(lambda: warehouse.kept, scope, lambda: timedelta(seconds=30)), name, lambda _candidate: None)

    def execute(self) -> None:
        ends = self.step.ends if self.step else "finished"
        stops_at = self.step.stops_at if self.step and ends != "finished" else len(self.warehouse.nodes)
        self.warehouse.execute("drop schema dwh__next cascade; create schema dwh__next")
        only = self.step.only if self.step else ALL
        for number in range(min(stops_at, len(self.warehouse.nodes))):
            if only >> number & 1:
                self._node(number)
        if ends == "finished":
            self._test()
            self._publish()
        if ends != "killed":
            self.reuser.finish()

    def _happens(self, number: int, between: str) -> None:
        for action in self.step.inside if self.step else ():
            if (action.at, action.between) == (number, between):
                self.warehouse.act(action)

    def _node(self, number: int) -> None:
        candidate, node = self._candidate(number), self.warehouse.nodes[number]
        if self.reuser.is_reused(candidate):
            self._happens(number, "decision")
            return
        self._happens(number, "decision")
        try:
            rows = self._build(node.kind, f"n{number}", candidate.statement)
        except psycopg.errors.UndefinedTable:
            # What it reads was dropped inside the run: dbt would report an error, and nothing is recorded.
            return
        self._happens(number, "built")
        if node.kind == "mart":
            self.staged |= {f"dwh.n{number}"}
        self.reuser.built(candidate, rows)

    def _drop_other_kind(self, name: str, *, is_view: bool) -> None:
        """Drop a table where a view is built, and the reverse, as dbt does."""
        kind = self.warehouse.connection.execute("select relkind from pg_class where oid = to_regclass(%s)", [name]).fetchone()
        if kind and (kind[0] == "v") is not is_view:
            self.warehouse.execute(f"drop {'table' if is_view else 'view'} {name} cascade")

    def _build(self, kind: str, name: str, statement: str) -> int | None:
        connection = self.warehouse.connection
        schema = "dwh__next" if kind == "mart" else "dwh"
        self._drop_other_kind(f"{schema}.{name}", is_view=kind == "view")
        if kind == "view":
            with connection.transaction():
                connection.execute(f"drop view if exists dwh.{name} cascade".encode())
                connection.execute(f"create view dwh.{name} as {statement}".encode())
            return None
        with connection.transaction():
            if kind in {"other", "idempotent"} and connection.execute("select to_regclass(%s) is not null", [f"dwh.{name}"]).fetchone() == (
                True,
            ):
                self._merge(f"select id, g, v, d, t from ({statement}) q", f"dwh.{name}")
                return None
            rows = connection.execute(f"create table {schema}.{name}__tmp as {statement}".encode()).rowcount
            connection.execute(f"drop table if exists {schema}.{name} cascade".encode())
            connection.execute(f"alter table {schema}.{name}__tmp rename to {name}".encode())
        return rows

    def _publish(self) -> None:
        connection = self.warehouse.connection
        with connection.transaction():
            for name in sorted(self.staged):
                table = name.removeprefix("dwh.")
                self._drop_other_kind(name, is_view=False)
                exists = connection.execute("select to_regclass(%s) is not null", [name]).fetchone() == (True,)
                if exists and self.warehouse.keeps_previous:
                    connection.execute(f"drop table if exists dwh__previous.{table}".encode())
                    connection.execute(f"create table dwh__previous.{table} as table {name}".encode())
                if (self.step and self.step.moves) or not exists:
                    connection.execute(f"drop table if exists {name} cascade".encode())
                    connection.execute(f"alter table dwh__next.{table} set schema dwh".encode())
                else:
                    self._merge(f"table dwh__next.{table}", name)
        self._happens(len(self.warehouse.nodes) - 1, "built")

    def _merge(self, query: str, table: str) -> None:
        """Make the rows of a table those of a query, and write only rows that differ."""
        connection = self.warehouse.connection
        connection.execute(f"create temp table more as ({query}) except all table {table}".encode())
        connection.execute(f"create temp table less as (table {table} except all ({query}))".encode())
        numbered = "select ctid as c, x::text as t, row_number() over (partition by x::text) as n from {} x"
        gone = f"select a.c from ({numbered.format(table)}) a join ({numbered.format('less')}) b on (a.t, a.n) = (b.t, b.n)"
        connection.execute(f"delete from {table} where ctid in ({gone})".encode())
        connection.execute(f"insert into {table} table more".encode())
        connection.execute(b"drop table more, less")

    def _test(self) -> None:
        """Run one test, which counts rows, unless its verdict is reused; it must be right either way."""
        name = self.warehouse.tested or f"dwh.n{len(self.warehouse.nodes) - 1}"
        place = name.replace("dwh.", "dwh__next.") if name in self.staged else name
        if self.warehouse.connection.execute("select to_regclass(%s)", [place]).fetchone() == (None,):
            return
        statement = f"select count(*) as failures from {place} where g = 0"
        candidate = Candidate(
            "test", "test", CandidateKind.TEST, None, None, statement, _digest(statement.replace("__next", "")),
            frozenset({_relation(name)}), {_relation(place): _relation(name)}, "",
        )  # fmt: skip
        known = self.reuser.verdict(candidate)
        row = self.warehouse.connection.execute(statement.encode()).fetchone()
        failures = int(row[0]) if row else 0
        if known is None:
            self.reuser.tested(candidate, Verdict(failures, False, False))
        elif self.step is None or not self.step.inside:
            assert known.failures == failures, "a reused verdict is wrong"

    def _candidate(self, number: int) -> Candidate:
        node, name = self.warehouse.nodes[number], f"dwh.n{number}"
        kinds = {"view": CandidateKind.VIEW, "other": CandidateKind.OTHER, "idempotent": CandidateKind.OTHER}
        statement, read = self.warehouse._sql(number, staged=self.staged), self.warehouse._read(number)
        places = {_relation(each.replace("dwh.", "dwh__next.") if each in self.staged else each): _relation(each) for each in read}
        built_as = name.replace("dwh.", "dwh__next.") if node.kind == "mart" else name
        return Candidate(
            name,
            name,
            kinds.get(node.kind, CandidateKind.TABLE),
            _relation(name),
            _relation(built_as),
            statement,
            _digest(f"{node.kind} {self.warehouse._sql(number)}"),
            frozenset(_relation(each) for each in read),
            places,
            "other models are always built" if node.kind == "other" else "",
        )


def _check(warehouse: Warehouse) -> None:
    if wrong := warehouse.wrong():
        raise AssertionError(f"not as a build of the whole: {wrong}")


def check_history(warehouse: Warehouse, nodes: Sequence[NodeShape], story: Sequence[Step]) -> None:
    """After each step of a history, a run in which nothing happens leaves every relation as a build of the whole would."""
    warehouse.begin(nodes)
    warehouse.keeps_previous = any(action.name == "marts rolled back" for step in story for action in (*step.actions, *step.inside))
    warehouse.run()
    _check(warehouse)
    for step in story:
        for action in step.actions:
            warehouse.act(action)
        for node, variant in step.edits:
            warehouse.edit(node, variant)
        warehouse.run(step)
        if step.ends == "finished" and step.only == ALL and not step.inside:
            _check(warehouse)
        warehouse.run()
        _check(warehouse)


@dataclass(frozen=True)
class Told:
    """What came of some histories."""

    runs: int
    reused: int
    happened: Counter[str]
    failure: str = ""
    """The first history that did not end in the truth, and how; empty if there was none."""


def tell(place: Place, seeds: range) -> Told:
    """Check the histories of these seeds, up to the first that fails."""
    warehouse, failure = Warehouse.open(place), ""
    try:
        for seed in seeds:
            nodes, story = random_history(seed)
            try:
                check_history(warehouse, nodes, story)
            except AssertionError as error:
                failure = "\n".join([f"HISTORIES_SEED={seed}: {error}", *map(str, [*nodes, *story])])
                break
    finally:
        warehouse.close()
    return Told(warehouse.runs, warehouse.reused, warehouse.happened, failure)


def _relation(name: str) -> Relation:
    return Relation(*name.split("."))


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()
