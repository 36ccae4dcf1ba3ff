"""A preview on a real warehouse: it says what a change does to the marts, readers see nothing of it, and nothing is left of it."""

from __future__ import annotations

import json

import pytest

from support.changed_project import ChangedProject

EVERYTHING = """
    select n.nspname, c.relname, c.relkind::text, c.oid::bigint, c.relfilenode::bigint, pg_stat_get_tuples_inserted(c.oid), c.reltoastrelid
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' order by 1, 2"""
"""Every relation with its files: what a preview must leave as it was."""


def test_a_change_of_a_fact_shows_in_the_mart_that_reads_it(changed: ChangedProject):
    """mart_a reads fait_lignes, mart_b does not. Its rows are matched by id, which a test of the project says is unique.

    Readers see nothing: every relation is the file that it was, and no schema is left.
    """
    changed.live()
    before = changed.runner.database.rows(EVERYTHING)
    changed.replace("facts/fait_lignes", "select id, zone, mois", "select id, case when id <= 3 then 0 else zone end as zone, mois")
    changed.replace("marts/mart_a", "from {{ ref('fait_lignes') }}", "from {{ ref('fait_lignes') }} where id > 1")
    code, found = changed.preview_json()
    assert code == 3
    assert [each["name"] for each in found["models"]] == ["fait_lignes", "mart_a"]
    (mart,) = found["marts"]
    assert (mart["relation"], mart["key"]) == ("dwh_marts.mart_a", ["id"])
    assert (mart["rowsBefore"], mart["rowsAfter"], mart["added"], mart["removed"], mart["changed"]) == (100, 99, 0, 1, 2)
    assert {column["name"]: column["changed"] for column in mart["columns"]} == {"id": None, "zone": 2, "mois": 0}
    assert (found["tests"], found["problems"]) == (2, [])
    assert changed.runner.database.rows(EVERYTHING) == before
    assert changed.runner.database.rows("select nspname from pg_namespace where nspname like '%preview%'") == []


@pytest.mark.slow
def test_a_change_that_changes_nothing(changed: ChangedProject):
    """The control: the model is built and compared, and the exit code is 0. A project without any change builds nothing."""
    changed.live()
    code, output = changed.preview()
    assert (code, output) == (0, "The change touches no model of this refresh.\n")
    changed.replace("marts/mart_b", "select id, mois", "select id, mois + 0 as mois")
    code, output = changed.preview()
    assert code == 0
    assert "dwh_marts.mart_b: no difference, 100 rows" in output


@pytest.mark.slow
def test_a_selection_narrows_what_is_built_and_compared(changed: ChangedProject):
    """The change touches fait_lignes and mart_a, which reads it. mart_a alone is built on the live fact, and the report says so."""
    changed.live()
    changed.replace("facts/fait_lignes", "select id, zone, mois", "select id, zone + 1 as zone, mois")
    changed.replace("marts/mart_a", "from {{ ref('fait_lignes') }}", "from {{ ref('fait_lignes') }} where id > 1")
    code, found = changed.preview_json("--select", "mart_a mart_b")
    assert code == 3
    assert [each["name"] for each in found["models"]] == ["mart_a"]
    (mart,) = found["marts"]
    assert (mart["relation"], mart["removed"], mart["changed"]) == ("dwh_marts.mart_a", 1, 0)
    assert found["leftOut"] == [
        "not selected: fait_lignes",
        "mart_a reads dwh_facts.fait_lignes as it is live, although the change touches it",
    ]
    # the control: all that the change touches
    _, found = changed.preview_json("--select", "+mart_a", "--select", "state:modified")
    assert [each["name"] for each in found["models"]] == ["fait_lignes", "mart_a"]
    assert (found["marts"][0]["changed"], found["leftOut"]) == (99, [])


