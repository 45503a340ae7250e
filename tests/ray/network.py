"""A network of a test's own between this machine and a namespace of its kernel; it can be cut, and healed."""

import itertools
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

_NUMBERS = itertools.count()


@dataclass(frozen=True, slots=True)
class Network:
    """A cable with an end here and one in a namespace.

    Attributes:
        namespace: Its name, for `ip netns exec`.
        here: Address of this machine on it.
        there: Address in the namespace.
        cable: Name of the end here.
    """

    namespace: str
    here: str
    there: str
    cable: str

    def cut(self) -> None:
        """Nothing gets through any more, and neither side is told."""
        _ip("link", "set", self.cable, "down")

    def heal(self) -> None:
        """Everything gets through again."""
        _ip("link", "set", self.cable, "up")


@contextmanager
def network() -> Iterator[Network | None]:
    """Makes a network; None where that is not permitted, which takes root on Linux."""
    number = next(_NUMBERS)
    name = f"farm-{os.getpid()}-{number}"
    cable = f"fm{os.getpid() % 100_000}-{number}"
    subnet = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}"
    made = Network(name, f"{subnet}.1", f"{subnet}.2", cable)
    try:
        _ip("netns", "add", name)
    except (FileNotFoundError, subprocess.CalledProcessError):
        yield None
        return
    try:
        _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("addr", "add", f"{made.here}/24", "dev", cable)
        _ip("link", "set", cable, "up")
        _ip("-n", name, "addr", "add", f"{made.there}/24", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")
        _ip("-n", name, "link", "set", "lo", "up")
        yield made
    finally:
        with suppress(subprocess.CalledProcessError):
            _ip("link", "del", cable)
        _ip("netns", "del", name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
