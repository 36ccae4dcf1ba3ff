"""Values whose form their users choose, such as dbt's variables: how deep they may be nested, and which numbers they may hold."""

import math
from typing import Final

LEVELS: Final = 32
"""Lists and objects within each other. dbt reads variables as YAML, in a parser that gives up not far beyond."""

_NUMBER: Final = 2**63


def bounded(found: object) -> object:
    """Return free-form values by name as they are; ValueError names the one that is nested too deeply, or holds no finite number."""
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
            raise ValueError(f"{name}: {each} is no number that JSON has")
        if isinstance(each, int | float) and abs(each) >= _NUMBER:
            raise ValueError(f"{name}: {each} is too large: the API server keeps numbers from 2^63 only roughly; write it in quotes")
        if isinstance(each, dict):
            left += [(inner, level + 1) for inner in each.values()]
        elif isinstance(each, list):
            left += [(inner, level + 1) for inner in each]
