"""Work after a run is bounded in time, and none of its errors is more than a line of the log."""

import logging
import threading
import time

from refresh_runner.core.after_run import NotDoneError, Work, do_all


def test_each_work_says_what_it_did_or_why_not(caplog):
    """An error that nobody expected is named without its text, which may quote a secret."""

    def refused() -> str:
        raise NotDoneError("the server answered 500")

    def broken() -> str:
        raise ValueError("secret")

    with caplog.at_level(logging.INFO):
        do_all([Work("one", 5, lambda: "3 files written"), Work("two", 5, refused), Work("three", 5, broken)])
    assert {(record.levelname, record.getMessage()) for record in caplog.records} == {
        ("INFO", "one: 3 files written"),
        ("WARNING", "two: the server answered 500"),
        ("WARNING", "three: internal error: ValueError"),
    }


def test_all_of_it_takes_no_longer_than_the_longest(caplog):
    """A pod has thirty seconds to terminate, and each server may be silent. What takes too long is given up; the rest is not."""
    stop = threading.Event()

    def waits() -> str:
        stop.wait(30)
        return "late"

    works = [Work(name, 0.6, waits, stop.set if name == "b" else lambda: None) for name in "ab"]
    begun = time.monotonic()
    with caplog.at_level(logging.INFO):
        do_all([*works, Work("c", 0.6, lambda: "done")])
    assert 1.5 < time.monotonic() - begun < 2.5
    assert [record.getMessage() for record in caplog.records][:3] == ["c: done", *(f"{name}: not finished within 1 s" for name in "ab")]
    assert stop.is_set()
