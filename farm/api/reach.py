"""Who can reach a server, and under what."""

from collections.abc import Sequence
from dataclasses import dataclass

from farm.access.hosts import LOOPBACK, reachable_hosts
from farm.api.address import listens_locally


@dataclass(frozen=True, slots=True)
class Reach:
    """Where a server listens; what follows from it is asked for each time, since a machine's addresses change.

    Attributes:
        address: "host:port", "[ipv6]:port" or "unix:path".
        hostnames: What other machines call this one, beside what it finds out by itself.
    """

    address: str
    hostnames: Sequence[str] = ()

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it. Raises `AddressError` if the address is none."""
        return listens_locally(self.address)

    def certified_hosts(self) -> list[str]:
        """Host names and addresses that its certificate must hold: those for others, and this machine's own."""
        return [*self._hosts(), *LOOPBACK]

    def addresses(self) -> list[str]:
        """Where it can be called, best first: from other machines, unless it is local."""
        if self.is_local:
            return [self.address]
        port = self.address.rpartition(":")[2]
        return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host in self._hosts()]

    def _hosts(self) -> list[str]:
        return reachable_hosts(self.address.rpartition(":")[0], self.hostnames)
