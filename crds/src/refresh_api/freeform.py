"""Free-form values, such as dbt variables: the maximum depth of nesting, and the numbers that are allowed."""

import math
from typing import Final

LEVELS: Final = 32
"""Maximum depth of nested lists and objects. dbt reads variables with a YAML parser that fails at little more."""

_NUMBER: Final = 2**63


def bounded(found: object) -> object:
    """Return free-form values unchanged; ValueError names one that is nested too deeply, or has a number that is not allowed."""
    if isinstance(found, dict):
        for name, value in found.items():
            _check(str(name)[:64], value)
    return found


def _check(name: str, value: object) -> None:
    left = [(value, 0)]
    while left:
        each, level = left.pop()
        if level > LEVELS:
            raise ValueError(f"{name}: nested too deeply: at most {LEVELS} levels of lists and objects")
        if isinstance(each, float) and not math.isfinite(each):
            raise ValueError(f"{name}: {each} is not a number in JSON")
        if isinstance(each, int | float) and abs(each) >= _NUMBER:
            raise ValueError(f"{name}: {each} is too large: the API server rounds numbers from 2^63; write it in quotes")
        if isinstance(each, dict):
            left += [(inner, level + 1) for inner in each.values()]
        elif isinstance(each, list):
            left += [(inner, level + 1) for inner in each]
