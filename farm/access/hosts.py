"""Names and addresses: this machine's own, and how those that are listened on or called are written."""

import errno
import ipaddress
import socket
import sys
from collections.abc import Sequence

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def split_address(address: str) -> tuple[str, int]:
    """Host and port of an address, HOST:PORT, as sockets take them: without the brackets of an IPv6 address.

    Raises:
        ValueError: It has no port.
    """
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def open_listener(address: str, backlog: int | None = None) -> socket.socket:
    """Listens on HOST:PORT.

    Raises:
        OSError: The address cannot be listened on.
        ValueError: It has no port.
    """
    host, port = split_address(address)
    return socket.create_server((host, port), family=_family(host), backlog=backlog)


def is_own(host: str) -> bool:
    """Whether an address, a number or a name, is this machine's, as far as the system says so."""
    host = host.strip("[]")
    try:
        with socket.socket(_family(host)) as probe:
            probe.bind((host, 0))
    except OSError as error:
        return error.errno != errno.EADDRNOTAVAIL
    return True


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def is_loopback(host: str) -> bool:
    """Whether a host, as an address names it, can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return False


def is_wildcard(host: str) -> bool:
    """Whether listening on `host` means listening on every address of this machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return False


def reachable_hosts(listen_host: str, hostnames: Sequence[str] = ()) -> list[str]:
    """Under what a farm that listens on `listen_host` can be reached from other machines, best first.

    Args:
        listen_host: What it listens on; an address that is no wildcard is the only one.
        hostnames: What its owner calls it.
    """
    own = machine_hosts() if is_wildcard(listen_host) else [listen_host.strip("[]")]
    return list(dict.fromkeys((*hostnames, *own)))


def machine_hosts() -> list[str]:
    """This machine's host names and addresses, best first: the address of its way to the network before others."""
    import psutil

    name = socket.gethostname()
    names = [name] if "." in name else [f"{name}.local", name]
    addresses = {
        address.address
        for interface in psutil.net_if_addrs().values()
        for address in interface
        if address.family in (socket.AF_INET, socket.AF_INET6)
    }
    useful = [a for a in addresses if not ipaddress.ip_address(a.partition("%")[0]).is_loopback and "%" not in a]
    outward = _outward_address()
    useful.sort(key=lambda address: (address != outward, ":" in address, address))
    # Bonjour finds a Mac's ".local" name on any network; elsewhere nothing promises that a name is found.
    return [*names, *useful] if sys.platform == "darwin" else [*useful, *names]


def _outward_address() -> str:
    """The address from which this machine would call others; empty if there is no way. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address that is reserved for documentation
        except OSError:
            return ""
        return str(probe.getsockname()[0])
