"""An SMTP client that connects to a checked address, limits the size of responses, and sends passwords in UTF-8."""

import base64
import smtplib
import socket
import ssl
from collections.abc import Callable
from typing import IO, Any, Final

from refresh_notify.addresses import connected

_LONGEST: Final = 256 * 1024
"""Maximum bytes of all responses."""

Hold = Callable[[socket.socket], None]


class MailServer(smtplib.SMTP):
    """An SMTP client; `hold` gets its connection before anything is read."""

    def __init__(self, host: str, port: int, timeout: float, hold: Hold) -> None:
        self._hold = hold
        super().__init__(host, port, timeout=timeout)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        """Connect; overrides a hook of the standard library."""
        return connected(host, port, timeout, self._hold)

    def getreply(self) -> tuple[int, bytes]:
        """Return the next response; OSError if it exceeds the limit."""
        if self.file is None and self.sock is not None:
            self.file = _Bounded(self.sock.makefile("rb"))
        return super().getreply()

    def log_in(self, user: str, password: str) -> None:
        """Log in; SMTPException if the server refuses.

        The standard library supports only ASCII in user and password; SASL's PLAIN is UTF-8 (RFC 4616).
        """
        if user.isascii() and password.isascii():
            self.login(user, password)
            return
        self.ehlo_or_helo_if_needed()
        offered = self.esmtp_features.get("auth", "").upper().split()
        if "PLAIN" in offered:
            code, _ = self.docmd("AUTH", f"PLAIN {_encoded(f'{chr(0)}{user}{chr(0)}{password}')}")
        elif "LOGIN" in offered:
            code, _ = self.docmd("AUTH", f"LOGIN {_encoded(user)}")
            if code == _GO_ON:
                code, _ = self.docmd(_encoded(password))
        else:
            raise smtplib.SMTPNotSupportedError
        if code not in _LOGGED_IN:
            raise smtplib.SMTPAuthenticationError(code, b"")


class MailServerTls(MailServer):
    """An SMTP client with TLS from the start."""

    def __init__(self, host: str, port: int, timeout: float, hold: Hold, trusted: ssl.SSLContext) -> None:
        self._trusted = trusted
        super().__init__(host, port, timeout, hold)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self._trusted.wrap_socket(super()._get_socket(host, port, timeout), server_hostname=host)


_GO_ON: Final = 334
_LOGGED_IN: Final = (235, 503)
"""Status codes: authenticated, and already authenticated."""


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class _Bounded:
    """A file that limits how many bytes can be read in all."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._left = _LONGEST

    def readline(self, size: int = -1) -> bytes:
        line = self._file.readline(size)
        self._left -= len(line)
        if self._left < 0:
            raise OSError("the server's responses are too long")
        return line

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - all else is the file's
        return getattr(self._file, name)
