"""A dbt project read ahead: what a parse found is kept, if it was shown to hold for every warehouse and every date.

dbt throws a parsed project away when the connection or a variable has changed, and so reads every project anew in every pod: seconds
of processor time, for a result that differs in the database's name at most. Whether it does is found out when an image is built: the
project is read twice, for two warehouses and two dates, and kept if both results are the same but for that name.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
import sys
import tempfile
from collections.abc import Collection, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import JsonValue

from refresh_runner.dbt.names import Names
from refresh_runner.dbt.patches.compiled_tests import Statements
from refresh_runner.dbt.patches.lazy_classes import schemas
from refresh_runner.dbt.patches.node_selection import compiled, know
from refresh_runner.dbt.project_files import project_files
from refresh_runner.model.plan import DbtSettings

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

AS_OF: Final = "as_of"
"""The one variable that every run gives, another one each day."""
_FORM: Final = 3
"""Of the file; another one each time that what it holds changes."""
_PASSING: Final = frozenset({"created_at", "generated_at", "invocation_id", "invocation_started_at"})
_EACH_ITS_OWN: Final = frozenset({"metadata", "files", "flat_graph", "state_check", "disabled"})
"""Parts of a parsed project that speak of the parse, repeat the others, or are not used."""


def place(project: Path, settings: DbtSettings) -> Path:
    """Return the file that holds a project as it was read ahead, whether or not it is there; its name says what it holds for.

    Of a project whose files are not all known there is none.
    """
    files = project_files(project)
    if files.unknown:
        return project / "target" / "refresh_unknown.pickle"
    further = {name: value for name, value in settings.variables.items() if name != AS_OF}
    held: list[JsonValue] = [
        *(version(name) for name in ("dbt-core", "dbt-postgres", "dbt-common", "dbt-adapters", "jinja2")),
        _FORM,
        sys.implementation.cache_tag,
        *(files.digest, settings.target, settings.schema, further),
    ]
    name = hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()[:20]
    return project / "target" / f"refresh_{name}.pickle"


def write(path: Path, manifest: Manifest, tests: Statements, others: Collection[Path] = ()) -> None:
    """Keep a parsed project, the statements of its tests, and what dbt made to read them; all beside it but `others` are removed."""
    # By its parts, since a manifest that is pickled whole loses some.
    parts = {name: getattr(manifest, name) for name in _parts(manifest)}
    content = (parts, dict(tests), compiled(manifest), schemas)
    keep(path, pickle.dumps(content, protocol=pickle.HIGHEST_PROTOCOL), earlier="refresh_*.pickle", others=others)


def keep(path: Path, content: bytes, earlier: str, others: Collection[Path] = ()) -> None:
    """Write a file of a project that runs read, whole and under its name at once; of the pattern beside it, `others` alone stay."""
    path.parent.mkdir(exist_ok=True)
    for each in set(path.parent.glob(earlier)) - set(others):
        each.unlink(missing_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    Path(file.name).chmod(0o644)
    Path(file.name).rename(path)


def read(path: Path, database: str, before: str) -> tuple[Manifest, Statements]:
    """Return a kept project as if it had been parsed for this database, and the statements of its tests as they are kept.

    `before` is the database that it was parsed for.
    """
    from dbt.contracts.graph.manifest import Manifest

    # Pickled, since dbt's own form takes half a second to read. It lies in the project, whose macros run with the same rights.
    parts, tests, macros, known = pickle.loads(path.read_bytes())  # noqa: S301
    know(macros)
    schemas.update(known)
    manifest = Manifest(**parts)
    move(manifest, database, before)
    manifest.build_flat_graph()  # type: ignore[no-untyped-call]  # dbt states no types here
    return manifest, tests


def move(manifest: Manifest, database: str, before: str | None = None) -> None:
    """Have everything that stands in a database, or only what stands in the one `before`, stand in another one, as dbt names it there."""
    names, renamed = Names(manifest), {}
    for node in (*manifest.nodes.values(), *manifest.sources.values(), *manifest.functions.values()):
        if before is not None and node.database != before:
            continue
        name = node.relation_name
        is_usual = bool(name) and name == names.in_sql(node)
        node.database = database
        if is_usual:
            node.relation_name = renamed[name] = names.in_sql(node)
    for model in manifest.semantic_models.values():
        relation = model.node_relation
        if relation is not None and (before is None or relation.database == before):
            relation.database = database
            relation.relation_name = renamed.get(relation.relation_name, relation.relation_name)
    for query in manifest.saved_queries.values():
        for export in query.exports:
            if before is None or export.config.database == before:
                export.config.database = database


def difference(one: Manifest, other: Manifest) -> str | None:
    """Return the first thing in which two parsed projects differ, in words; None if they are the same."""
    return _told(_differing(_plain(one), _plain(other)))


def _told(place: Sequence[str] | None) -> str | None:
    if place is None:
        return None
    part, name, *further = (*place, "", "")
    where = ".".join(each for each in further if each)
    what = f"{where} of {name}" if where else f"{name} in {part}" if name else part
    return f"{what} is another one for another warehouse or date"


def _plain(manifest: Manifest) -> JsonValue:
    parts = {name: getattr(manifest, name) for name in _parts(manifest) if name not in _EACH_ITS_OWN}
    keyed = {name: {str(key): value for key, value in part.items()} for name, part in parts.items()}
    plain: JsonValue = json.loads(json.dumps(keyed, default=_as_json))
    return plain


def _parts(manifest: Manifest) -> list[str]:
    return [field.name for field in dataclasses.fields(manifest) if not field.name.startswith("_")]


def _as_json(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.name not in _PASSING}
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    return str(value)


def _differing(one: JsonValue, other: JsonValue, where: tuple[str, ...] = ()) -> tuple[str, ...] | None:
    """Return the way to the first thing that differs, None if nothing does."""
    if isinstance(one, dict) and isinstance(other, dict):
        pairs = [(key, one.get(key), other.get(key)) for key in sorted(one.keys() | other.keys())]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = [(str(number), mine, theirs) for number, (mine, theirs) in enumerate(zip(one, other, strict=True))]
    else:
        return None if one == other else where
    return next((found for key, mine, theirs in pairs if (found := _differing(mine, theirs, (*where, key))) is not None), None)
