"""Certificates for servers of demo and tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate."""

    text: str
    """The certificate in PEM format, for clients."""
    file: Path
    """The certificate with its private key, for the server."""


def create_certificate(
    file: Path, hosts: Sequence[str] = ("localhost",), addresses: Sequence[str] = (), valid: timedelta = timedelta(hours=1)
) -> Certificate:
    """Write a certificate for these hosts and addresses; without any, for localhost and for no address."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
    names = x509.SubjectAlternativeName([*map(x509.DNSName, hosts), *(x509.IPAddress(ip_address(each)) for each in addresses)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + valid)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    public = signed.public_bytes(serialization.Encoding.PEM)
    file.write_bytes(private + public)
    return Certificate(public.decode(), file)
