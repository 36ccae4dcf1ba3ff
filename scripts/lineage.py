"""`make docs-dbt`: write the dbt project's documentation as one HTML file, and draw its lineage. No database is needed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from dbt.cli.main import dbtRunner
from dbt.contracts.graph.manifest import Manifest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = ROOT / "dbt_project"
PICTURE = PROJECT / "lineage.svg"
DOCS = ROOT / ".state" / "dbt-docs.html"

_PROFILE = "warehouse: {target: docs, outputs: {docs: {type: postgres, host: h, port: 5432, user: u, password: p, dbname: d, schema: s}}}"
_COLUMNS = ("sources", "staging", "dimensions, facts", "marts", "dashboards")
_COLUMN_OF = {"staging": 1, "dimensions": 2, "facts": 2, "marts": 3}
"""By layer; no fact reads a dimension."""
_MAIN, _PHASE2, _OUTSIDE = ("#e8f1fb", "#4a7fb5"), ("#fdf0e1", "#c77d2b"), ("#f2f2f2", "#8a8a8a")
_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN, _HEAD = 196, 26, 62, 12, 16, 56  # pixels


@dataclass(frozen=True)
class Box:
    """A source, model or dashboard in the picture."""

    id: str
    name: str
    column: int
    colours: tuple[str, str]
    reads: tuple[str, ...]


def boxes(manifest: Manifest) -> list[Box]:
    """Return everything that is drawn, sorted by name."""
    found = [Box(id_, source.name, 0, _OUTSIDE, ()) for id_, source in manifest.sources.items()]
    for id_, node in manifest.nodes.items():
        if id_.startswith("model."):
            colours = _PHASE2 if "P2" in node.tags else _MAIN
            found.append(Box(id_, node.name, _COLUMN_OF[node.path.split("/")[0]], colours, tuple(node.depends_on_nodes)))
    for id_, exposure in manifest.exposures.items():
        found.append(Box(id_, exposure.name, len(_COLUMNS) - 1, _OUTSIDE, tuple(exposure.depends_on.nodes)))
    return sorted(found, key=lambda box: box.name)


def rows(drawn: Sequence[Box]) -> dict[str, float]:
    """Return the row of each box, by id: close to what it reads and what reads it, without overlaps."""
    columns = [[box for box in drawn if box.column == number] for number in range(len(_COLUMNS))]
    place = {box.id: float(number) for column in columns for number, box in enumerate(column)}
    readers: dict[str, list[str]] = {}
    for box in drawn:
        for read in box.reads:
            readers.setdefault(read, []).append(box.id)
    for _ in range(12):
        for column in columns:
            wanted = {box.id: _mean([place[id_] for id_ in (*box.reads, *readers.get(box.id, ()))], place[box.id]) for box in column}
            column.sort(key=lambda box: (wanted[box.id], box.name))
            for number, box in enumerate(column):
                place[box.id] = number + (max(map(len, columns)) - len(column)) / 2
    return place


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def svg(manifest: Manifest) -> str:
    """Return the picture: sources on the left, dashboards on the right, coloured by the refresh that builds a model."""
    drawn = boxes(manifest)
    place = rows(drawn)
    width = 2 * _MARGIN + len(_COLUMNS) * _WIDTH + (len(_COLUMNS) - 1) * _GAP_X
    height = _HEAD + int(max(place.values()) + 1) * (_HEIGHT + _GAP_Y) + _MARGIN
    return "\n".join([*_head(width, height), *_lines(drawn, place), *_boxes(drawn, place), "</svg>", ""])


def _head(width: int, height: int) -> Iterator[str]:
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" font-size="12">'
    yield f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>'
    for number, name in enumerate(_COLUMNS):
        yield f'<text x="{_x(number)}" y="24" font-weight="600" fill="#333333">{name}</text>'
    for number, (colours, said) in enumerate(((_MAIN, "built by main"), (_PHASE2, "built by phase 2"))):
        x = _x(0) + number * 130
        yield f'<rect x="{x}" y="34" width="12" height="12" rx="3" fill="{colours[0]}" stroke="{colours[1]}"/>'
        yield f'<text x="{x + 18}" y="44" fill="#555555" font-size="11">{said}</text>'


def _lines(drawn: Sequence[Box], place: Mapping[str, float]) -> Iterator[str]:
    column = {box.id: box.column for box in drawn}
    for box in drawn:
        for read in sorted(box.reads):
            x1, x2 = _x(column[read]) + _WIDTH, _x(box.column)
            y1, y2 = _y(place[read]) + _HEIGHT // 2, _y(place[box.id]) + _HEIGHT // 2
            bend = _GAP_X * 2 // 3
            yield f'<path d="M{x1} {y1}C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}" fill="none" stroke="#b5b5b5"/>'


def _boxes(drawn: Sequence[Box], place: Mapping[str, float]) -> Iterator[str]:
    for box in drawn:
        x, y = _x(box.column), _y(place[box.id])
        fill, stroke = box.colours
        yield f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="5" fill="{fill}" stroke="{stroke}"/>'
        yield f'<text x="{x + 10}" y="{y + 17}" fill="#222222">{escape(box.name)}</text>'


def _x(column: int) -> int:
    return _MARGIN + column * (_WIDTH + _GAP_X)


def _y(row: float) -> int:
    return _HEAD + round(row * (_HEIGHT + _GAP_Y))


def main() -> None:
    """Write the documentation and the picture."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "profiles.yml").write_text(_PROFILE)
        places = ["--project-dir", str(PROJECT), "--profiles-dir", folder, "--target-path", folder, "--log-path", folder]
        parsed = dbtRunner().invoke(["--quiet", "parse", *places])
        if not isinstance(parsed.result, Manifest):
            raise SystemExit(f"docs-dbt: {parsed.exception}")
        PICTURE.write_text(svg(parsed.result))
        done = dbtRunner(parsed.result).invoke(["--quiet", "docs", "generate", "--static", "--empty-catalog", "--no-compile", *places])
        if not done.success:
            raise SystemExit(f"docs-dbt: {done.exception}")
        DOCS.parent.mkdir(exist_ok=True)
        shutil.copyfile(place / "static_index.html", DOCS)
    print(f"{DOCS.relative_to(ROOT)}: open it in a browser\n{PICTURE.relative_to(ROOT)}: the lineage")


if __name__ == "__main__":
    main()
