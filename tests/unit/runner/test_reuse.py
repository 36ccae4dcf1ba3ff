"""The pure parts of reuse: the decision about one node, SQL without comments, and PostgreSQL's parse trees."""

from __future__ import annotations

import pytest

from refresh_runner.dbt.sql_text import normalized
from refresh_runner.reuse.decision import decide
from refresh_runner.reuse.parse_tree import parse_tree
from refresh_runner.reuse.results import Result

BUILT = Result(run_id="run-1", recipe="r", inputs={"src.a": "1", "src.b": "2"}, content="c")


def reason(stored: Result | None = BUILT, recipe: str = "r", unfit: str = "", change: str = "", **contents: str) -> str:
    """Return the reason why a node is built; empty if it is reused."""
    known = {"src.a": "1", "src.b": "2", **{name.replace("_", "."): content for name, content in contents.items()}}
    decision = decide(recipe, unfit, stored, lambda name: known[name], lambda _stored: change)
    return "" if decision.is_reused else decision.reason


def test_a_node_is_reused_only_if_all_is_equal() -> None:
    """Each condition alone is enough to build."""
    assert reason() == ""
    assert reason(None) == "nothing is known of an earlier result"
    assert reason(BUILT.model_copy(update={"recipe": ""})) == "it is not known how its relation was built"
    assert reason(recipe="another") == "its SQL, its settings, the project's macros or the server have changed"
    assert reason(unfit="it has hooks") == "it has hooks"
    assert reason(BUILT.model_copy(update={"unsafe": "it calls now()"})) == "it calls now()"
    assert reason(src_b="3") == "src.b has changed"
    assert reason(src_b="") == "src.b has changed"
    assert reason(change="dwh.t does not exist") == "dwh.t does not exist"


def test_an_unknown_content_equals_no_other() -> None:
    """Two relations of which nothing is known are not the same."""
    assert reason(BUILT.model_copy(update={"inputs": {"src.a": ""}}), src_a="") == "src.a has changed"


def test_the_warehouse_is_queried_only_while_all_else_is_equal() -> None:
    """A scan of each source for a model whose SQL has changed would be wasted."""

    def refuse(_: object) -> str:
        raise AssertionError

    assert not decide("another", "", BUILT, refuse, refuse).is_reused
    assert decide("r", "", BUILT.model_copy(update={"inputs": {}}), refuse, lambda _: "").is_reused


EQUAL = {
    "select  1\n\tas a": "select 1 as a",
    "select 1 -- un\nas a": "select 1 as a",
    "select/* un */1 as a": "select 1 as a",
    "/* a /* b */ c */ select 1 as a": "select 1 as a",
    "select 1 as a -- fin": "select 1 as a",
}
DIFFERENT = (
    ("select 'a  b'", "select 'a b'"),
    ("select 'a -- b'", "select 'a '"),
    ("select '/* a */'", "select ' '"),
    ("select 'it''s  a'", "select 'it''s a'"),
    ("select e'it\\'s  -- a'", "select e'it\\'s '"),
    ('select "a  b"', 'select "a b"'),
    ("select $$a  b$$", "select $$a b$$"),
    ("select $x$a  b$x$", "select $x$a b$x$"),
    ("select a$$b, 'c  d' , $$", "select a$$b, 'c d' , $$"),
    ("select 1 a", "select 1a"),
    ("select a.b", "select a. b"),
    ("select 'a' -- x", "select 'a -- x'"),
)


@pytest.mark.parametrize("sql", EQUAL)
def test_comments_and_white_space_do_not_count(sql: str) -> None:
    """A comment in a model is not a reason to build it."""
    assert normalized(sql) == EQUAL[sql]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_literals_and_names_count(one: str, other: str) -> None:
    """What looks like a comment or white space inside them is data."""
    assert normalized(one) != normalized(other)


def test_a_parse_tree_names_what_it_uses() -> None:
    """Functions, operators, types, collations and relations, wherever they are."""
    tree = parse_tree(
        "({QUERY :rtable ({RANGETBLENTRY :relid 16385}) :targetList ({TARGETENTRY :expr {FUNCEXPR :funcid 870 :funcresulttype 25"
        " :inputcollid 100 :args ({COERCEVIAIO :arg {OPEXPR :opno 551 :opfuncid 177 :opresulttype 23} :resulttype 1082 :resultcollid 0"
        " :coerceformat 1})}}) :groupClause ({SORTGROUPCLAUSE :eqop 98 :sortop 664}) {ROWCOMPAREEXPR :opnos (o 1095 97)}})"
    )
    assert [sorted(oids) for oids in (tree.functions, tree.operators, tree.relations)] == [[177, 870], [97, 98, 551, 664, 1095], [16385]]
    assert [sorted(oids) for oids in (tree.types, tree.converted_to, tree.collations)] == [[23, 25, 1082], [1082], [100]]
    assert tree.unsafe == ""


@pytest.mark.parametrize(
    ("tree", "unsafe"),
    [
        ("{SQLVALUEFUNCTION :op 0}", "uses the current date, time, user or schema"),
        ("{VAR :varno 1 :varattno -1 :vartype 27}", "reads a system column, such as xmin or ctid"),
        ("{NEWEXPRESSION :funcid 1}", "uses an expression that is not examined (NEWEXPRESSION)"),
        ('{ALIAS :aliasname \\{SQLVALUEFUNCTION :colnames ("a")}', ""),
    ],
)
def test_what_is_unknown_is_unsafe(tree: str, unsafe: str) -> None:
    """A later version of PostgreSQL may have nodes whose functions are in fields of other names. A name is no node."""
    assert parse_tree(tree).unsafe == unsafe
