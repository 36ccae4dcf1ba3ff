"""Where a refresh keeps the files of its runs beside the warehouse: `spec.artifacts`."""

from typing import Annotated, Final

from pydantic import Field

from refresh_api.fields import SecretRef
from refresh_api.model import SpecModel
from refresh_api.values import BLANKS, Text

TIMEOUT: Final = 10.0
"""Maximum seconds that writing all files of a run may take."""
LARGEST: Final = 32 * 1024 * 1024
"""Maximum bytes of a file."""
ACCESS_KEY: Final = "accessKeyId"
SECRET_KEY: Final = "secretAccessKey"  # noqa: S105 - the name of a key
SESSION_TOKEN: Final = "sessionToken"  # noqa: S105 - the name of a key

_Server = Annotated[
    str, Text(rf"^https?://[^{BLANKS}/?#@]+$", "write the address of a server, like https://s3.example.org, without a path", 512)
]
_Bucket = Annotated[
    str, Text(r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", "write the name of a bucket: lower-case letters, digits, dots and dashes", 63)
]
_Prefix = Annotated[
    str,
    Text(
        r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$",
        "write names of letters, digits, dashes, dots and underscores, separated by slashes, like team/refreshes",
        256,
    ),
]
_Region = Annotated[str, Text(r"^[a-z0-9-]+$", "write the name of a region, like eu-west-3", 64)]


class S3(SpecModel):
    """A bucket of a server that speaks the S3 protocol."""

    endpoint: _Server = Field(
        description="Address of the server, for example https://s3.eu-west-3.amazonaws.com or http://minio.minio:9000. The bucket follows "
        "in the path, not in the name of the host."
    )
    bucket: _Bucket = Field(description="Name of the bucket, which must exist.")
    prefix: _Prefix | None = Field(
        default=None, description="Beginning of the objects' names, before NAMESPACE/NAME/RUN/FILE. Defaults to nothing."
    )
    region: _Region = Field(
        default="us-east-1", description="Region for which requests are signed. Defaults to us-east-1, which most other servers accept."
    )
    secret_ref: SecretRef = Field(
        description=f"Secret with the keys {ACCESS_KEY} and {SECRET_KEY}, and {SESSION_TOKEN} if the credentials are temporary. "
        "They need permission to put objects (s3:PutObject), and no other."
    )


class Store(SpecModel):
    """A place for the files of runs."""

    s3: S3 = Field(description="Bucket to which the files are written.")


class Artifacts(SpecModel):
    """The files of runs."""

    store: Store = Field(
        description="Where the files of each run are kept beside the warehouse: its log, dbt's results and manifest, and the documentation "
        f"of the project. They are written after the run has ended and its lock is released, within {TIMEOUT:.0f} seconds. If they cannot "
        "be written, the run's log says why."
    )
