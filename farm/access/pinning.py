"""The farm's CA certificate by its fingerprint: what a server shows is believed if it is the one that was pinned."""

import select
import socket
import time

from cryptography.hazmat.primitives import serialization

from farm.access.certificates import FINGERPRINT_PREFIX, fingerprint
from farm.access.files import private_folder, read_private, write_private
from farm.access.hosts import split_address
from farm.errors import UnreachableError, UntrustedServerError
from farm.installation import cache_folder

_DIGITS = 64
_SECONDS = 10.0


def is_pin(text: str) -> bool:
    """Whether `text` is written as a fingerprint."""
    digits = text.removeprefix(FINGERPRINT_PREFIX)
    return digits != text and len(digits) == _DIGITS and all(digit in "0123456789abcdef" for digit in digits)


def pinned_authority(address: str, pin: str) -> bytes:
    """The CA certificate with this fingerprint, as PEM: from this user's cache, or else from the farm itself.

    Args:
        address: "host:port" where the farm listens.
        pin: "sha256:HEX".

    Raises:
        UnreachableError: Nothing answers at `address`.
        UntrustedServerError: What answers has another CA, or does not speak TLS.
    """
    folder = cache_folder() / "authorities"
    path = folder / f"{pin.removeprefix(FINGERPRINT_PREFIX)}.pem"
    cached = read_private(path)
    if cached is not None and _has_pin(cached, pin):
        return cached
    shown = _shown_certificates(address)
    for certificate in shown:
        if fingerprint(certificate) == pin:
            private_folder(folder)
            write_private(path, certificate)
            return certificate
    raise UntrustedServerError(
        f"What answers at {address} is not the farm with the CA {pin}: it shows "
        f"{fingerprint(shown[-1]) if shown else 'no certificate'}. Compare FARM_CA (or the invitation line) with what "
        "`farm coordinator` printed when it started. If they are the same, somebody else answers: do not continue.",
        address=address,
    )


def _has_pin(certificate_pem: bytes, pin: str) -> bool:
    try:
        return fingerprint(certificate_pem) == pin
    except ValueError:
        return False


def _shown_certificates(address: str) -> list[bytes]:
    """The certificates that a server shows, each as PEM. Nothing is sent to it, and nothing of it is believed yet."""
    from OpenSSL import SSL

    try:
        with socket.create_connection(split_address(address), timeout=_SECONDS) as connection:
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            context.set_alpn_protos([b"h2"])
            tls = SSL.Connection(context, connection)
            tls.set_connect_state()
            _shake_hands(tls, connection, time.monotonic() + _SECONDS)
            chain = tls.get_peer_cert_chain(as_cryptography=True) or []
    except SSL.Error:
        raise UntrustedServerError(
            f"What answers at {address} does not speak TLS, so it is not a farm that listens beyond its own machine. "
            "Start the farm with `farm coordinator --listen 0.0.0.0:7433`, and name its port.",
            address=address,
        ) from None
    except OSError as error:
        raise UnreachableError(
            f"No farm answers at {address} ({error}). Is it running there with --listen, is the address right, and "
            "does a firewall let this machine through?",
            address=address,
        ) from None
    return [certificate.public_bytes(serialization.Encoding.PEM) for certificate in chain]


def _shake_hands(tls: "object", connection: socket.socket, deadline: float) -> None:
    from OpenSSL import SSL

    assert isinstance(tls, SSL.Connection)
    while True:
        try:
            tls.do_handshake()
        except SSL.WantReadError:
            if not select.select([connection], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError("it did not answer in time") from None
        else:
            return
