"""The statements that give a role what it lacks."""

from refresh_runner.postgres.privileges import Grantee, Privilege, PrivilegeKind, grant_statements


def test_each_need_has_its_statement_and_none_is_said_twice():
    """Names are quoted, whatever they are made of."""
    needs = [
        Privilege(PrivilegeKind.CREATE_SCHEMA),
        Privilege(PrivilegeKind.CREATE_SCHEMA, "new"),
        Privilege(PrivilegeKind.USAGE, "src"),
        Privilege(PrivilegeKind.SELECT, "src", 'a"b'),
        Privilege(PrivilegeKind.SELECT, "src", 'a"b'),
        Privilege(PrivilegeKind.OWNERSHIP, "marts", "m"),
    ]
    assert list(grant_statements(needs, Grantee("etl-role", "db"))) == [
        'grant create on database "db" to "etl-role"',
        'grant usage on schema "src" to "etl-role"',
        'grant select on "src"."a""b" to "etl-role"',
        'alter table "marts"."m" owner to "etl-role"',
    ]


def test_where_nobody_was_asked_nothing_need_be_there():
    """Schemas are made, and tables change hands if there are any."""
    needs = [Privilege(PrivilegeKind.CREATE, "marts"), Privilege(PrivilegeKind.OWNERSHIP, "marts", "m")]
    assert list(grant_statements(needs, Grantee("etl", "db"), offline=True)) == [
        'create schema if not exists "marts"',
        'grant usage, create on schema "marts" to "etl"',
        'alter table if exists "marts"."m" owner to "etl"',
    ]
