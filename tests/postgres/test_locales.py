"""Locales and encodings of a database, and messages in French."""

from __future__ import annotations

import psycopg
import pytest

from refresh_api.status import Reason
from support.managed import Warehouse

LOCALES = {
    "C": "encoding 'UTF8' lc_collate 'C' lc_ctype 'C'",
    "built-in C.UTF-8": "encoding 'UTF8' locale_provider builtin builtin_locale 'C.UTF-8'",
    "ICU fr-FR": "encoding 'UTF8' locale_provider icu icu_locale 'fr-FR'",
    "libc fr_FR": "encoding 'UTF8' lc_collate 'fr_FR.UTF-8' lc_ctype 'fr_FR.UTF-8'",
    "LATIN1": "encoding 'LATIN1' lc_collate 'C' lc_ctype 'C'",
    "SQL_ASCII": "encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C'",
}


@pytest.mark.parametrize("database", LOCALES.values(), ids=LOCALES, indirect=True)
def test_marts_are_published_whatever_the_locale(warehouse: Warehouse) -> None:
    """Rows are compared and texts sent in any of them; keys of a mart have accents."""
    warehouse.as_admin(f"alter table src.lignes alter zone type text using 'Île à vaches ' || zone; {WITH_ACCENT}")
    warehouse.grant()
    warehouse.publish_all_ways()
    assert warehouse.database.rows("select count(*) from dwh_marts.mart_a where zone = 'é'") == [(2,)]


WITH_ACCENT = """
create function src.accent() returns trigger language plpgsql as $$ begin new.zone := 'é'; return new; end $$;
create trigger accent before insert on src.lignes for each row when (new.id % 50 = 11) execute function src.accent();
"""


@pytest.mark.parametrize(("sqlstate", "code", "reason"), [("40001", 75, Reason.LAYER_FAILED), ("22012", 1, Reason.LAYER_FAILED)])
def test_what_can_be_retried_is_known_in_every_language(warehouse: Warehouse, sqlstate: str, code: int, reason: Reason) -> None:
    """By the code of an error: its text is that of the server's language."""
    database = warehouse.database
    try:
        database.run(f"alter database \"{database.name}\" set lc_messages = 'fr_FR.UTF-8'")
    except psycopg.errors.InvalidParameterValue:
        pytest.skip("the machine has no locale fr_FR.UTF-8")
    with database.connect() as connection, pytest.raises(psycopg.errors.DivisionByZero) as raised:
        connection.execute("select 1 / 0")
    if "division par z" not in str(raised.value):
        pytest.skip("this build of PostgreSQL has no translations")
    warehouse.grant()
    warehouse.run()
    warehouse.as_admin(
        f"""alter table src.lignes rename to vraies;
        create function src.zut() returns int language plpgsql as $$ begin raise exception using errcode = '{sqlstate}'; end $$;
        create view src.lignes as select id, zone, src.zut() as mois, nap, chargee from src.vraies;
        grant select on src.lignes to public; grant select on src.vraies to public"""
    )
    layers = [{"name": "staging", "select": ["stg_lignes", "fait_jours"], "retries": 0}]
    ran = warehouse.runner.run(warehouse.runner.spec(layers=layers, tests=None, validation=None, cache=None))
    assert ran.termination_message is not None
    assert (ran.code, ran.termination_message.reason) == (code, reason), ran.output
