"""Fetches artifacts of runs from the page, through the API server's service proxy and so with the user's own permissions."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from refresh_cli.kubectl import CliError, Kubectl

PAGE_SELECTOR = "app.kubernetes.io/name=dashboard-refresh-page"
"""Label selector of the page's Service."""
SHARED_PAGE_SELECTOR = f"{PAGE_SELECTOR},dashboards.sigeti.io/watches in (cluster,namespaces)"
"""Label selector of Services of pages that show more than their own namespace."""
NAMESPACES_ANNOTATION = "dashboards.sigeti.io/namespaces"
"""Annotation of the Service: the namespaces that the page shows, separated by commas."""
_NO_PAGE_MESSAGE = (
    "no page found (chart value page.enabled), or you may not list services in its namespace; "
    "`refresh-runner artifacts` reads the warehouse directly"
)


class Artifact(BaseModel):
    """An artifact of a run."""

    model_config = ConfigDict(extra="ignore")

    name: str
    size: int = 0
    """Compressed, in bytes."""


class _Run(BaseModel):
    model_config = ConfigDict(extra="ignore")

    artifacts: list[Artifact] = []
    log_state: str = Field(default="", alias="logState")


class _Metadata(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: str
    namespace: str
    annotations: dict[str, str] = {}


class _Service(BaseModel):
    model_config = ConfigDict(extra="ignore")

    metadata: _Metadata

    def shows(self, namespace: str) -> bool:
        """Return whether the page shows the refreshes of a namespace."""
        listed = self.metadata.annotations.get(NAMESPACES_ANNOTATION, "")
        return not listed or namespace in listed.split(",")


class _List(BaseModel):
    model_config = ConfigDict(extra="ignore")

    items: list[_Service] = []


@dataclass(frozen=True)
class PageClient:
    """A client of a page, through its Service."""

    kubectl: Kubectl
    namespace: str
    service: str

    @classmethod
    def find(cls, kubectl: Kubectl, namespace: str) -> "PageClient":
        """Return the page in the refresh's namespace, or else one elsewhere that shows it. Raise CliError if none is found."""
        for selector, where in ((PAGE_SELECTOR, []), (SHARED_PAGE_SELECTOR, ["--all-namespaces"])):
            found = _List.model_validate_json(kubectl("get", "services", f"--selector={selector}", "-o", "json", *where)).items
            for service in found:
                if service.shows(namespace):
                    return cls(kubectl, service.metadata.namespace, service.metadata.name)
        raise CliError(_NO_PAGE_MESSAGE)

    def artifacts(self, namespace: str, name: str, run: str) -> list[Artifact]:
        """Return the artifacts of a run. Raise CliError if the page cannot read them."""
        try:
            found = _Run.model_validate_json(self._get(f"/refreshes/{namespace}/{name}/runs/{run}.json", run))
        except ValidationError:
            raise CliError("this plugin and the page have incompatible versions") from None
        if found.log_state != "Available":
            reason = (
                "has no Secret to read the run log (chart value page.warehouse.secretName)"
                if found.log_state == "NotConfigured"
                else "cannot read the run log right now"
            )
            raise CliError(f"the page {reason}")
        return found.artifacts

    def artifact(self, namespace: str, name: str, run: str, file: str) -> str:
        """Return the content of an artifact. Raise CliError if it does not exist."""
        return self._get(f"/refreshes/{namespace}/{name}/runs/{run}/artifacts/{file}", f"{file} of {run}")

    def _get(self, path: str, what: str) -> str:
        try:
            return self.kubectl("get", "--raw", f"/api/v1/namespaces/{self.namespace}/services/{self.service}:http/proxy{path}")
        except CliError as error:
            if "no endpoints available" in str(error):
                command = f"kubectl get pods -n {self.namespace} -l {PAGE_SELECTOR}"
                raise CliError(f"the page (service {self.namespace}/{self.service}) has no ready pod; see `{command}`") from None
            if "NotFound" in str(error) or "could not find" in str(error):
                raise CliError(f"not found on the page: {what}") from None
            raise
