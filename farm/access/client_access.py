"""How a client gets in: what it verifies the farm with, and the token that it calls with."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from farm.access.authority import CERTIFICATE_FILE
from farm.access.certificates import FINGERPRINT_PREFIX
from farm.access.files import read_private
from farm.access.hosts import is_loopback
from farm.access.local_farms import find_local_farm
from farm.access.pinning import is_pin, pinned_authority
from farm.access.tokens import LOCAL_FILE
from farm.errors import UntrustedServerError

TOKEN_VARIABLE = "FARM_TOKEN"  # noqa: S105 - the name of a variable, not a secret
CA_VARIABLE = "FARM_CA"


@dataclass(frozen=True, slots=True)
class ClientAccess:
    """A way into a farm.

    Attributes:
        address: Where the farm listens.
        authority_pem: CA certificate to verify it with; None to call without TLS, which is for loopback only.
        token: Gives the secret to call with, or None; asked for each call, since a restart renews the local one.
    """

    address: str
    authority_pem: bytes | None
    token: Callable[[], str | None]


def find_client_access(address: str, token: str | None = None, ca: str | None = None) -> ClientAccess:
    """The way into the farm at `address`.

    A token that is not given is FARM_TOKEN's or, on this machine, that of the farm which listens there. A CA that is
    not given is that farm's, or FARM_CA's: so a variable that is meant for another farm does not lock out of this one.

    Args:
        address: "host:port", "[ipv6]:port" or "unix:path".
        token: A token's secret.
        ca: File of the farm's CA certificate, or its fingerprint "sha256:HEX", with which it is asked for once.

    Raises:
        UntrustedServerError: There is nothing to verify a farm on another machine with, or what there is does not fit.
        UnreachableError: The farm does not answer, and its CA certificate had to be asked for.
    """
    chosen = token or os.environ.get(TOKEN_VARIABLE)
    read_token = (lambda: chosen) if chosen else (lambda: _local_token(address))
    return ClientAccess(address, _authority(address, ca), read_token)


def _authority(address: str, ca: str | None) -> bytes | None:
    if address.startswith("unix:"):
        return None
    farm = find_local_farm(address)
    if ca is None and farm is not None:
        return _certificate_file(Path(farm.folder) / CERTIFICATE_FILE) if farm.is_tls else None
    ca = ca or os.environ.get(CA_VARIABLE) or None
    if ca is not None and ca.startswith(FINGERPRINT_PREFIX):
        if not is_pin(ca):
            raise UntrustedServerError(f'"{ca}" is not a fingerprint: write sha256: and 64 digits from 0 to f.')
        return pinned_authority(address, ca)
    if ca is not None:
        return _certificate_file(Path(ca))
    if not is_loopback(address.rpartition(":")[0]):
        raise UntrustedServerError(
            f"The farm at {address} is on another machine, and there is nothing to verify it with. Set FARM_CA (or "
            "--ca) to the fingerprint sha256:... that `farm coordinator` and `farm token create` print there, or to a "
            "copy of its file ca.pem.",
            address=address,
        )
    return None


def _certificate_file(path: Path) -> bytes:
    pem = read_private(path)
    try:
        if pem is not None:
            x509.load_pem_x509_certificate(pem)
            return pem
    except ValueError:
        pass
    raise UntrustedServerError(
        f"{path} {'is not there' if pem is None else 'holds no certificate in PEM'}. FARM_CA (or --ca) is the file of "
        "the farm's CA certificate, ca.pem in the folder `access` of its state, or its fingerprint sha256:...",
        path=str(path),
    )


def _local_token(address: str) -> str | None:
    farm = find_local_farm(address)
    secret = None if farm is None else read_private(Path(farm.folder) / LOCAL_FILE)
    return None if secret is None else secret.decode()
