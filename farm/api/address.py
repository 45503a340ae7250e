"""Addresses of the API: how they are written, and which ones may be listened on."""

import re
import socket

from farm.access.hosts import is_loopback, is_own, split_address
from farm.errors import AddressError

DEFAULT_ADDRESS = "127.0.0.1:7433"
DEFAULT_WEB_ADDRESS = "127.0.0.1:7435"

_HOST = re.compile(r"[\w.-]+|\[[0-9a-fA-F:.]+(%\w+)?\]", re.ASCII)


def listens_locally(address: str) -> bool:
    """Whether only this machine can reach what listens on `address`. Everything else needs TLS.

    Args:
        address: "host:port", "[ipv6]:port" or "unix:path".

    Raises:
        AddressError: It is not of one of these forms.
    """
    if _is_socket_path(address):
        return True
    host, port = _parts(address)
    if port is None or not (_HOST.fullmatch(host) or is_loopback(host)):
        raise AddressError(
            f'"{address}" is not an address to listen on. Write host:port with a port from 0 to 65535, for example '
            f"{DEFAULT_ADDRESS} for this machine only or 0.0.0.0:7433 for others, or unix:PATH.",
            address=address,
        )
    return is_loopback(host)


def check_written(address: str) -> None:
    """Makes sure that `address` can be a farm's, before it is called: "host:port", "[ipv6]:port" or "unix:path".

    Raises:
        AddressError: It is not of one of these forms.
    """
    host, port = _parts(address)
    if not _is_socket_path(address) and (not port or not _HOST.fullmatch(host)):
        raise AddressError(
            f'"{ascii(address)[1:-1]}" is not an address of a farm. Write host:port with a port from 1 to 65535, for '
            f"example {DEFAULT_ADDRESS}, or unix:PATH.",
            address=ascii(address),
        )


def _is_socket_path(address: str) -> bool:
    return address.startswith("unix:") and len(address) > len("unix:")


def _parts(address: str) -> tuple[str, int | None]:
    """Host and port; no port if it is missing or none."""
    host, _, port = address.rpartition(":")
    is_port = port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= 65535
    return host, int(port) if is_port and address.count(":") else None


def check_free(address: str, option: str = "--address") -> None:
    """Makes sure, before anything expensive is started, that `address`, which `option` chose, is to be had.

    Raises:
        AddressError: Something listens there, or it is another machine's.
    """
    if not _is_own(address) or _answers(address):
        raise listening_error(address, option)


def listening_error(address: str, option: str = "--address") -> AddressError:
    """Says why `address`, which `option` chose, could not be listened on, after only that was said."""
    if not _is_own(address):
        return AddressError(
            f"The farm cannot listen on {address}: that is not an address of this machine. Choose another with "
            f"{option}; with 0.0.0.0 as the host it listens on all addresses of this machine.",
            address=address,
        )
    if _answers(address):
        return AddressError(
            f"Something listens on {address} already, probably another farm. Use that one (`farm jobs`), stop it, or "
            f"choose another port with {option}.",
            address=address,
        )
    return AddressError(
        f"The system does not let the farm listen on {address}. Ports below 1024 need special rights, and a unix: path "
        f"needs a folder that exists and is yours; choose another with {option}.",
        address=address,
    )


def _is_own(address: str) -> bool:
    return address.startswith("unix:") or is_own(address.rpartition(":")[0])


def _answers(address: str) -> bool:
    try:
        if address.startswith("unix:"):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1)
                connection.connect(address.removeprefix("unix:"))
        else:
            socket.create_connection(split_address(address), timeout=1).close()
    except (OSError, ValueError):
        return False
    return True
