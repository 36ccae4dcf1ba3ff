"""`unchangedPolicy: Reuse`: each node whose result would provably be the same is left as it is, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from refresh_api.run_request import ExitCode
from refresh_api.status import Reason
from refresh_examples.embedded import EmbeddedPostgres
from support.postgres import create_database, drop_database
from support.reuse_project import MARTS, ReuseProject
from support.runner_harness import HAS_OPTIONAL_PATCHES, SLOWNESS, Json, RunnerHarness

pytestmark = pytest.mark.skipif(not HAS_OPTIONAL_PATCHES, reason="without the optional patches of dbt everything is built")

ALWAYS = {"f_c", "f_now", "m_now"}
"""An incremental model, and one with now(), whose rows differ each time: always built, as is the mart that reads the latter."""


@pytest.fixture(scope="module")
def shared(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReuseProject]:
    """The project in a database of its own."""
    folder = tmp_path_factory.mktemp("reuse")
    database = create_database(postgres, "reprise")
    yield ReuseProject.create(RunnerHarness(folder, folder / "project", database, api=""))
    drop_database(database)


@pytest.fixture(params=["Swap", "Direct"])
def stands(shared: ReuseProject, request: pytest.FixtureRequest) -> ReuseProject:
    """The project after its first run, with both ways to publish."""
    shared.reset(request.param)
    assert shared.run() >= {"s_a", "f_a", "codes", *MARTS}
    assert shared.wrong() == {}
    return shared


def files(project: ReuseProject) -> list[tuple[object, ...]]:
    """Return what tells whether the two marts that can be reused have been written to."""
    query = "select relname, relfilenode, oid, (select max(xmin::text) from dwh_marts.m_a), (select max(xmin::text) from dwh_marts.m_b)"
    return project.runner.database.rows(f"{query} from pg_class where oid in ('dwh_marts.m_a'::regclass, 'dwh_marts.m_b'::regclass)")


def test_what_has_not_changed_is_left_as_it_is(stands: ReuseProject) -> None:
    """Neither models nor tests are executed, and people see what was reused, and why."""
    before, first = files(stands), stands.runner.database.rows("select version from dbt_refresh_version")[0][0]
    assert stands.run() == ALWAYS
    assert stands.wrong() == {}
    assert files(stands) == before
    messages = {str(row[0]): row[1] for row in stands.runner.database.rows("select step, message from dbt_refresh_step order by run_id")}
    assert messages["models"] == "3 models built, 2 of them unchanged, 7 reused"
    assert messages["tests"] == "3 tests passed, 3 of them reused"
    assert f"reusing m_a: nothing that it depends on has changed since {first}" in stands.log
    assert "building f_now: it calls now(), whose result may be another one each time" in stands.log
    assert "building f_c: incremental models are always built" in stands.log


def test_only_what_depends_on_a_change_is_built(stands: ReuseProject) -> None:
    """A new row in one source leaves the models of the others alone."""
    stands.runner.database.run("insert into src.a values (51, 3)")
    assert stands.run() == {"f_a", "m_a", "not_null_m_a_id", "unique_m_a_id", *ALWAYS}
    assert stands.wrong() == {}
    assert stands.run() == ALWAYS


CHANGES = {
    "a corrected row": ("update src.a set v = 6 where id = 7", {"f_a", "m_a", "not_null_m_a_id", "unique_m_a_id"}),
    "a deleted row": ("delete from src.a where id = 7", {"f_a", "m_a", "not_null_m_a_id", "unique_m_a_id"}),
    "the same rows again": (
        "create table kept as table src.a; truncate src.a; insert into src.a table kept; drop table kept",
        set[str](),
    ),
    "another row of an incremental model": ("update src.c set x = x + 1 where id = 1", {"m_c"}),
    "rows that a fact drops": ("update src.a set v = -5 where id = 7; update src.a set v = -4 where id = 7", {"f_a", "m_a"}),
    "a fact changed by others": ("update dwh_facts.f_a set v = v + 1", {"f_a"}),
    "a fact changed by others and back": ("update dwh_facts.f_a set v = v + 1; update dwh_facts.f_a set v = v - 1", {"f_a"}),
    "a mart changed by others": ("delete from dwh_marts.m_b where id = 1", {"m_b"}),
    "a dropped mart": ("drop table dwh_marts.m_b", {"m_b"}),
    "an index of a mart": ("create index on dwh_marts.m_b (id)", {"m_b"}),
    "a comment on a mart": ("comment on table dwh_marts.m_b is 'un commentaire'", {"m_b"}),
    "a seed's row": ("update dwh_facts.codes set nom = 'x' where id = 1", {"codes"}),
    "another view": ("create or replace view dwh_facts.s_a as select id, v + 0 as v from src.a", {"s_a"}),
    "a column of the source": ("alter table src.a add column autre int", {"s_a"}),
    "a new function": ("create or replace function public.f(int) returns int language sql as 'select 1'", {"m_a", "m_b", "f_a", "f_b"}),
    "a setting": ("alter database reprise set datestyle = 'German'", {"m_a", "m_b", "f_a", "f_b"}),
}


@pytest.mark.parametrize("stands", ["Swap"], indirect=True)
@pytest.mark.parametrize("case", CHANGES)
def test_a_change_is_built(stands: ReuseProject, case: str) -> None:
    """After each of these the marts are what a build of the whole gives. What must be built at least is stated for each."""
    change, least = CHANGES[case]
    stands.runner.database.run(change)
    try:
        built = stands.run()
        assert built >= least
        assert stands.wrong() == {}
        if case == "the same rows again":
            assert built == ALWAYS
        if case.startswith("a fact changed"):
            # Built again to the rows that it had, so that its mart is not.
            assert "m_a" not in built
    finally:
        stands.runner.database.run("alter database reprise reset datestyle; drop function if exists public.f(int)")


@pytest.mark.slow
def test_edits_of_the_project(stands: ReuseProject) -> None:
    """A comment and white space change nothing. SQL, a macro, a variable, a setting and a seed do, for the models that they affect."""
    stands.edit("models/marts/m_a.sql", lambda text: "-- un commentaire\n" + text.replace(" from ", "  /* ici */ from\n"))
    # An edited project is not parsed in advance. Its tests have other SQL the first time, because dbt itself compiles them.
    assert stands.run() == {*ALWAYS, "not_null_m_a_id", "unique_m_a_id", "unique_m_b_id"}
    stands.edit("models/marts/m_a.sql", lambda text: text + "\n\n-- encore un\n")
    assert stands.run() == ALWAYS
    stands.edit("models/marts/m_a.sql", lambda text: text.replace("v >= 0", "v >= 4"))
    assert stands.run() == {"m_a", "not_null_m_a_id", "unique_m_a_id", *ALWAYS}
    assert stands.wrong(m_a="select id, v * 2 as v from src.a where v * 2 >= 4") == {}
    stands.edit("macros/macros.sql", lambda text: text.replace("* 2", "* 3"))
    assert stands.run() == {"f_b", "m_b", "unique_m_b_id", *ALWAYS}
    mart_b = "select f.id, f.w * 3, c.nom from src.b f left join (values (1, 'un'), (2, 'deux')) c (id, nom) on c.id = f.id"
    m_a = "select id, v * 2 as v from src.a where v * 2 >= 4"
    assert stands.wrong(m_a=m_a, m_b=mart_b) == {}
    assert stands.run(dbt={"vars": {"factor": 5}}) == {"f_a", "m_a", "not_null_m_a_id", "unique_m_a_id", *ALWAYS}
    assert stands.wrong(m_a=m_a.replace("* 2", "* 5"), m_b=mart_b) == {}
    stands.edit("models/marts/m_b.sql", lambda text: "{{ config(indexes=[{'columns': ['id']}]) }}" + text)
    stands.edit("seeds/codes.csv", lambda text: text.replace("deux", "zwei"))
    assert stands.run(dbt={"vars": {"factor": 5}}) == {"codes", "m_b", "unique_m_b_id", *ALWAYS}
    assert stands.wrong(m_a=m_a.replace("* 2", "* 5"), m_b=mart_b.replace("deux", "zwei")) == {}


def test_a_failed_run_in_between(stands: ReuseProject) -> None:
    """What the failed run has built and not published is not taken for live."""
    stands.runner.database.run("update src.a set v = 6 where id = 7; update src.b set w = 9 where id = 8")
    stands.edit("models/marts/m_b.sql", lambda text: text.replace("f.w", "f.w / 0 as w"))
    assert stands.runner.run(stands.spec()).code == 1
    stands.edit("models/marts/m_b.sql", lambda text: text.replace("f.w / 0 as w", "f.w"))
    assert stands.run() >= {"m_b"}
    assert stands.wrong() == {}


def test_an_earlier_attempt_of_the_run_in_between(stands: ReuseProject) -> None:
    """What it has built beside the live mart is neither live nor known: tests read it, and must not keep their verdicts on the live one."""
    if stands.publish == "Direct":
        pytest.skip("nothing is built beside the live marts")
    layers = [
        {"name": "facts", "select": ["path:models/facts", "codes"]},
        {"name": "first", "select": ["m_a"]},
        {"name": "late", "select": ["m_b", "m_c", "m_now"], "timeout": f"{3 * SLOWNESS}s", "retries": 0},
    ]
    spec = stands.spec(layers=layers, retries=1, tests={"select": ["fqn:*"], "retries": 0, "failurePolicy": "Fail"})
    stands.edit("models/marts/m_c.sql", lambda text: f"{text} where pg_sleep(case when x > 100 then 60 else 0 end) is not null")
    stands.run()
    stands.runner.database.run("insert into src.a values (7, 3); update src.c set x = 200 where id = 1")
    first = stands.runner.run(spec, RUN_ID="reprise-twice")
    assert first.code == ExitCode.RETRY, first.output
    stands.runner.database.run("update dwh_facts.f_c set x = 0 where id = 1")
    second = stands.runner.run(spec, failures=1, RUN_ID="reprise-twice")
    assert "first Succeeded: 1 model kept from an earlier attempt" in second.output
    assert (second.code, "unique_m_a_id" in second.messages) == (1, True), second.output
    assert "testing unique_m_a_id: dwh_marts.m_a has changed" in second.messages
    stands.runner.database.run("delete from src.a where id = 7; insert into src.a values (7, 0); update src.c set x = 1 where id = 1")
    stands.run()
    assert stands.wrong() == {}


def test_full_refresh_builds_all(stands: ReuseProject) -> None:
    """That is how to have everything built."""
    assert stands.run(mode="full-refresh") >= {"s_a", "f_a", "f_b", "codes", *MARTS}
    assert stands.run() == ALWAYS


@pytest.mark.parametrize("stands", ["Swap"], indirect=True)
def test_a_rollback(stands: ReuseProject) -> None:
    """The marts that were live before are not taken for those that the last run has built."""
    stands.runner.database.run("insert into src.a values (51, 3)")
    stands.run()
    assert stands.runner.run(stands.spec(), mode="rollback").code == 0
    assert set(stands.wrong()) == {"m_a"}
    assert stands.run(mode="resume") >= {"m_a"}
    assert stands.wrong() == {}


def test_another_refresh_reuses_what_one_has_built(stands: ReuseProject) -> None:
    """The results belong to the warehouse: a refresh of some marts reuses the facts that another refresh has just built."""
    stands.runner.database.run("insert into src.a values (51, 3)")
    main: Json = {"layers": [{"name": "models", "select": ["path:models/facts", "codes"]}], "tests": None, "validation": None}
    assert stands.run(**main) == {"f_a", "f_c", "f_now"}
    marts = [{"relation": "dwh_marts.m_a"}]
    assert stands.run(layers=[{"name": "models", "select": ["+m_a"]}], tests=None, validation={"marts": marts}) == {"m_a"}
    assert stands.wrong() == {}


_RULES = """
  - name: m_b
    config: {contract: {enforced: true}}
    columns:
      - {name: id, data_type: integer, constraints: [{type: not_null}], data_tests: [unique, not_null]}
      - {name: w, data_type: integer}
      - {name: nom, data_type: text, data_tests: [{not_null: {config: {severity: warn}}}]}
