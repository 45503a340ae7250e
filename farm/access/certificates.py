"""Keys and certificates as PEM: how they are made, named by a fingerprint, and when they are due for renewal."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

FINGERPRINT_PREFIX = "sha256:"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a server or a client proves itself with.

    Attributes:
        certificate_pem: Its certificate, then the farm's CA certificate, so that whoever pins the CA can find it.
        key_pem: The private key, PKCS #8, without a password.
    """

    certificate_pem: bytes
    key_pem: bytes


def new_key() -> ec.EllipticCurvePrivateKey:
    """A private key on P-256, which gRPC, Ray and Python's ssl all take."""
    return ec.generate_private_key(ec.SECP256R1())


def write_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write_certificate(certificate: x509.Certificate) -> bytes:
    """A certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def signing_request(name: str) -> tuple[bytes, bytes]:
    """A new private key and the request to certify it, both PEM. The key never leaves the machine that made it.

    Args:
        name: Of the worker; the farm decides what the certificate says.
    """
    key = new_key()
    request = x509.CertificateSigningRequestBuilder().subject_name(subject(name)).sign(key, hashes.SHA256())
    return write_key(key), request.public_bytes(serialization.Encoding.PEM)


def fingerprint(certificate_pem: bytes) -> str:
    """What a CA is pinned by: "sha256:HEX" of the DER form of the first certificate in `certificate_pem`."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    return FINGERPRINT_PREFIX + certificate.fingerprint(hashes.SHA256()).hex()


def is_due(certificate_pem: bytes, now: datetime | None = None) -> bool:
    """Whether two thirds of a certificate's life are over, so that it should be renewed."""
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return (now or datetime.now(UTC)) >= begin + (end - begin) * 2 / 3


def expiry(certificate_pem: bytes) -> datetime:
    """When a certificate ends."""
    return x509.load_pem_x509_certificate(certificate_pem).not_valid_after_utc


def subject(name: str) -> x509.Name:
    """A certificate's subject. X.509 takes 64 characters; who it is for is in the alternative names, whole."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def alternative_names(hosts: Iterable[str]) -> list[x509.GeneralName]:
    """Host names and addresses as a certificate names them; addresses without their zone, each once."""
    names: dict[str, x509.GeneralName] = {}
    for host in hosts:
        try:
            names[host] = x509.IPAddress(ipaddress.ip_address(host.partition("%")[0]))
        except ValueError:
            names[host] = x509.DNSName(host.encode("idna").decode("ascii"))
    return list(dict.fromkeys(names.values()))
