"""What the coordinator and its Ray driver say to each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from farm.child import Child


@dataclass(frozen=True, slots=True)
class DriverSettings:
    """First, to the driver.

    Attributes:
        address: Where Ray's head listens, HOST:PORT.
        node_ip: Address of this machine by which workers reach it.
        environment: Variables for Ray.
    """

    address: str
    node_ip: str
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToNode:
    """To the driver: messages for the daemon on a node; dropped if it cannot be reached."""

    node_id: str
    messages: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class DriverUp:
    """From the driver: it is connected to Ray."""


@dataclass(frozen=True, slots=True)
class DriverLives:
    """From the driver, several times a second: it runs, and Ray answers it."""


@dataclass(frozen=True, slots=True)
class FromNode:
    """From the driver: messages of the daemon on a node, in order."""

    node_id: str
    messages: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class NodeLost:
    """From the driver: the daemon on a node cannot be reached any more.

    Attributes:
        node_id: The node.
        is_daemon_gone: Whether that is because its daemon has ended, as the bridge beside it saw.
        reason: What happened, in words.
    """

    node_id: str
    is_daemon_gone: bool
    reason: str


DriverOrder = DriverSettings | ToNode
DriverWord = DriverUp | DriverLives | FromNode | NodeLost
DriverChild = Child[DriverOrder, DriverWord]
