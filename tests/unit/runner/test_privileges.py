"""The statements that give a role what it lacks."""

from refresh_runner.postgres.privileges import Need, Right, statements


def test_each_need_has_its_statement_and_none_is_said_twice():
    """Names are quoted, whatever they are made of."""
    needs = [
        Need(Right.MAKE_SCHEMAS),
        Need(Right.MAKE_SCHEMAS, "new"),
        Need(Right.USE, "src"),
        Need(Right.READ, "src", 'a"b'),
        Need(Right.READ, "src", 'a"b'),
        Need(Right.OWN, "marts", "m"),
    ]
    assert list(statements(needs, "etl-role", "db")) == [
        'grant create on database "db" to "etl-role"',
        'grant usage on schema "src" to "etl-role"',
        'grant select on "src"."a""b" to "etl-role"',
        'alter table "marts"."m" owner to "etl-role"',
    ]


def test_where_nobody_was_asked_nothing_need_be_there():
    """Schemas are made, and tables change hands if there are any."""
    needs = [Need(Right.MAKE, "marts"), Need(Right.OWN, "marts", "m")]
    assert list(statements(needs, "etl", "db", may_be_absent=True)) == [
        'create schema if not exists "marts"',
        'grant usage, create on schema "marts" to "etl"',
        'alter table if exists "marts"."m" owner to "etl"',
    ]
