from pathlib import Path

import pytest

from farm.carrier.node import check_address, own_ip, ray_environment
from farm.carrier.security import RaySecurity, TlsFiles, ray_token
from farm.errors import AddressError

FILES = TlsFiles(Path("certificate.pem"), Path("key.pem"), Path("ca.pem"))
TOKEN_ONLY = RaySecurity(Path("token"))
WITH_TLS = RaySecurity(Path("token"), FILES)


@pytest.mark.parametrize("address", ["127.0.0.1:7434", "127.0.0.1:1"])
def test_ray_may_listen_on_loopback_with_a_token_alone(address: str) -> None:
    check_address(address, TOKEN_ONLY)


def test_ray_may_not_listen_beyond_loopback_without_certificates() -> None:
    with pytest.raises(AddressError, match="whoever reaches Ray can run any code"):
        check_address("192.0.2.7:7434", TOKEN_ONLY)
    check_address("192.0.2.7:7434", WITH_TLS)


@pytest.mark.parametrize(
    "address", ["", "nonsense", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "mac.local:7434", "0.0.0.0:7434"]
)
def test_what_is_no_address_of_ray_is_told(address: str) -> None:
    with pytest.raises(AddressError, match="not an address for Ray's head"):
        check_address(address, WITH_TLS)


def test_every_process_of_ray_is_told_token_and_certificates() -> None:
    told = ray_environment("192.0.2.7:7434", WITH_TLS)
    assert (told["RAY_AUTH_MODE"], told["RAY_AUTH_TOKEN_PATH"], told["RAY_USE_TLS"]) == ("token", "token", "1")
    assert told["RAY_TLS_CA_CERT"] == "ca.pem"
    assert told["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "1"


def test_on_loopback_ray_stays_on_loopback_and_has_a_token_all_the_same() -> None:
    told = ray_environment("127.0.0.1:7434", TOKEN_ONLY)
    assert (told["RAY_AUTH_MODE"], told["RAY_USE_TLS"]) == ("token", "0")
    assert told["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"


def test_a_token_is_made_once_and_for_this_user_alone(tmp_path: Path) -> None:
    first = ray_token(tmp_path / "access")
    secret = first.read_text()
    assert first.stat().st_mode & 0o777 == 0o600
    assert len(bytes.fromhex(secret)) == 32
    assert ray_token(tmp_path / "access").read_text() == secret
    assert [path.name for path in first.parent.iterdir()] == [first.name]


def test_this_machines_address_is_the_one_that_the_other_side_sees() -> None:
    assert own_ip("127.0.0.1:7434") == "127.0.0.1"
