"""Judges stored samples of a bench, one line per figure: `figure=NAME value=V goal=G met`, or `… short` for a missed goal.

    python -m bench.verdicts SAMPLES.json …

It measures nothing, so that old samples can be judged again. Samples are written by `Samples.store`; goals are in
`goals.yaml` beside this file, chosen by the file's bench.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

GOALS: Final = Path(__file__).with_name("goals.yaml")


@dataclass
class Samples:
    """Measurements of one run of a bench, and its conditions."""

    bench: str
    started: str
    """Start time in UTC."""
    command: str
    """The command line that repeats the measurement."""
    versions: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    """Sizes of machine and data."""
    samples: dict[str, list[float]] = field(default_factory=dict)
    """Raw measurements by name, in seconds, bytes or numbers."""
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, *values: float) -> None:
        """Append measurements under a name."""
        self.samples.setdefault(name, []).extend(values)

    def store(self, folder: Path) -> Path:
        """Write everything as JSON into a folder, named by bench and time; return the file."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.bench}-{self.started.replace(':', '')}.json"
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")
        return path

    @classmethod
    def read(cls, path: Path) -> Samples:
        """Return stored samples."""
        return cls(**json.loads(path.read_text()))


@dataclass(frozen=True)
class Goal:
    """A goal of a figure: `statistic` of `samples`, or of the quotient or difference of two of them."""

    figure: str
    samples: str
    statistic: str
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None
    over: str = ""
    """Divide by the same statistic of these samples."""
    minus: str = ""
    """Subtract the same statistic of these samples."""


@dataclass(frozen=True)
class Verdict:
    """One figure and whether its goal is met."""

    figure: str
    value: float | None
    """None where nothing was measured, which misses the goal."""
    goal: str
    met: bool
    spread: str = ""

    def __str__(self) -> str:
        value = "none" if self.value is None else f"{self.value:.4g}"
        return f"figure={self.figure} value={value} goal={self.goal} {'met' if self.met else 'short'}" + (
            f"   ({self.spread})" if self.spread else ""
        )


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of values does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(share * 1000) // 1000) - 1)]


_STATISTICS: Final[Mapping[str, Callable[[Sequence[float]], float]]] = {
    "median": statistics.median,
    "p50": statistics.median,
    "p99": lambda values: percentile(values, 0.99),
    "max": max,
    "min": min,
    "sum": sum,
    "count": len,
}


def goals_of(bench: str, path: Path = GOALS) -> list[Goal]:
    """Return the goals of a bench, or of its size where defined (`refresh-10000`); raise KeyError if it has none."""
    known = yaml.safe_load(path.read_text())
    return [Goal(**each) for each in _flat(known.get(bench) or known[bench.rpartition("-")[0]])]


def _flat(listed: Sequence[Any]) -> Iterator[dict[str, Any]]:
    for each in listed:
        if isinstance(each, dict):
            yield each
        else:
            yield from _flat(each)


def judge(samples: Mapping[str, Sequence[float]], goals: Sequence[Goal]) -> Iterator[Verdict]:
    """Yield one verdict per goal."""
    for goal in goals:
        names = [name for name in (goal.samples, goal.over, goal.minus) if name]
        bound, sign = (goal.at_most, "<=") if goal.at_most is not None else (goal.at_least, ">=")
        text = f"{sign}{bound:g}{goal.unit}" if bound is not None else "stated"
        if not all(samples.get(name) for name in names):
            yield Verdict(goal.figure, None, text, met=False, spread="not measured")
            continue
        statistic = _STATISTICS[goal.statistic]
        value = float(statistic(samples[goal.samples]))
        if goal.over:
            value /= float(statistic(samples[goal.over]))
        if goal.minus:
            value -= float(statistic(samples[goal.minus]))
        met = bound is None or (value <= bound if goal.at_most is not None else value >= bound)
        yield Verdict(goal.figure, value, text, met, "; ".join(_spread(name, samples[name]) for name in names))


def _spread(name: str, values: Sequence[float]) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{name}: {len(values)} samples, {low:.4g} … {middle:.4g} … {high:.4g}"


def main(arguments: Sequence[str]) -> int:
    """Print the verdicts on one or more files; exit code 1 if a goal is missed."""
    met = True
    for stored in map(Samples.read, map(Path, arguments)):
        for verdict in judge(stored.samples, goals_of(stored.bench)):
            print(verdict)
            met = met and verdict.met
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
