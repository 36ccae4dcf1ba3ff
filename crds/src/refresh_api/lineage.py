"""Where a refresh sends OpenLineage events about its runs: `spec.lineage`."""

from typing import Final

from pydantic import Field

from refresh_api.fields import SecretKeyRef, Url
from refresh_api.model import SpecModel

TIMEOUT: Final = 10.0
"""Maximum seconds that all events of a run may take."""


class Lineage(SpecModel):
    """A server that receives OpenLineage events."""

    url: Url = Field(
        description="Address to which the events of a run are sent by POST, for example http://marquez:5000/api/v1/lineage. They are sent "
        f"after the run has ended and its lock is released, within {TIMEOUT:.0f} seconds. If they cannot be sent, the run's log says why."
    )
    authorization_secret_ref: SecretKeyRef | None = Field(
        default=None, description="Secret key with the value of the Authorization header. Defaults to no header."
    )
