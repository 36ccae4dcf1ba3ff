"""What a DashboardRefresh says about its previews: `spec.preview`."""

from typing import Final

from pydantic import Field, JsonValue

from refresh_api.model import SpecModel
from refresh_api.resources import Resources
from refresh_api.values import Duration, rule
from refresh_api.warehouse import Warehouse

_NO_PROJECT: Final = "preview requires project.git: a preview compares two commits of its repository"


class PreviewSettings(SpecModel):
    """Whether and how a refresh may be previewed."""

    warehouse: Warehouse = Field(
        description="Connection of previews to the warehouse, with a role that can only read it and create schemas: "
        "`refresh-runner grants --preview` prints what the role needs."
    )
    timeout: Duration | None = Field(
        default=None, description="Maximum duration of a preview, after its projects are fetched. Defaults to spec.timeout."
    )
    max_concurrent: int = Field(
        default=1, ge=1, le=20, description="Number of previews of this refresh that run at the same time; others wait. Defaults to 1."
    )
    resources: Resources | None = Field(default=None, description="Compute resources of a preview's pod. Defaults to spec.resources.")


_APART: Final = {
    "warehouse.secretRef": "false",
    "project.git.secretRef": "!has(self.project) || !has(self.project.git) || !has(self.project.git.secretRef)",
    **{
        f"{field}.authorizationSecretRef": f"!has(self.{field}) || !has(self.{field}.authorizationSecretRef)"
        for field in ("cache", "lineage")
    },
    "tracing.headersSecretRef": "!has(self.tracing)",
    "artifacts.store.s3.secretRef": "!has(self.artifacts)",
}
"""Fields whose Secrets the code that a preview runs must not get, each with the CEL expression that a spec lacks it."""


def _says(field: str) -> str:
    return f"preview.warehouse.secretRef: name another Secret than {field}, since a preview runs code that is not reviewed"


RULES: Final[tuple[JsonValue, ...]] = (
    rule("!has(self.preview) || (has(self.project) && has(self.project.git))", _NO_PROJECT),
    *(
        rule(f"!has(self.preview) || {lacks} || self.{field}.name != self.preview.warehouse.secretRef.name", _says(field))
        for field, lacks in _APART.items()
    ),
)
"""Rules of the CRD for a spec with previews."""


def check(preview: PreviewSettings, has_git: bool, *names: str | None) -> None:
    """Raise ValueError as RULES reject a spec; `names` are the Secrets of its warehouse, repository, cache, lineage, traces and store."""
    if not has_git:
        raise ValueError(_NO_PROJECT)
    for field, name in zip(_APART, names, strict=True):
        if name == preview.warehouse.secret_ref.name:
            raise ValueError(_says(field))
