"""Addresses of the API: which ones may be listened on."""

import ipaddress
import socket

from farm.errors import AddressError

DEFAULT_ADDRESS = "127.0.0.1:7433"


def check_loopback(address: str) -> None:
    """Makes sure that nobody but this machine's users can reach `address`.

    Until access control exists, whoever can connect can submit, cancel and delete.

    Args:
        address: "host:port", "[ipv6]:port" or "unix:path".

    Raises:
        AddressError: It is not of one of these forms, or reaches beyond loopback.
    """
    if address.startswith("unix:") and len(address) > len("unix:"):
        return
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > 65535:
        raise AddressError(
            f'"{address}" is no address to listen on. Write host:port with a port from 0 to 65535, for example '
            f"{DEFAULT_ADDRESS}, or unix:PATH.",
            address=address,
        )
    if host != "localhost" and not _is_loopback(host.removeprefix("[").removesuffix("]")):
        raise AddressError(
            f"The farm does not listen on {address}: it would be open to other machines, and this version cannot tell "
            f"who calls. Use a loopback address such as {DEFAULT_ADDRESS} or [::1]:7433, localhost, or unix:PATH; from "
            "elsewhere, come through an SSH tunnel.",
            address=address,
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_free(address: str) -> None:
    """Makes sure, before anything expensive is started, that nothing listens on `address` yet.

    Raises:
        AddressError: Something does.
    """
    if _answers(address):
        raise listening_error(address)


def listening_error(address: str) -> AddressError:
    """Says why `address` could not be listened on, after gRPC said only that it could not."""
    if _answers(address):
        return AddressError(
            f"Something listens on {address} already, probably another farm. Use that one (`farm jobs`), stop it, or "
            "choose another port with --address.",
            address=address,
        )
    return AddressError(
        f"The system does not let the farm listen on {address}. Ports below 1024 need special rights, and a unix: path "
        "needs a folder that exists and is yours; choose another with --address.",
        address=address,
    )


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        if address.startswith("unix:"):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1)
                connection.connect(address.removeprefix("unix:"))
        else:
            socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
    except (OSError, ValueError):
        return False
    return True
