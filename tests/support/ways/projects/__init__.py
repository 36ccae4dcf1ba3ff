"""The projects by subject. Every module in this package has a list PROJECTS and is found automatically."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from support.ways.project import Project


def all_projects() -> list[Project]:
    """Return the projects of all modules."""
    modules = [import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    return [project for module in modules for project in module.PROJECTS]
