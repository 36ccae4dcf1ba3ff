"""Which images and dbt projects a refresh may run; pure.

Anyone who chooses the image or the project of a run chooses the code that gets the warehouse's password.
"""

from dataclasses import dataclass
from typing import Final

from refresh_api.addresses import allowed_text, is_allowed, matches
from refresh_api.project import Git, Project
from refresh_api.reasons import ReadyReason, SuspendedReason
from refresh_api.spec import RefreshSpec
from refresh_operator.denial import Denial


@dataclass(frozen=True)
class CodeRules:
    """The images and the addresses of dbt projects that refreshes may name, as patterns. * and ? also match slashes.

    The image of the chart, and the project in an allowed image, are always allowed.
    """

    images: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    """In the host of an address, * and ? do not match slashes: a pattern for some hosts must not match paths of others."""
    sources: tuple[str, ...] = ()
    """Patterns of sources of Flux, as KIND/NAME."""

    def denial(self, spec: RefreshSpec) -> Denial | None:
        """Return why a refresh may not run the image or the project of its spec; None if it may run both."""
        return self.image_denial(spec.image) or self.project_denial(spec.project)

    def image_denial(self, image: str | None) -> Denial | None:
        """Return why a refresh may not run an image; None if it may, or if it names no image."""
        if image is None or any(matches(image, pattern) for pattern in self.images):
            return None
        message = f"image {image} (spec.image) is not allowed by runner.allowedImages of the operator's chart: {allowed_text(self.images)}"
        return Denial(ReadyReason.IMAGE_NOT_ALLOWED, SuspendedReason.IMAGE_NOT_ALLOWED, message)

    def project_denial(self, project: Project | None) -> Denial | None:
        """Return why a refresh may not fetch its project; None if it may, or if it fetches none."""
        if project is None:
            return None
        origin = project.origin
        if isinstance(origin, Git):
            what, value, patterns = f"{origin.url} (spec.project.git.url)", "projects.allowedUrls", self.urls
            is_fine = is_allowed(origin.url, patterns)
        else:
            what, value, patterns = f"{origin.url} (spec.project.sourceRef)", "projects.allowedSources", self.sources
            is_fine = any(matches(origin.url, pattern) for pattern in patterns)
        if is_fine:
            return None
        message = f"{what} is not allowed by {value} of the operator's chart: {allowed_text(patterns)}"
        return Denial(ReadyReason.PROJECT_NOT_ALLOWED, SuspendedReason.PROJECT_NOT_ALLOWED, message)


NO_CODE: Final = CodeRules()
"""Refreshes run the image of the chart, with the project in it."""
