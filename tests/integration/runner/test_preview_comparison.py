"""The comparison of a previewed table with the live one, on a real PostgreSQL, against what is known to differ."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from refresh_runner.core.secrets import Redactor
from refresh_runner.postgres.catalog import Relation
from refresh_runner.preview.comparison import TableComparison, compare
from refresh_runner.preview.report import mart_report
from refresh_runner.preview.rows import ChangedRow, MartRows, RowReader, rows_text
from refresh_runner.preview.tables import TablePair
from support.runner_harness import RunnerHarness

LIVE, BUILT = Relation("essai", "avant"), Relation("essai", "après")


@pytest.fixture
def connection(runner: RunnerHarness) -> Iterator[psycopg.Connection]:
    """A session in an empty schema, which is rolled back."""
    with psycopg.connect(runner.database.dsn) as session:
        session.execute("create schema essai")
        yield session
        session.rollback()


def compared(session: psycopg.Connection, live: str, built: str, *key: str, sample_rows: int | None = None) -> TableComparison:
    """Compare the results of two queries as tables."""
    for relation, query in ((LIVE, live), (BUILT, built)):
        session.execute(f'drop table if exists {relation.schema}."{relation.table}"'.encode())
        session.execute(f'create table {relation.schema}."{relation.table}" as {query}'.encode())
    return compare(session, TablePair.of(session, LIVE, BUILT), key, sample_rows)


def differs(found: TableComparison) -> bool:
    """Return whether readers would see anything different."""
    return bool(mart_report(found).differences)


def test_equal_tables_do_not_differ(connection: psycopg.Connection):
    """The control, whatever the order of rows."""
    rows = "select n, n * 2 as m, null::text as t from generate_series(1, 100) n"
    found = compared(connection, rows, f"{rows} order by n desc", "n")
    assert (found.rows_before, found.rows_after, found.added, found.removed, found.changed) == (100, 100, 0, 0, 0)
    assert found.pair.key == ("n",)
    assert not differs(found)
    assert not [column for column in found.columns if column.differs]


def test_rows_are_matched_by_their_key(connection: psycopg.Connection):
    """Ten rows are gone, five are new, and of the others three have another value, one of them NULL."""
    live = "select n, n::numeric as montant, 'x' as zone from generate_series(1, 100) n"
    built = """select n, case when n = 20 then null when n in (21, 22) then n + 0.5 else n end::numeric as montant, 'x' as zone
        from generate_series(11, 105) n"""
    found = compared(connection, live, built, "n")
    assert (found.added, found.removed, found.changed) == (5, 10, 3)
    changed = {column.name: column.changed for column in found.columns}
    assert changed == {"n": None, "montant": 3, "zone": 0}
    montant = next(column for column in found.columns if column.name == "montant")
    assert montant.before
    assert montant.after
    assert (montant.before.nulls, montant.before.distinct, montant.before.least, montant.before.total) == (0, 100, "1", "5050")
    assert (montant.after.nulls, montant.after.distinct, montant.after.least, montant.after.greatest) == (1, 94, "11", "105")


@pytest.mark.parametrize(
    ("live", "built"),
    [
        ("select n % 50 as n, 1 as v from generate_series(1, 100) n", "select n % 50 as n, 1 as v from generate_series(1, 99) n"),
        ("select n, 1 as v from generate_series(1, 100) n", "select nullif(n, 100) as n, 1 as v from generate_series(1, 99) n"),
    ],
)
def test_without_a_unique_key_rows_are_counted_as_removed_and_added(connection: psycopg.Connection, live: str, built: str):
    """A join by a key that is not unique, or NULL, would count wrong."""
    found = compared(connection, live, built, "n")
    if found.pair.key:
        assert (found.added, found.removed, found.changed) == (0, 1, 0)
    else:
        assert (found.added, found.removed, found.changed) == (0, 1, None)
    assert differs(found)


def test_duplicates_count(connection: psycopg.Connection):
    """A join that multiplies rows is what a preview should show."""
    found = compared(connection, "select 1 as a from generate_series(1, 3)", "select 1 as a from generate_series(1, 5)")
    assert (found.added, found.removed, found.changed) == (2, 0, None)


def test_columns_that_are_added_dropped_and_of_another_type(connection: psycopg.Connection):
    """Values are compared across the change of the type."""
    live = "select n, n as montant, 'a' as ancien from generate_series(1, 10) n"
    built = "select n, n::text as montant, 'b' as nouveau from generate_series(1, 10) n"
    found = compared(connection, live, built, "n")
    by_name = {column.name: column for column in found.columns}
    assert list(by_name) == ["n", "montant", "ancien", "nouveau"]
    assert by_name["ancien"].after is None
    assert by_name["nouveau"].before is None
    assert by_name["montant"].changed == 0
    assert (found.added, found.removed, found.changed) == (0, 0, 0)
    assert differs(found)


def test_types_without_equality_are_compared_as_text(connection: psycopg.Connection):
    """json and points have no `=` that a join or a count can use."""
    live = "select n, json_build_object('n', n) as j, point(n, 1) as p, array[n] as a, n % 2 = 0 as b from generate_series(1, 10) n"
    built = live.replace("'n', n", "'n', n % 9")
    found = compared(connection, live, built, "n")
    assert {column.name: column.changed for column in found.columns} == {"n": None, "j": 2, "p": 0, "a": 0, "b": 0}


def test_a_table_that_does_not_exist_yet(connection: psycopg.Connection):
    """All of its rows are new."""
    connection.execute('create table essai."après" as select n from generate_series(1, 7) n')
    found = compare(connection, TablePair.of(connection, Relation("essai", "absente"), BUILT), ["n"])
    assert (found.rows_before, found.rows_after, found.added, differs(found)) == (None, 7, 7, True)


def test_names_are_quoted(connection: psycopg.Connection):
    """Columns of French marts have spaces and accents."""
    rows = 'select n as "N° du mois", n as "À part" from generate_series(1, 5) n'
    assert not differs(compared(connection, rows, rows, "N° du mois"))


def rows_of(session: psycopg.Connection, live: str, built: str, *key: str, limit: int = 10, sample_rows: int | None = None) -> MartRows:
    """Compare the results of two queries; return the rows that differ."""
    return RowReader(session, compared(session, live, built, *key, sample_rows=sample_rows).pair, limit).read()


def test_the_rows_that_differ_have_their_old_and_new_values(connection: psycopg.Connection):
    """In the order of the key, no more of each kind than asked for. Equal numbers in other forms are no change."""
    live = "select n, n::numeric as montant, case when n < 4 then 'a b' end as zone from generate_series(1, 20) n"
    built = """select n, n + case when n in (9, 10, 11) then 0.5 else 0.0 end as montant,
        case when n < 3 then 'a b' end as zone, 'x' as nouveau from generate_series(3, 25) n"""
    found = rows_of(connection, live, built, "n", limit=2)
    assert found.added == [
        {"n": "21", "montant": "21.0", "zone": None, "nouveau": "x"},
        {"n": "22", "montant": "22.0", "zone": None, "nouveau": "x"},
    ]
    assert [row["n"] for row in found.removed] == ["1", "2"]
    assert found.changed == [
        ChangedRow(key={"n": "3"}, before={"zone": "a b"}, after={"zone": None}),
        ChangedRow(key={"n": "9"}, before={"montant": "9"}, after={"montant": "9.5"}),
    ]
    assert list(rows_text([found], 2, Redactor())) == [
        "",
        "rows of essai.avant (at most 2 of each kind):",
        "  added    n=21, montant=21.0, zone=NULL, nouveau=x",
        "  added    n=22, montant=22.0, zone=NULL, nouveau=x",
        '  removed  n=1, montant=1, zone="a b"',
        '  removed  n=2, montant=2, zone="a b"',
        '  changed  n=3  zone: "a b" → NULL',
        "  changed  n=9  montant: 9 → 9.5",
    ]


def test_rows_without_a_key_are_those_that_one_side_has_more_often(connection: psycopg.Connection):
    """By their common columns. Text that says NULL is in quotes."""
    live = "select 'NULL' as a, json_build_object('n', 1) as j from generate_series(1, 3) union all select 'b', null"
    built = "select 'NULL' as a, json_build_object('n', 1) as j, 2 as m from generate_series(1, 2) union all select null, null, 3"
    found = rows_of(connection, live, built)
    assert (found.added, found.changed) == ([{"a": None, "j": None}], [])
    assert found.removed == [{"a": "NULL", "j": '{"n" : 1}'}, {"a": "b", "j": None}]
    assert '  removed  a="NULL", j="{\\"n\\" : 1}"' in list(rows_text([found], 10, Redactor()))


def test_equal_tables_have_no_rows_that_differ(connection: psycopg.Connection):
    """The control. A table that does not exist yet has only new rows."""
    rows = "select n, n::text as t from generate_series(1, 5) n"
    found = rows_of(connection, rows, rows, "n")
    assert (found.added, found.removed, found.changed) == ([], [], [])
    assert list(rows_text([found], 10, Redactor())) == []
    new = RowReader(connection, TablePair.of(connection, Relation("essai", "absente"), BUILT), 2).read()
    assert (len(new.added), new.removed, new.changed) == (2, [], [])


@pytest.mark.parametrize(
    "key",
    ["n", "'k' || n", "n::numeric / 2", "timestamptz '2026-01-01' + n * interval '1 hour'", "md5(n::text)::uuid", "array[n, 1]"],
    ids=["a number", "a text", "a fraction", "a time", "a uuid", "a type without equality"],
)
def test_a_sample_has_the_same_keys_on_both_sides(connection: psycopg.Connection, key: str):
    """About as many rows as asked for, in another order. The share of those that differ is about that of all rows."""
    live = f"select {key} as cle, n % 10 as v, n as montant from generate_series(1, 20000) n"
    values = f"select {key} as cle, n % 10 as v, n + case when n % 10 = 0 then 1 else 0 end as montant"
    built = f"{values} from generate_series(1001, 20500) n order by 3 desc"
    found = compared(connection, live, built, "cle", sample_rows=4000)
    assert (found.rows_before, found.rows_after) == (20000, 19500)
    assert found.pair.sample
    assert found.pair.sample.one_in == 5
    assert found.compared
    before, after = found.compared
    assert before == pytest.approx(4000, rel=0.1)
    if not found.pair.key:
        # no `=`, so its rows are compared as a whole: a changed one is removed and added
        assert key.startswith("array")
        assert found.removed == pytest.approx((1000 + 1900) / 5, rel=0.2)
        assert after - before == found.added - found.removed
        return
    assert found.added == pytest.approx(100, rel=0.4)
    assert found.removed == pytest.approx(200, rel=0.3)
    assert after - before == found.added - found.removed
    assert found.changed == pytest.approx(380, rel=0.25)
    report = mart_report(found)
    assert report.sample
    assert (report.sample.one_in, report.sample.rows_before, report.sample.rows_after) == (5, before, after)
    assert report.summary.startswith(f"20000 → 19500 rows; in a sample of 1 key in 5: {found.added} added, {found.removed} removed, ")


def test_a_sample_of_equal_tables_does_not_differ(connection: psycopg.Connection):
    """The control. Numbers that are equal in another form, and keys of another type, are the same key."""
    live = "select n::numeric(12, 2) as n, 'x' as v from generate_series(1, 5000) n"
    built = "select n::numeric as n, 'x' as v from (select n::numeric(12, 2) from generate_series(1, 5000) n) t"
    found = compared(connection, live, built, "n", sample_rows=1000)
    assert found.pair.sample
    assert (found.added, found.removed, found.changed) == (0, 0, 0)
    found = compared(
        connection,
        "select n::numeric + 0.0 as n from generate_series(1, 5000) n",
        "select n::numeric from generate_series(1, 5000) n",
        "n",
        sample_rows=1000,
    )
    assert found.pair.sample
    assert (found.added, found.removed, found.changed, differs(found)) == (0, 0, 0, False)
    assert mart_report(found).summary == "no difference in a sample of 1 key in 5, 5000 rows"


def test_a_small_table_is_compared_exactly(connection: psycopg.Connection):
    """As many rows as the sample would have, and no more."""
    live = "select n from generate_series(1, 1000) n"
    found = compared(connection, live, "select n from generate_series(1, 999) n", "n", sample_rows=1000)
    assert (found.pair.sample, found.compared, found.removed) == (None, None, 1)


def test_one_row_that_a_sample_misses_is_a_difference(connection: psycopg.Connection):
    """The numbers of rows are exact, so they tell what a sample cannot."""
    rows = "select n from generate_series(1, 5000) n"
    missing = "select n from generate_series(1, 5000) n where n <> {}"
    found = [compared(connection, rows, missing.format(n), "n", sample_rows=1000) for n in range(1, 40)]
    missed = [each for each in found if each.removed == 0]
    assert missed
    assert len(missed) < len(found)
    for each in found:
        assert [kind.value for kind in mart_report(each).differences] == ["Removed"]
    assert mart_report(missed[0]).summary == "5000 → 4999 rows; in a sample of 1 key in 5: 0 added, 0 removed, 0 changed (by n)"


def test_a_null_in_the_key_outside_of_the_sample_is_seen(connection: psycopg.Connection):
    """Rows are then compared as a whole, as without a sample. So is a table of few different rows, of which a sample may have none."""
    live = "select nullif(n, {}) as n, 1 as v from generate_series(1, 5000) n"
    found = compared(connection, live.format(7), live.format(0), "n", sample_rows=1000)
    assert (found.pair.key, found.changed) == ((), None)
    for value in range(12):
        same = f"select {value} as v from generate_series(1, 5000)"
        found = compared(connection, same, f"{same} limit 4990", sample_rows=1000)
        assert differs(found)
        assert found.removed == 10
        assert (found.pair.sample is None) == (found.compared is None)


def test_rows_of_a_sample_are_those_that_were_compared(connection: psycopg.Connection):
    """Otherwise they would contradict the figures above them."""
    live = "select n, n as v from generate_series(1, 5000) n"
    built = "select n, n + 1 as v from generate_series(11, 5010) n"
    figures = compared(connection, live, built, "n", sample_rows=1000)
    found = rows_of(connection, live, built, "n", limit=1000, sample_rows=1000)
    assert (len(found.added), len(found.removed)) == (figures.added, figures.removed)
    assert figures.changed
    assert len(found.changed) == min(figures.changed, 1000)
