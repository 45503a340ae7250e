"""How a coordinator's workers reach Ray: where its head listens, and what it proves itself with."""

from pathlib import Path

from farm.access.access import FOLDER
from farm.access.authority import CERTIFICATE_FILE, Authority
from farm.access.enrolment import RayAccess
from farm.access.files import write_private
from farm.access.hosts import LOOPBACK, is_own, is_wildcard
from farm.api.reach import Reach
from farm.carrier.node import LOOPBACK as RAY_LOOPBACK
from farm.carrier.node import check_address, is_on_loopback, own_ip
from farm.carrier.security import RaySecurity, TlsFiles, ray_token
from farm.coordinator.ray_engine import RaySettings
from farm.errors import AddressError

RAY_PORT = 7434

ELSEWHERE = "192.0.2.1:9"
"""An address for documentation: the way there is the way to the network, and nothing is sent."""


def ray_address(reach: Reach) -> str:
    """Where Ray's head is to listen if nobody says: where the farm does, by a number.

    Raises:
        AddressError: This machine is on no network.
    """
    host = reach.address.rpartition(":")[0]
    if reach.is_local:
        return f"{RAY_LOOPBACK}:{RAY_PORT}"
    try:
        return f"{own_ip(ELSEWHERE if is_wildcard(host) else f'{host}:{RAY_PORT}')}:{RAY_PORT}"
    except OSError as error:
        raise AddressError(
            f"Ray's head needs an address by which workers reach this machine, and none was found ({error}). Connect "
            f"it to the network, or name the address with --ray-address HOST:{RAY_PORT}."
        ) from None


def ray_access(state: Path, address: str) -> tuple[RaySettings, RayAccess]:
    """What the engine, and each worker that enrols, must know of Ray.

    Beyond loopback the head has a certificate of the farm's authority, made anew at each start.

    Args:
        state: The farm's state folder.
        address: Where Ray's head is to listen, HOST:PORT.

    Raises:
        AddressError: It is no address of Ray's.
        AccessFilesError: The folder cannot be used.
    """
    folder = state.absolute() / FOLDER
    authority = Authority.open(folder)
    token = ray_token(folder)
    security = RaySecurity(token)
    if not is_on_loopback(address):
        files = TlsFiles(folder / "ray-certificate.pem", folder / "ray-key.pem", folder / CERTIFICATE_FILE)
        security = RaySecurity(token, files)
        check_address(address, security)
        _check_own(address)
        credentials = authority.issue("Ray's head", (address.rpartition(":")[0], *LOOPBACK))
        write_private(files.certificate, credentials.certificate_pem)
        write_private(files.key, credentials.key_pem)
    return RaySettings(address, security), RayAccess(address, token.read_text(), is_tls=security.tls is not None)


def _check_own(address: str) -> None:
    """Makes sure that an address is this machine's.

    Raises:
        AddressError: It is not.
    """
    if not is_own(address.rpartition(":")[0]):
        raise AddressError(
            f"Ray's head cannot listen on {address}: that is not an address of this machine. Leave out --ray-address, "
            "or name the address by which workers reach this machine.",
            address=address,
        )
