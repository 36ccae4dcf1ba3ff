"""Errors of the operator.

OperatorError
 ├─ SettingsError          a setting is missing or invalid
 ├─ CrdMissing             the CRD is not installed
 ├─ PreviewsInstalled      the CRD of previews was installed
 ├─ LeaseLost              another operator has become the leader
 ├─ Unreadable             an object has a field of a wrong type
 └─ ApiError               an error response of the API server
     ├─ NotFound           404
     ├─ Conflict           409: already exists, or has changed since it was read
     ├─ Forbidden          403: the operator lacks a permission
     ├─ Unprocessable      422: invalid object; the spec must be changed
     └─ Unavailable        429, 5xx or no response: retry
"""


class OperatorError(Exception):
    """Base of all errors that the operator raises."""


class SettingsError(OperatorError):
    """A setting is missing or invalid. The message names the environment variable."""


class CrdMissing(OperatorError):  # noqa: N818 - named after the state, as in Kubernetes
    """The CRD DashboardRefresh is not installed."""


class PreviewsInstalled(OperatorError):  # noqa: N818
    """The CRD RefreshPreview was installed after this process has started, which does not watch it."""


class LeaseLost(OperatorError):  # noqa: N818
    """Another operator holds the Lease. This operator exits, and waits for the Lease after its restart."""


class Unreadable(OperatorError):  # noqa: N818
    """An object has a field of a wrong type. The message names both."""


class ApiError(OperatorError):
    """An error response of the API server, with the server's own message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class NotFound(ApiError):  # noqa: N818 - named as Kubernetes names it
    """The object does not exist."""


class Conflict(ApiError):  # noqa: N818
    """The object already exists, or has changed since it was read."""


class Forbidden(ApiError):  # noqa: N818
    """The operator's ServiceAccount lacks a permission."""


class Unprocessable(ApiError):  # noqa: N818
    """The API server rejected the object as invalid."""


class Unavailable(ApiError):  # noqa: N818
    """The API server does not respond, or is overloaded."""


def api_error(status: int, message: str) -> ApiError:
    """Return the error for an HTTP status."""
    kinds: dict[int, type[ApiError]] = {404: NotFound, 409: Conflict, 403: Forbidden, 422: Unprocessable, 429: Unavailable}
    return kinds.get(status, Unavailable if status >= 500 or status == 0 else ApiError)(status, message)


class CredentialsError(OperatorError):
    """The API server rejects the operator's credentials, and it has no others."""
