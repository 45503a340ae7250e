import socket

import pytest

from farm.access.hosts import is_own, open_listener, split_address


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("127.0.0.1:7433", "127.0.0.1", 7433),
        ("studio.local:1", "studio.local", 1),
        ("[fe80::1%en0]:80", "fe80::1%en0", 80),
    ],
)
def test_an_address_is_split_as_sockets_take_it(address: str, host: str, port: int) -> None:
    assert split_address(address) == (host, port)


@pytest.mark.parametrize("address", ["studio.local", "127.0.0.1:", "127.0.0.1:http"])
def test_an_address_without_a_port_is_none(address: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        split_address(address)


needs_ipv6 = pytest.mark.skipif(not is_own("::1"), reason="this machine has no IPv6")


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("[::1]", marks=needs_ipv6)])
def test_what_is_listened_on_can_be_called_there(host: str) -> None:
    with open_listener(f"{host}:0") as listener:
        socket.create_connection(listener.getsockname()[:2]).close()


def test_an_address_for_documentation_is_no_machines_own() -> None:
    assert not is_own("192.0.2.1")
    assert is_own("127.0.0.1")