"""


@pytest.mark.slow
@pytest.mark.parametrize("stands", ["Swap"], indirect=True)
def test_a_test_that_postgresql_enforces_is_not_run(stands: ReuseProject) -> None:
    """The column is NOT NULL by the contract, and unique by an index. A column without a constraint is tested."""
    stands.edit("models/properties.yml", lambda text: text[: text.index("  - {name: m_b")] + _RULES.lstrip("\n"))
    stands.edit("models/marts/m_b.sql", lambda text: "{{ config(indexes=[{'columns': ['id'], 'unique': true}]) }}" + text)
    assert stands.run() == {"m_b", "not_null_m_b_nom", "not_null_m_a_id", "unique_m_a_id", *ALWAYS}
    assert "not running unique_m_b_id: PostgreSQL enforces it: UNIQUE on dwh_marts__next.m_b.id" in stands.log
    assert "not running not_null_m_b_id: PostgreSQL enforces it: NOT NULL on dwh_marts__next.m_b.id" in stands.log
    # It warned, and its verdict stays.
    assert "not_null_m_b_nom" in stands.run()
    assert "reusing not_null_m_b_nom" in stands.log
    tests: Json = {"tests": {"select": ["fqn:*"], "retries": 0, "reuse": "Never"}}
    assert stands.run(**tests) >= {"unique_m_b_id", "not_null_m_b_id", "not_null_m_a_id", "unique_m_a_id"}
    stands.runner.database.run("drop index " + str(stands.runner.database.rows(_INDEX)[0][0]))
    assert "unique_m_b_id" not in stands.run(), "the mart is built again with its index"


def _idempotent(stands: ReuseProject) -> None:
    stands.edit("models/facts/f_c.sql", lambda text: text.replace("unique_key='id'", "unique_key='id', meta={'idempotent': true}"))


@pytest.mark.slow
def test_an_incremental_model_that_is_idempotent(stands: ReuseProject) -> None:
    """The project says that building it again changes nothing. Its rows, its SQL, and all macros still count."""
    _idempotent(stands)
    assert "f_c" in stands.run()
    # The first build as an existing table.
    stands.run()
    assert "f_c" not in stands.run()
    assert "reusing f_c: nothing that it depends on has changed" in stands.log
    stands.runner.database.run("update src.c set x = x + 1 where id = 1")
    assert stands.run() >= {"f_c", "m_c"}
    assert stands.wrong() == {}
    # Built once more, because others may have written what the last build seems to have written.
    assert {"f_c", "m_c"} & stands.run() == {"f_c"}
    assert stands.run().isdisjoint({"f_c", "m_c"})
    stands.runner.database.run("update dwh_facts.f_c set x = x + 1 where id = 1")
    assert "f_c" in stands.run(), "somebody else has changed it"
    assert stands.wrong() == {}
    stands.edit("macros/macros.sql", lambda text: text + "{% macro unrelated() %}{% endmacro %}")
    assert "f_c" in stands.run(), "a materialization may call any macro"


def _pure(stands: ReuseProject) -> None:
    """Leave nothing in the project that is always built."""
    _idempotent(stands)
    stands.edit("models/facts/f_now.sql", lambda text: text.replace("now() as seen", "1 as seen"))
    stands.run()
    stands.run()
    stands.run()


def _skipped(stands: ReuseProject, **changes: object) -> bool:
    stands.run("refresh", **changes)
    message = stands.last.termination_message if stands.last else None
    assert message is not None
    return message.reason is Reason.NOTHING_CHANGED


@pytest.mark.slow
def test_a_run_ends_at_once_if_all_is_proven_and_nothing_has_changed(stands: ReuseProject) -> None:
    """Like with `Skip`, but only if no SQL has `now()` or the like, and only if what belongs to the tables is the same too."""
    _pure(stands)
    assert _skipped(stands)
    assert _skipped(stands)
    for change in (
        "insert into src.a values (51, 3)",
        "update dwh_facts.f_a set v = v + 1 where id = 1",
        "create index on dwh_marts.m_b (id)",
        "comment on table dwh_facts.f_b is 'un commentaire'",
        "alter database reprise set datestyle = 'German'",
    ):
        stands.runner.database.run(change)
        assert not _skipped(stands), change
        assert stands.wrong() == {}
        assert _skipped(stands), change
    stands.runner.database.run("alter database reprise reset datestyle")
    assert not _skipped(stands)
    tests: Json = {"tests": {"select": ["fqn:*"], "retries": 0, "reuse": "Never"}}
    assert not _skipped(stands, **tests)
    assert not _skipped(stands, **tests)
    # The control: with SQL that may give another result each time, no run is skipped.
    stands.edit("models/facts/f_now.sql", lambda text: text.replace("1 as seen", "now() as seen"))
    assert not _skipped(stands)
    assert not _skipped(stands)
    assert "deciding for each model and test: not all results can be proven to be the same" in stands.log


_INDEX = "select indexrelid::regclass::text from pg_index where indrelid = 'dwh_marts.m_b'::regclass"

BROKEN = {
    "what a node reads": ("refresh_runner.reuse.decision.changed_input", lambda *_: "", "update src.a set v = v + 1"),
    "whether a node's own table is as it was": (
        "refresh_runner.reuse.contents.Contents.change_since",
        lambda *_: "",
        "delete from dwh_marts.m_b where id = 1",
    ),
    "whether rows are the same": (
        "refresh_runner.reuse.contents.row_digest",
        lambda *_: "the same",
        "update src.a set v = v + 1",
    ),
    "what makes SQL differ each time": (
        "refresh_runner.reuse.statements._reasons",
        lambda *_: iter(()),
        "",
    ),
}


@pytest.mark.parametrize("stands", ["Swap"], indirect=True)
@pytest.mark.parametrize("proof", BROKEN)
def test_without_a_proof_stale_marts_would_show(stands: ReuseProject, monkeypatch: pytest.MonkeyPatch, proof: str) -> None:
    """The control of the tests above: with any part of the proof broken on purpose, they find a stale mart."""
    where, broken, change = BROKEN[proof]
    monkeypatch.setattr(where, broken)
    if not change:
        stands.edit("models/marts/m_now.sql", lambda _: "select count(*) as n, current_timestamp as seen from {{ ref('f_b') }}")
        stands.run()
        before = stands.runner.database.rows("select seen from dwh_marts.m_now")
        stands.run()
        assert stands.runner.database.rows("select seen from dwh_marts.m_now") == before
        return
    if proof == "whether rows are the same":
        stands.run(mode="full-refresh")
    stands.runner.database.run(change)
    stands.run()
    assert stands.wrong() != {}
