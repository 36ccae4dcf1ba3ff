"""Durations, percentages and quantities: which values are accepted, and the messages for others."""

from datetime import timedelta
from decimal import Decimal

import pytest

from refresh_api.values import duration, duration_text, quantity, share


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("90s", 90), ("15m", 900), ("1h30m", 5400), ("2h", 7200), ("168h", 604800), ("1h1m1s", 3661)],
)
def test_a_duration_is_read(text, seconds):
    """Hours, minutes and seconds, in this order."""
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "0s", "0m", "5", "-5m", "1d", "5 m", "1m1h", "1.5h", "169h", "٣m", "5m\n"])
def test_another_text_is_no_duration(text):
    """The answer says how to write one."""
    with pytest.raises(ValueError, match="write a duration like 90s"):
        duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (-3, "0s"), (59.9, "59s"), (60, "1m00s"), (200, "3m20s"), (3600, "1h00m"), (3900, "1h05m")]
)
def test_a_duration_is_written_as_a_person_reads_it(seconds, text):
    """It is never negative, even if two clocks differ."""
    assert duration_text(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(("text", "value"), [("10%", "0.1"), ("9.99%", "0.0999"), ("0%", "0"), ("100%", "1"), ("2.5%", "0.025")])
def test_a_percentage_is_exact(text, value):
    """Decimal, so that exactly 10 % is 10 %."""
    assert share(text) == Decimal(value)


@pytest.mark.parametrize("text", ["10", "101%", "-1%", "10 %", "100.1%", "0.00001%", "%", "1e1%"])
def test_another_text_is_no_percentage(text):
    """The answer says how to write one."""
    with pytest.raises(ValueError, match="write a percentage like 10%"):
        share(text)


@pytest.mark.parametrize(
    ("text", "value"), [("250m", "0.25"), ("2", "2"), ("1.5", "1.5"), ("1k", "1000"), ("512Mi", str(512 * 2**20)), ("4Gi", str(4 * 2**30))]
)
def test_a_quantity_is_read_in_its_base_unit(text, value):
    """Cores and bytes."""
    assert quantity(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "4 Gi", "4GiB", "-1", "lots", "1K"])
def test_another_text_is_no_quantity(text):
    """The answer says how to write one."""
    with pytest.raises(ValueError, match="write a quantity like 250m"):
        quantity(text)
