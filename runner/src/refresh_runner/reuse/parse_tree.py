"""Reads PostgreSQL's own parse tree of a statement, as `pg_rewrite` stores it for a view: which objects it uses, and what it may do.

The search for words in SQL proves nothing: a name may be quoted, shadowed or written by a macro. The tree names every function and operator
by its oid. Nodes, and fields with an oid, that are unknown here may hide a function; a statement that has one is not reused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_KNOWN: Final = frozenset(
    """
    QUERY RTE RANGETBLENTRY RTEPERMISSIONINFO RANGETBLFUNCTION RANGETBLREF FROMEXPR JOINEXPR ALIAS TARGETENTRY VAR CONST PARAM FUNCEXPR
    NAMEDARGEXPR OPEXPR DISTINCTEXPR NULLIFEXPR SCALARARRAYOPEXPR ROWCOMPARE ROWCOMPAREEXPR BOOLEXPR SUBLINK CASE CASEEXPR WHEN CASEWHEN
    CASETESTEXPR COALESCE COALESCEEXPR MINMAX MINMAXEXPR NULLTEST BOOLEANTEST RELABELTYPE COERCEVIAIO ARRAYCOERCEEXPR COLLATE COLLATEEXPR
    ARRAY ARRAYEXPR ROW ROWEXPR SUBSCRIPTINGREF FIELDSELECT AGGREF GROUPINGFUNC GROUPINGSET WINDOWFUNC WINDOWCLAUSE SORTGROUPCLAUSE
    SETOPERATIONSTMT COMMONTABLEEXPR CTESEARCHCLAUSE CTECYCLECLAUSE
    """.split()
)
"""The nodes of a tree whose functions are all in the fields below."""
_REASONS: Final = {
    "SQLVALUEFUNCTION": "uses the current date, time, user or schema",
    "NEXTVALUEEXPR": "takes a value of a sequence",
    "TABLESAMPLECLAUSE": "takes a sample of a table",
    "ROWMARKCLAUSE": "locks rows",
}
_NODE: Final = re.compile(r"(?<!\\)\{([A-Z_]+)")
_FUNCTION: Final = re.compile(
    r":(?:funcid|opfuncid|aggfnoid|winfnoid|hashfuncid|negfuncid|startInRangeFunc|endInRangeFunc|elemfuncid) (\d+)"
)
_OPERATOR: Final = re.compile(r":(?:opno|eqop|sortop|cycle_mark_neop) (\d+)|:opnos \(o ([\d ]+)\)")
_TYPE: Final = re.compile(r":(?:\w*type(?:id)?) (\d+)")
_RELATION: Final = re.compile(r":relid (\d+)")
_SYSTEM_COLUMN: Final = re.compile(r":varattno -")
_CONVERTED: Final = re.compile(r":resulttype (\d+) :resultcollid")
"""Only a conversion by text (COERCEVIAIO) has these two fields in a row."""
_COLLATION: Final = re.compile(r":(?:\w*coll(?:id|Oid|ation)?) (\d+)")


@dataclass(frozen=True)
class ParseTree:
    """The objects that a statement uses, by oid."""

    functions: frozenset[int]
    operators: frozenset[int]
    types: frozenset[int]
    converted_to: frozenset[int]
    """Types whose values are read from text."""
    collations: frozenset[int]
    relations: frozenset[int]
    unsafe: str
    """What the statement does that may give another result each time; empty if there is nothing."""


def parse_tree(text: str) -> ParseTree:
    """Return what a tree contains, as the text of `pg_rewrite.ev_action`."""
    return ParseTree(
        _oids(_FUNCTION, text),
        _oids(_OPERATOR, text),
        _oids(_TYPE, text),
        _oids(_CONVERTED, text),
        _oids(_COLLATION, text),
        _oids(_RELATION, text),
        _unsafe(text),
    )


def _unsafe(text: str) -> str:
    nodes = set(_NODE.findall(text))
    if found := sorted(nodes & _REASONS.keys()):
        return _REASONS[found[0]]
    if unknown := sorted(nodes - _KNOWN):
        return f"uses an expression that is not examined ({unknown[0]})"
    return "reads a system column, such as xmin or ctid" if _SYSTEM_COLUMN.search(text) else ""


def _oids(pattern: re.Pattern[str], text: str) -> frozenset[int]:
    found = (number for match in pattern.finditer(text) for group in match.groups() if group for number in group.split())
    return frozenset(int(number) for number in found) - {0}
