"""Cache of a parsed project, in the project's target folder, if it is shown to be valid for every warehouse and every date.

dbt discards a parsed project when the connection or a variable changes, and would parse every project again in every pod. That takes
seconds of CPU time, for a result in which at most the database's name differs. When an image is built, the project is parsed twice, for two
warehouses and two dates. It is cached if the results differ only in that name. The file is JSON, because it is stored with the user's
project: reading it creates only dbt's data objects and executes no code.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Collection, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import JsonValue

from refresh_runner.dbt import json_objects
from refresh_runner.dbt.names import Names
from refresh_runner.dbt.nodes import functions_of
from refresh_runner.dbt.patches.json_schemas import schemas
from refresh_runner.dbt.project_files import project_files
from refresh_runner.dbt.test_templates import Statements
from refresh_runner.model.plan import DbtSettings

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

AS_OF: Final = "as_of"
"""The variable that every run sets to the current date."""
_VERSION: Final = 4
"""Version of the file's format."""
_TRANSIENT: Final = frozenset({"created_at", "generated_at", "invocation_id", "invocation_started_at"})
_NOT_COMPARED: Final = frozenset({"metadata", "files", "flat_graph", "state_check", "disabled"})
"""Parts of a manifest that describe the parse, duplicate other parts, or are unused."""


def path(project: Path, settings: DbtSettings) -> Path:
    """Return the path of a cached project, whether or not it exists. Its name is a hash of everything that the parse depends on.

    The file never exists for a project whose files are not all known.
    """
    files = project_files(project)
    if files.unknown:
        return unknown(project)
    further = {name: value for name, value in settings.variables.items() if name != AS_OF}
    held: list[JsonValue] = [
        *(version(name) for name in ("dbt-core", "dbt-postgres", "dbt-common", "dbt-adapters", "jinja2")),
        _VERSION,
        *(files.digest, settings.target, settings.schema, further),
    ]
    name = hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()[:20]
    return project / "target" / f"refresh_{name}.json"


def unknown(project: Path) -> Path:
    """Return the path for a project whose files are not all known. No such file ever exists."""
    return project / "target" / "refresh_unknown.json"


def write(path: Path, manifest: Manifest, tests: Statements, others: Collection[Path] = ()) -> None:
    """Cache a parsed project with the templates of its tests. Remove other cached projects in the folder, except `others`.

    Raise json_objects.UnwritableError if the project contains an object that cannot be written.
    """
    parts = {name: getattr(manifest, name) for name in _parts(manifest)}
    content = {"manifest": parts, "tests": dict(tests), "schemas": schemas}
    replace_file(path, json_objects.dumps(content).encode(), earlier="refresh_*.json", others=others)
    for each in path.parent.glob("refresh_*.pickle"):
        each.unlink(missing_ok=True)


def replace_file(path: Path, content: bytes, earlier: str, others: Collection[Path] = ()) -> None:
    """Write a file atomically. Remove files in its folder that match the pattern `earlier`, except `others`."""
    path.parent.mkdir(exist_ok=True)
    for each in set(path.parent.glob(earlier)) - set(others):
        each.unlink(missing_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    Path(file.name).chmod(0o644)
    Path(file.name).rename(path)


def read(path: Path, database: str, before: str) -> tuple[Manifest, Statements]:
    """Return a cached project as if it had been parsed for this database, and the templates of its tests.

    `before` is the database for which it was parsed. Raise ValueError if `write` did not create the file.
    """
    from dbt.contracts.graph.manifest import Manifest

    content = json_objects.loads(path.read_text())
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a cached project")
    schemas.update(content["schemas"])
    manifest = Manifest(**content["manifest"])
    move(manifest, database, before)
    manifest.build_flat_graph()  # type: ignore[no-untyped-call]  # dbt states no types here
    return manifest, content["tests"]


def move(manifest: Manifest, database: str, before: str | None = None) -> None:
    """Move all nodes, or only those in the database `before`, to another database, including their names in SQL."""
    names, renamed = Names(manifest), {}
    for node in (*manifest.nodes.values(), *manifest.sources.values(), *functions_of(manifest).values()):
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
    """Return a description of the first difference between two parsed projects; None if they are equal."""
    return _in_words(_differing(_plain(one), _plain(other)))


def _in_words(place: Sequence[str] | None) -> str | None:
    if place is None:
        return None
    part, name, *further = (*place, "", "")
    where = ".".join(each for each in further if each)
    what = f"{where} of {name}" if where else f"{name} in {part}" if name else part
    return f"{what} differs between warehouses or dates"


def _plain(manifest: Manifest) -> JsonValue:
    parts = {name: getattr(manifest, name) for name in _parts(manifest) if name not in _NOT_COMPARED}
    keyed = {name: {str(key): value for key, value in part.items()} for name, part in parts.items()}
    plain: JsonValue = json.loads(json.dumps(keyed, default=_as_json))
    return plain


def _parts(manifest: Manifest) -> list[str]:
    return [field.name for field in dataclasses.fields(manifest) if not field.name.startswith("_")]


def _as_json(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.name not in _TRANSIENT}
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    return str(value)


def _differing(one: JsonValue, other: JsonValue, where: tuple[str, ...] = ()) -> tuple[str, ...] | None:
    """Return the path to the first difference; None if there is none."""
    if isinstance(one, dict) and isinstance(other, dict):
        pairs = [(key, one.get(key), other.get(key)) for key in sorted(one.keys() | other.keys())]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = [(str(number), mine, theirs) for number, (mine, theirs) in enumerate(zip(one, other, strict=True))]
    else:
        return None if one == other else where
    return next((found for key, mine, theirs in pairs if (found := _differing(mine, theirs, (*where, key))) is not None), None)
