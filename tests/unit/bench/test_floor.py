"""The SQL that a run sent, parsed from the server's log."""

from bench.floor import statements_of

LOG = """@@7@@LOG:  statement: begin
@@7@@LOG:  execute <unnamed>: select 1,
\t2
@@9@@LOG:  automatic vacuum of table "ours.dwh_facts.fait_emplois_crees": index scans: 0
\tpages: 0 removed, 5 remain
@@7@@ERROR:  no such thing
@@7@@STATEMENT:  select nothing
@@7@@LOG:  statement: commit
"""


def test_only_statements_are_heard():
    """Statements may span lines; the server's own messages about vacuums and errors must not be taken for statements."""
    assert list(statements_of(LOG)) == ["begin", "select 1,\n2", "commit"]
