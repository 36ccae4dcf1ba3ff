"""The last lines of the log, which are kept in the run log."""

import json
import logging

from refresh_runner.core.secrets import Redactor
from refresh_runner.report.log_output import JsonLines, PlainLines, Tail


def test_a_tail_is_bounded_and_keeps_the_last_lines():
    """By their total length; a single longer line is clipped."""
    tail = Tail(logging.Formatter("%(message)s"), longest=20)
    for text in ("one", "two", "three", "four", "five", "six"):
        tail.emit(logging.makeLogRecord({"msg": text}))
    assert tail.text() == "three\nfour\nfive\nsix\n"
    tail.emit(logging.makeLogRecord({"msg": "x" * 50}))
    assert tail.text() == "x" * 19 + "…\n"


def test_no_line_holds_an_escape_sequence_of_others():
    """Neither plain lines nor JSON, which keeps the text unchanged."""
    hostile = "\x1b[2J\x9b31m\u202e\r"
    record = logging.makeLogRecord({"msg": f"a row says {hostile}", "levelname": "INFO"})
    redact = Redactor([])
    line = JsonLines(redact, "r", "run", lambda: None).format(record)
    assert json.loads(line)["message"] == f"a row says {hostile}"
    assert line.isprintable()
    assert PlainLines(redact).format(record).isprintable()
