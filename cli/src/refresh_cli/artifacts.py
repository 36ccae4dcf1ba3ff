"""What runs left as files in the warehouse: asked of the page, through the API server, with the permissions of who asks."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from refresh_cli.kubectl import CliError, Kubectl

PAGE_SELECTOR = "app.kubernetes.io/name=dashboard-refresh-page"
"""Label of the page's service."""
SHARED_PAGE_SELECTOR = f"{PAGE_SELECTOR},dashboards.sigeti.io/watches in (cluster,namespaces)"
"""Labels of the service of a page that shows every namespace, or those that its annotation lists; the others show their own alone."""
NAMESPACES_ANNOTATION = "dashboards.sigeti.io/namespaces"
"""Annotation of the service: the namespaces, with commas between them."""
_NO_PAGE_MESSAGE = (
    "there is no page that could be asked (chart value page.enabled), or not where you may list services; "
    "`refresh-runner artifacts` asks the warehouse itself"
)


class Artifact(BaseModel):
    """A file of a run."""

    model_config = ConfigDict(extra="ignore")

    name: str
    size: int = 0
    """Bytes, packed."""


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
        """Whether the refreshes of a namespace are on this page."""
        listed = self.metadata.annotations.get(NAMESPACES_ANNOTATION, "")
        return not listed or namespace in listed.split(",")


class _List(BaseModel):
    model_config = ConfigDict(extra="ignore")

    items: list[_Service] = []


@dataclass(frozen=True)
class PageClient:
    """The page's service."""

    kubectl: Kubectl
    namespace: str
    service: str

    @classmethod
    def find(cls, kubectl: Kubectl, namespace: str) -> "PageClient":
        """Return the page that stands in a refresh's namespace, else one elsewhere that shows it; CliError if none can be seen."""
        for selector, where in ((PAGE_SELECTOR, []), (SHARED_PAGE_SELECTOR, ["--all-namespaces"])):
            found = _List.model_validate_json(kubectl("get", "services", f"--selector={selector}", "-o", "json", *where)).items
            for service in found:
                if service.shows(namespace):
                    return cls(kubectl, service.metadata.namespace, service.metadata.name)
        raise CliError(_NO_PAGE_MESSAGE)

    def artifacts(self, namespace: str, name: str, run: str) -> list[Artifact]:
        """Return the files of a run; CliError where they can't be known."""
        try:
            found = _Run.model_validate_json(self._get(f"/refreshes/{namespace}/{name}/runs/{run}.json", run))
        except ValidationError:
            raise CliError("the page was made for another version of this program") from None
        if found.log_state != "Available":
            why = "has no Secret to read the log tables with" if found.log_state == "NotConfigured" else "can't read the log tables now"
            raise CliError(f"the page {why}")
        return found.artifacts

    def artifact(self, namespace: str, name: str, run: str, file: str) -> str:
        """Return a file; CliError if there is none."""
        return self._get(f"/refreshes/{namespace}/{name}/runs/{run}/artifacts/{file}", f"{file} of {run}")

    def _get(self, path: str, what: str) -> str:
        try:
            return self.kubectl("get", "--raw", f"/api/v1/namespaces/{self.namespace}/services/{self.service}:http/proxy{path}")
        except CliError as error:
            if "no endpoints available" in str(error):
                look = f"kubectl get pods -n {self.namespace} -l {PAGE_SELECTOR}"
                raise CliError(f"the page (service {self.namespace}/{self.service}) has no pod that is ready; look at `{look}`") from None
            if "NotFound" in str(error) or "could not find" in str(error):
                raise CliError(f"the page knows nothing of {what}") from None
            raise
