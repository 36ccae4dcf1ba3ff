"""Refuse connections to link-local addresses and metadata services, which hand out credentials of the machine, however they are spelled."""

import queue
import socket
import threading
import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

Address = IPv4Address | IPv6Address

_METADATA: Final = tuple(
    map(
        ip_address,
        # AWS (IPv6), Google (IPv6), Alibaba, Oracle and Azure; others are link-local.
        ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"),
    )
)
_NAT64: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_IPV4_IN_IPV6: Final = IPv6Network("::/96")
_BROADCAST: Final = IPv4Network("240.0.0.0/4")


class ForbiddenAddressError(OSError):
    """A refused address. The message names the host as it was written, and the reason."""


def forbidden(address: Address) -> str | None:
    """Return why an address is refused, or None if it is allowed. Private addresses are allowed: mail servers and APIs have them."""
    if isinstance(address, IPv6Address):
        inner = _embedded(address)
        if inner is not None:
            return forbidden(inner)
    if address in _METADATA:
        return "the metadata service of a cloud"
    if address.is_link_local:
        return "link-local, where clouds keep their metadata service"
    if address.is_unspecified or address.is_multicast or (isinstance(address, IPv4Address) and address in _BROADCAST):
        return "not the address of a single machine"
    return None


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 address embeds, or None."""
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour
    if any(address in network for network in _NAT64) or (address in _IPV4_IN_IPV6 and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.teredo[1] if address.teredo else None


def resolved(host: str, port: int, within: float, *, only_loopback: bool = False) -> list[str]:
    """Return the addresses of a host, after checking that all are allowed. Connecting to these, not to the name, prevents DNS rebinding.

    Accepts names and all notations of addresses, such as `0xa9fea9fe`. ForbiddenAddressError if an address is refused, OSError if
    the name has no address.
    """
    found: list[str] = []
    for info in _looked_up(host, port, within):
        text = str(info[4][0])
        address = ip_address(text.partition("%")[0])
        if why := forbidden(address):
            raise ForbiddenAddressError(f"its address is refused ({why})")
        if only_loopback and not address.is_loopback:
            raise ForbiddenAddressError("its address is refused (plain HTTP is allowed only to this machine)")
        if text not in found:
            found.append(text)
    return found


_Infos = list[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]]


def _looked_up(host: str, port: int, within: float) -> _Infos:
    """Resolve on a daemon thread, which is abandoned if the name server does not answer in time."""
    answers: queue.SimpleQueue[_Infos | OSError] = queue.SimpleQueue()

    def look() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(error if isinstance(error, OSError) else socket.gaierror(socket.EAI_NONAME, "no name"))

    threading.Thread(target=look, name="name server", daemon=True).start()
    try:
        found = answers.get(timeout=max(within, 0))
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(found, OSError):
        raise found
    return found


def connected(host: str, port: int, within: float, hold: Callable[[socket.socket], None]) -> socket.socket:
    """Return a connection to the host; `hold` gets it before anything is read. OSError if the connection fails."""
    ends = time.monotonic() + within
    failure: OSError = TimeoutError()
    for address in resolved(host, port, within):
        if (left := ends - time.monotonic()) <= 0:
            break
        try:
            connection = socket.create_connection((address, port), timeout=left)
        except OSError as error:
            failure = error
            continue
        connection.settimeout(within)
        hold(connection)
        return connection
    raise failure
