"""The folders, environment variables and YAML files that dbt has read, as recorded by dbt in the last parse."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dbt.config.runtime import RuntimeConfig
    from dbt.contracts.graph.manifest import Manifest


def loaded_folders() -> set[str]:
    """Return the folders of the project and its packages, with links resolved, except those of dbt's own macros."""
    from dbt.adapters.factory import get_include_paths

    config = _config()
    own = {os.path.realpath(path) for path in get_include_paths(config.credentials.type)}
    found: set[str] = set()
    for each in config.load_dependencies().values():
        if (root := os.path.realpath(each.project_root)) not in own:
            folders = {*each.all_source_paths, *each.docs_paths}
            found |= {root, *(os.path.realpath(Path(root, folder)) for folder in folders)}
    return found


def environment_variables(manifest: Manifest) -> list[str]:
    """Return the environment variables that the project read during the parse."""
    projects = _config().load_dependencies().values()
    return sorted({*manifest.env_vars, *(name for each in projects for name in each.project_env_vars)})


def yaml_contents(manifest: Manifest) -> Iterator[tuple[str, object]]:
    """Yield the names and unrendered contents of the project's YAML files, except those of dbt's own packages."""
    from dbt.adapters.factory import get_adapter_package_names
    from dbt.contracts.files import SchemaSourceFile

    config = _config()
    own = set(get_adapter_package_names(config.credentials.type))
    for name, each in config.load_dependencies().items():
        if name not in own:
            yield f"dbt_project.yml of {name}", each.unrendered.project_dict
            yield f"selectors.yml of {name}", each.unrendered.selectors_dict
    for file in manifest.files.values():
        if isinstance(file, SchemaSourceFile):
            yield file.path.original_file_path, file.dict_from_yaml


def _config() -> RuntimeConfig:
    from dbt.adapters.factory import get_adapter_by_type

    found: RuntimeConfig = get_adapter_by_type("postgres").config  # type: ignore[no-untyped-call]  # dbt states no types here
    return found
