"""On refreshes of which other namespaces a refresh may depend; pure.

A dependency tells whoever writes the refresh when a refresh of another team last succeeded.
"""

from dataclasses import dataclass
from typing import Final

from refresh_api.addresses import allowed_text, matches
from refresh_api.reasons import ReadyReason, SuspendedReason
from refresh_api.spec import Dependency
from refresh_operator.denial import Denial


@dataclass(frozen=True)
class DependencyRules:
    """The namespaces, besides its own, on whose refreshes a refresh may depend, as patterns."""

    namespaces: tuple[str, ...] = ()

    def denial(self, namespace: str, name: str, dependencies: list[Dependency]) -> Denial | None:
        """Return why the refresh of this name may not depend on one of these; None if it may depend on all of them."""
        for number, each in enumerate(dependencies):
            if why := self._denied(namespace, name, each):
                message = f"spec.dependsOn[{number}]: {why}"
                return Denial(ReadyReason.DEPENDENCY_NOT_ALLOWED, SuspendedReason.DEPENDENCY_NOT_ALLOWED, message)
        return None

    def _denied(self, namespace: str, name: str, dependency: Dependency) -> str | None:
        other = dependency.namespace or namespace
        if other == namespace:
            # the API server checks this only for dependencies without a namespace
            return "a refresh cannot depend on itself" if dependency.name == name else None
        if any(matches(other, pattern) for pattern in self.namespaces):
            return None
        allowed = allowed_text(self.namespaces)
        return f"namespace {other} is not allowed by dependencies.allowedNamespaces of the operator's chart: {allowed}"


NO_DEPENDENCIES: Final = DependencyRules()
"""Refreshes depend on refreshes of their own namespace only."""
