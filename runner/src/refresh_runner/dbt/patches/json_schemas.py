"""Makes dbt generate the JSON schema of each of its classes at most once.

dbt generates the schemas of 150 classes to check a project. A project that was parsed in advance can provide them.
"""

from __future__ import annotations

from typing import Final

from pydantic import JsonValue

from refresh_runner.dbt.patches.patch import Patch, Symbol

PATCH: Final = Patch(
    name="json_schemas",
    purpose="dbt generates each JSON schema once.",
    symbols=(Symbol("dbt_common.dataclass_schema", "dbtClassMixin.json_schema", "cls", "classmethod"),),
    saves_ms=0,
)

schemas: Final[dict[str, JsonValue]] = {}
"""The generated or preloaded JSON schemas of dbt's classes, by the full name of the class."""


@PATCH.once
def cache_json_schemas() -> None:
    """Apply the patch for the lifetime of the process."""
    from dbt_common.dataclass_schema import dbtClassMixin

    make = vars(dbtClassMixin)["json_schema"].__func__

    def json_schema(cls: type) -> JsonValue:
        name = f"{cls.__module__}.{cls.__qualname__}"
        if name not in schemas:
            schemas[name] = make(cls)
        return schemas[name]

    dbtClassMixin.json_schema = classmethod(json_schema)  # type: ignore[method-assign, assignment]
