"""The farm's own certificate authority: it certifies the coordinator's server and every worker, and nobody else's."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from farm.access.certificates import (
    Credentials,
    alternative_names,
    fingerprint,
    new_key,
    subject,
    write_certificate,
    write_key,
)
from farm.access.files import private_folder, read_private, write_private
from farm.errors import AccessFilesError, InvalidRequestError
from farm.installation import NAME

CERTIFICATE_FILE = "ca.pem"
LIFETIME = timedelta(days=365)
"""Of the certificates that are issued. They are renewed when two thirds of it are over (`certificates.is_due`)."""

_CA_LIFETIME = timedelta(days=20 * 365)
"""Clients and workers pin the CA, so it does not change while the farm lives."""

_FILE = "authority.pem"
_CLOCK_SKEW = timedelta(days=1)
"""Certificates are valid from so long before they are made: a new Mac's clock may be behind."""

_USAGES = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])


class Authority:
    """Signs with the CA's key. Made by `open`; may be used from any thread."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self._certificate = certificate
        self.certificate_pem = write_certificate(certificate)
        """The CA's certificate, which clients verify the farm with. It is public."""
        self.fingerprint = fingerprint(self.certificate_pem)
        """By which the CA can be pinned: "sha256:HEX" of its certificate (DER)."""

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The authority of a folder; created there the first time, with files that only their owner may read.

        Raises:
            AccessFilesError: The folder cannot be used, or what is in it is no authority.
        """
        private_folder(folder)
        stored = read_private(folder / _FILE)
        if stored is None:
            stored = _new_authority()
            write_private(folder / _FILE, stored)
        try:
            key = serialization.load_pem_private_key(stored, None)
            certificate = x509.load_pem_x509_certificate(stored)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise _damaged(folder / _FILE) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise _damaged(folder / _FILE)
        authority = cls(key, certificate)
        if read_private(folder / CERTIFICATE_FILE) != authority.certificate_pem:
            write_private(folder / CERTIFICATE_FILE, authority.certificate_pem)
        return authority

    def issue(self, name: str, hosts: Iterable[str], lifetime: timedelta = LIFETIME) -> Credentials:
        """A new key with a certificate for it, valid for servers and for clients.

        Args:
            name: Of whom it is for, for people.
            hosts: Host names and addresses under which it may be reached.
            lifetime: How long it is valid.
        """
        key = new_key()
        return Credentials(self._certify(key.public_key(), name, hosts, lifetime), write_key(key))

    def sign(self, request_pem: bytes, name: str, hosts: Iterable[str], lifetime: timedelta = LIFETIME) -> bytes:
        """Certifies the key of a signing request, for servers and for clients.

        Nothing of the request is taken over but its key: what the certificate says is for the farm to decide.

        Args:
            request_pem: The signing request.
            name: Of whom it is for, for people.
            hosts: Host names and addresses under which it may be reached.
            lifetime: How long it is valid.

        Returns:
            The certificate, then the CA's, as PEM.

        Raises:
            InvalidRequestError: It is no signing request, or not for a key on P-256.
        """
        try:
            request = x509.load_pem_x509_csr(request_pem)
            key = request.public_key()
            is_signed = request.is_signature_valid
        except (ValueError, UnsupportedAlgorithm, InvalidSignature):
            raise _wrong_request("is no PKCS #10 signing request in PEM") from None
        if not is_signed:
            raise _wrong_request("is not signed by the key that it names")
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            raise _wrong_request("is for a key that is not on the curve P-256")
        return self._certify(key, name, hosts, lifetime)

    def _certify(self, key: ec.EllipticCurvePublicKey, name: str, hosts: Iterable[str], lifetime: timedelta) -> bytes:
        try:
            names = x509.SubjectAlternativeName(alternative_names(hosts))
        except (ValueError, UnicodeError) as error:
            raise InvalidRequestError(f"A host cannot be certified: {error}.", {"hosts": str(error)}) from None
        certificate = (
            _builder(name, key, lifetime)
            .issuer_name(self._certificate.subject)
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(is_authority=False), critical=True)
            .add_extension(_USAGES, critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return write_certificate(certificate) + self.certificate_pem


def _new_authority() -> bytes:
    """A key and the certificate with which it vouches for itself, as PEM."""
    key = new_key()
    name = f"{NAME} CA"
    certificate = (
        _builder(name, key.public_key(), _CA_LIFETIME)
        .issuer_name(subject(name))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(is_authority=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return write_key(key) + write_certificate(certificate)


def _builder(name: str, key: ec.EllipticCurvePublicKey, lifetime: timedelta) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject(name))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _wrong_request(problem: str) -> InvalidRequestError:
    return InvalidRequestError(f"The certificate cannot be signed: csr {problem}.", {"csr": problem})


def _damaged(path: Path) -> AccessFilesError:
    return AccessFilesError(
        f"{path} does not hold the key and the certificate of the farm's authority. Restore it from a backup. Or "
        "remove it, and a new authority is made at the next start: then every worker has to join again, and clients "
        "need the new FARM_CA.",
        path=str(path),
    )
