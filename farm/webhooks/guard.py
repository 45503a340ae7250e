"""Where a webhook may go: a submitter must not reach through the farm what they cannot reach themselves."""

import asyncio
import ipaddress
import socket
from ipaddress import IPv4Address, IPv6Address

from farm.errors import WebhookError

Address = IPv4Address | IPv6Address

_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200", "192.0.0.192")))
"""Where clouds tell a machine its own credentials, beside the link-local 169.254.169.254."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def refusal(address: Address, *, allow_private: bool) -> str:
    """Why a webhook may not go to an address; empty if it may.

    Args:
        address: Where it would go.
        allow_private: Whether the farm's owner lets it go to private networks and to this machine.
    """
    address = _meant(address)
    if address.is_link_local or address.is_multicast or address.is_unspecified or address in _METADATA:
        return f"{address} is an address that webhooks are never sent to"
    if not address.is_global and not allow_private:
        return f"{address} is of a private network; start the farm with --private-webhooks if it may go there"
    return ""


async def resolve(host: str, port: int, *, allow_private: bool) -> str:
    """The address to connect to, so that what was judged is what is called whatever the name says a moment later.

    Raises:
        WebhookError: The name is not known, or any of its addresses may not be called.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise WebhookError(f"the name {host} cannot be resolved ({error})") from None
    addresses = [str(place[0]) for *_, place in found]
    for address in addresses:
        if why := refusal(ipaddress.ip_address(address.partition("%")[0]), allow_private=allow_private):
            raise WebhookError(why)
    return addresses[0]


def _meant(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, if it stands for one."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
