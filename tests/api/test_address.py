"""Which addresses the farm listens on."""

import pytest

from farm.api.address import check_written, listens_locally
from farm.errors import AddressError


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:7433", "127.8.9.1:0", "[::1]:7433", "::1:7433", "localhost:65535", "unix:/tmp/farm.sock", "unix:farm"],
)
def test_what_only_this_machine_can_reach_needs_no_tls(address: str) -> None:
    assert listens_locally(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0:7433",
        "[::]:7433",
        "192.168.1.5:7433",
        "128.0.0.1:7433",
        "[::ffff:192.168.1.5]:7433",
        "example.com:7433",
        "localhost.example.com:7433",
        "127.1:7433",
    ],
)
def test_what_other_machines_could_reach_needs_tls(address: str) -> None:
    assert not listens_locally(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "localhost",
        "127.0.0.1:",
        "127.0.0.1:http",
        "127.0.0.1:65536",
        "unix:",
        ":7433",
        "*:7433",
        "vsock:1:7433",
        "dns:///localhost:7433",
    ],
)
def test_what_is_no_address_is_refused_with_an_example(address: str) -> None:
    with pytest.raises(AddressError, match=r"is not an address to listen on.*127\.0\.0\.1:7433"):
        listens_locally(address)


@pytest.mark.parametrize("address", ["127.0.0.1:7433", "[::1]:7433", "localhost:1", "studio-3.local:7433", "unix:farm"])
def test_a_farm_may_be_called_wherever_it_is(address: str) -> None:
    check_written(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "foo",
        ":7433",
        "localhost:",
        "localhost:0",
        "localhost:65536",
        "localhost:7433/x",
        "http://localhost:7433",
        "::1",
        "a b:80",
        "\udcff:80",
        "unix:",
        "localhost:\u0667",
    ],
)
def test_what_no_farm_can_be_called_at_is_refused_with_an_example(address: str) -> None:
    with pytest.raises(AddressError, match=r"is not an address of a farm.*127\.0\.0\.1:7433"):
        check_written(address)