@pytest.mark.slow
def test_a_selection_of_nothing_that_the_change_touches_is_an_error(changed: ChangedProject):
    """A report without marts would read as if the change did nothing. Without a change, there is nothing to narrow."""
    changed.live()
    assert changed.preview("--select", "mart_b") == (0, "The change touches no model of this refresh.\n")
    changed.replace("marts/mart_a", "select id, zone", "select id, zone + 0 as zone")
    for selection, says in (
        ("mart_b", "✗ the selection mart_b has none of the models that the change touches: mart_a"),
        ("mart_c", "✗ invalid selection mart_c: "),
        ("colour:red", "✗ invalid selection colour:red: "),
        ("unique_mart_a_id", "✗ invalid selection unique_mart_a_id: unique_mart_a_id selects no model of the dbt project"),
    ):
        code, output = changed.preview("--select", selection)
        assert code == 2, output
        assert output.startswith(says), output
    assert changed.preview("--select=--threads") == (
        2,
        "✗ --select: '--threads': write one dbt selector: a model's name, tag:name or path:folder, not an option\n",
    )
    assert changed.preview("--select", "mart_a")[0] == 0


@pytest.mark.slow
def test_rows_are_printed_for_who_asks(changed: ChangedProject):
    """With their old and new values, and with the warehouse's password masked, of which a model could have a copy.

    The control is the report without the option, which has no row.
    """
    changed.live()
    password = changed.runner.database.secret["password"]
    quoted = password.replace("'", "''")
    changed.replace("marts/mart_a", "select id, zone, mois", "select id, case when id = 7 then 99 else zone end as zone, mois")
    code, output = changed.preview("--rows", "2")
    assert code == 3, output
    assert "rows of dwh_marts.mart_a (at most 2 of each kind):\n  changed  id=7  zone: 7 → 99\n" in output
    rest = f"where id > 1 union all select 777, 1, 1, repeat('x', 50) || '{quoted}'"
    changed.replace("marts/mart_a", " from {{ ref('fait_lignes') }}", ", 'a' as secret from {{ ref('fait_lignes') }} " + rest)
    code, output = changed.preview("-o", "json", "--rows", "1")
    assert code == 3, output
    assert json.loads(output)["rows"] == [
        {
            "relation": "dwh_marts.mart_a",
            "added": [{"id": "777", "zone": "1", "mois": "1", "secret": "x" * 50 + "***"}],
            "removed": [{"id": "1", "zone": "1", "mois": "2"}],
            "changed": [{"key": {"id": "7"}, "before": {"zone": "7"}, "after": {"zone": "99"}}],
        }
    ]
    assert password not in output + changed.preview("--rows", "1")[1]
    assert "rows" not in changed.preview_json()[1]


@pytest.mark.slow
def test_rows_are_not_for_merge_requests(changed: ChangedProject):
    """Those who read it may not be allowed to read the mart. So is a number out of range."""
    changed.live()
    assert changed.preview("--rows", "2", "-o", "markdown") == (
        2,
        "✗ --rows: a merge request shows its text to people who may not read the rows: use -o text or -o json\n",
    )
    for number in ("-1", "1001"):
        assert changed.preview("--rows", number) == (2, "✗ --rows: write a number between 0 and 1000\n")
    assert changed.preview("--rows", "1000")[0] == 0


@pytest.mark.slow
def test_a_mart_with_more_rows_is_compared_by_a_sample(changed: ChangedProject):
    """The report says so. The control is the same preview without the option, which compares all rows."""
    changed.live()
    changed.runner.database.run("insert into src.lignes select n, n, n % 12 + 1, 0 from generate_series(101, 4000) n")
    changed.live()
    changed.replace("marts/mart_a", "select id, zone", "select id, case when id % 4 = 0 then 0 else zone end as zone")
    code, output = changed.preview("--sample-rows", "1000")
    assert code == 3
    assert "dwh_marts.mart_a: 4000 → 4000 rows; in a sample of 1 key in 4: 0 added, 0 removed, " in output
    assert "all figures but the numbers of rows are of the sample: " in output
    _, found = changed.preview_json("--sample-rows", "1000")
    (mart,) = found["marts"]
    assert 150 < mart["changed"] < 350
    assert 850 < mart["sample"]["rowsBefore"] == mart["sample"]["rowsAfter"] < 1150
    _, found = changed.preview_json()
    assert (found["marts"][0]["changed"], found["marts"][0]["sample"]) == (1000, None)
    assert changed.preview("--sample-rows", "10") == (2, "✗ --sample-rows: write a number between 1000 and 1000000000\n")
