"""An authority, and the certificate of an API server, for one test run."""

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_VALID = dt.timedelta(days=1)


@dataclass(frozen=True)
class Certificates:
    """Files in PEM form."""

    authority: Path
    certificate: Path
    key: Path
    service_account_key: Path
    """Signs the tokens of ServiceAccounts."""


def create(folder: Path, addresses: Sequence[str], names: Sequence[str]) -> Certificates:
    """Make the files for a server at these IP addresses and DNS names."""
    files = Certificates(*(folder / name for name in ("ca.crt", "api.crt", "api.key", "sa.key")))
    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer = _name("test-authority")
    authority = _builder(issuer, issuer, authority_key.public_key()).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    server = _builder(_name("kube-apiserver"), issuer, server_key.public_key())
    alternatives = [
        *(x509.IPAddress(ipaddress.ip_address(address)) for address in addresses),
        *(x509.DNSName(name) for name in names),
    ]
    server = server.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    server = server.add_extension(
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
    )
    for path, builder in ((files.authority, authority), (files.certificate, server)):
        signed = builder.sign(authority_key, hashes.SHA256())
        path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    _write_key(files.key, server_key)
    _write_key(files.service_account_key, rsa.generate_private_key(65537, 2048))
    return files


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key,
        serial_number=x509.random_serial_number(),
        not_valid_before=now - dt.timedelta(minutes=5),
        not_valid_after=now + _VALID,
    )


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
