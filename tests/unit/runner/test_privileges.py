"""The statements that grant a role its missing privileges."""

from refresh_runner.postgres.privileges import Grantee, Privilege, PrivilegeKind, grant_statements


def test_each_need_has_its_statement_and_none_is_said_twice():
    """All names are quoted."""
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
    """Schemas are created, and existing tables get the new owner."""
    needs = [Privilege(PrivilegeKind.CREATE, "marts"), Privilege(PrivilegeKind.OWNERSHIP, "marts", "m")]
    assert list(grant_statements(needs, Grantee("etl", "db"), offline=True)) == [
        'create schema if not exists "marts"',
        'grant usage, create on schema "marts" to "etl"',
        'alter table if exists "marts"."m" owner to "etl"',
    ]
