"""What can go wrong between the operator and the API server.

OperatorError
 ├─ SettingsError          the operator was started wrongly
 ├─ ContractMissing        the CRD is not there
 ├─ LeaseLost              another operator works from now on
 ├─ Unreadable             an object is not what the API server should have sent
 └─ ApiError               the API server said no
     ├─ NotFound           404
     ├─ Conflict           409: somebody was faster; observe afresh
     ├─ Forbidden          403: a permission is missing
     ├─ Refused            422: what should be can't be; only another spec helps
     └─ Unavailable        429, 5xx, no answer: try again later
"""


class OperatorError(Exception):
    """Base of all errors that the operator raises itself."""


class SettingsError(OperatorError):
    """A setting is missing or wrong; the message names the environment variable."""


class CrdMissing(OperatorError):  # noqa: N818 - named as what it is
    """The API server knows no DashboardRefreshes; nothing can be kept until it does."""


class LeaseLost(OperatorError):  # noqa: N818
    """Another operator has the Lease; this one is to be started anew, and waits then."""


class Unreadable(OperatorError):  # noqa: N818
    """An object that belongs to a refresh can't be read; the message names it."""


class ApiError(OperatorError):
    """An answer of the API server that is not the one hoped for; the message is the server's own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class NotFound(ApiError):  # noqa: N818 - named as Kubernetes names it
    """There is no such object."""


class Conflict(ApiError):  # noqa: N818
    """The object is there already, or was changed since it was read."""


class Forbidden(ApiError):  # noqa: N818
    """The operator's ServiceAccount lacks a permission."""


class Unprocessable(ApiError):  # noqa: N818
    """The object can't be as it should be, says the API server."""


class Unavailable(ApiError):  # noqa: N818
    """The server is away or overloaded."""


def api_error(status: int, message: str) -> ApiError:
    """Return the error that an HTTP status stands for."""
    kinds: dict[int, type[ApiError]] = {404: NotFound, 409: Conflict, 403: Forbidden, 422: Unprocessable, 429: Unavailable}
    return kinds.get(status, Unavailable if status >= 500 or status == 0 else ApiError)(status, message)
