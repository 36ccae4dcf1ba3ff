"""The log's last lines, which are kept."""

import logging

from refresh_runner.output import Tail


def test_a_tail_is_bounded_and_keeps_the_last_lines():
    """By their length in all; one line that is longer alone is cut."""
    tail = Tail(logging.Formatter("%(message)s"), longest=20)
    for text in ("one", "two", "three", "four", "five", "six"):
        tail.emit(logging.makeLogRecord({"msg": text}))
    assert tail.text() == "three\nfour\nfive\nsix\n"
    tail.emit(logging.makeLogRecord({"msg": "x" * 50}))
    assert tail.text() == "x" * 19 + "…\n"
