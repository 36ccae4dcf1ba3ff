"""The connection to a warehouse."""

from pydantic import Field

from refresh_api.fields import SecretRef
from refresh_api.model import SpecModel


class Warehouse(SpecModel):
    """The PostgreSQL database that dbt builds."""

    secret_ref: SecretRef = Field(
        description="Secret with the connection. Required keys: host, dbname, user, password. "
        "Optional keys: port (5432), sslmode (prefer), sslrootcert (PEM, a path, or system)."
    )
