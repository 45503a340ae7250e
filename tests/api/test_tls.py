"""A farm that other machines could reach: what they are shown, and what they are refused."""

import re
import stat
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from cryptography import x509

from farm.access.authority import Authority
from farm.access.hosts import machine_hosts
from farm.access.local_farms import find_local_farm
from farm.access.tokens import Role
from farm.api.tls import ServerIdentity
from farm.client import AsyncClient, Client
from farm.domain import JobState
from farm.errors import UnauthenticatedError, UnreachableError, UntrustedServerError
from farm.v1 import job_service_pb2, job_service_pb2_grpc
from tests.running_farm import RunningFarm, running_farm
from tests.waiting import PATIENCE


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFarm]:
    with running_farm(tmp_path_factory.mktemp("farm") / "state", address="0.0.0.0:0") as running:
        yield running


@pytest.fixture
def elsewhere(farm: RunningFarm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The farm's address for one who has no part in its user's files."""
    monkeypatch.setattr("platformdirs.user_data_path", lambda *_: tmp_path / "data")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_: tmp_path / "cache")
    return f"127.0.0.1:{farm.address.rpartition(':')[2]}"


@pytest.fixture
def secret(farm: RunningFarm) -> str:
    return farm.access.tokens.create(Role.SUBMIT, "anna")[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machines_own_user_needs_to_say_nothing(farm: RunningFarm, host: str) -> None:
    with Client(f"{host}:{farm.address.rpartition(':')[2]}") as client:
        assert client.submit("a").wait() is JobState.SUCCEEDED


def test_the_own_user_needs_to_say_nothing_either_where_a_farm_listens_on_one_address_alone(tmp_path: Path) -> None:
    own = [host for host in machine_hosts() if re.fullmatch(r"[0-9.]+", host)]
    if not own:
        pytest.skip("this machine has no address but loopback")
    with running_farm(tmp_path / "state", address=f"{own[0]}:0") as farm, Client(farm.address) as client:
        assert client.create_token(Role.SUBMIT, "anna").secret


def test_another_machine_gets_in_by_the_pin_or_by_the_file(farm: RunningFarm, elsewhere: str, secret: str) -> None:
    for ca in (farm.access.authority.fingerprint, str(farm.access.folder / "ca.pem")):
        with Client(elsewhere, token=secret, ca=ca) as client:
            assert client.submit("a").wait() is JobState.SUCCEEDED


async def test_the_asyncio_client_gets_in_too(farm: RunningFarm, elsewhere: str, secret: str) -> None:
    async with AsyncClient(elsewhere, token=secret, ca=farm.access.authority.fingerprint) as client:
        assert await (await client.submit("a")).wait() is JobState.SUCCEEDED


def test_what_is_in_the_environment_is_used(
    farm: RunningFarm, elsewhere: str, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("ADDRESS", elsewhere), ("TOKEN", secret), ("CA", farm.access.authority.fingerprint)):
        monkeypatch.setenv(f"FARM_{name}", value)
    with Client() as client:
        assert list(client.models())


def test_no_token_and_a_wrong_one_are_refused_beyond_loopback(farm: RunningFarm, elsewhere: str) -> None:
    for token in (None, "farm_nonsense"):
        with (
            Client(elsewhere, token=token, ca=farm.access.authority.fingerprint) as client,
            pytest.raises(UnauthenticatedError, match="farm token create"),
        ):
            list(client.jobs())


def test_plain_text_is_refused_also_with_a_token(farm: RunningFarm, elsewhere: str, secret: str) -> None:
    with grpc.insecure_channel(elsewhere) as channel:
        jobs = job_service_pb2_grpc.JobServiceStub(channel)
        metadata = (("authorization", f"Bearer {secret}"),)
        with pytest.raises(grpc.RpcError) as refused:
            jobs.ListJobs(job_service_pb2.ListJobsRequest(), metadata=metadata, timeout=PATIENCE)
    assert isinstance(refused.value, grpc.Call)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_farm_with_another_authority_is_not_spoken_to(farm: RunningFarm, elsewhere: str, tmp_path: Path) -> None:
    other = Authority.open(tmp_path / "other")
    with pytest.raises(UntrustedServerError, match=f"it shows {farm.access.authority.fingerprint}"):
        Client(elsewhere, token="x", ca=other.fingerprint)
    with (
        Client(elsewhere, token="x", ca=str(tmp_path / "other" / "ca.pem")) as client,
        pytest.raises(UntrustedServerError, match="cannot prove that it is the farm"),
    ):
        list(client.jobs())


@pytest.mark.parametrize(
    ("ca", "says"),
    [("sha256:12", "not a fingerprint"), ("/no/such/file", "is not there"), (__file__, "holds no certificate")],
)
def test_a_ca_that_is_none_is_told(elsewhere: str, ca: str, says: str) -> None:
    with pytest.raises(UntrustedServerError, match=says):
        Client(elsewhere, ca=ca)


@pytest.mark.parametrize("variable", [None, ""])
def test_another_machine_is_never_called_without_something_to_verify_it_with(
    monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    if variable is not None:
        monkeypatch.setenv("FARM_CA", variable)
    with pytest.raises(UntrustedServerError, match="Set FARM_CA"):
        Client("192.0.2.1:7433", token="farm_secret")


def test_what_is_not_there_or_no_farm_is_told_when_it_is_pinned(
    tmp_path: Path, farm: RunningFarm, elsewhere: str
) -> None:
    pin = farm.access.authority.fingerprint
    with pytest.raises(UnreachableError, match="No farm answers"):
        Client("127.0.0.1:1", ca=pin)
    with running_farm(tmp_path / "state") as plain, pytest.raises(UntrustedServerError, match="does not speak TLS"):
        Client(plain.address, ca=pin)


def test_an_authority_that_was_pinned_once_is_asked_for_no_more(farm: RunningFarm, elsewhere: str) -> None:
    pin = farm.access.authority.fingerprint
    Client(elsewhere, ca=pin).close()
    Client("127.0.0.1:1", ca=pin).close()


def test_the_certificate_is_made_anew_when_the_addresses_of_the_machine_change(tmp_path: Path) -> None:
    hosts = ["127.0.0.1"]
    identity = ServerIdentity(Authority.open(tmp_path / "access"), lambda: list(hosts))
    first = identity.current()
    assert identity.current() == first
    hosts.append("192.0.2.9")
    names = x509.load_pem_x509_certificate(identity.current().certificate_pem).extensions
    held = names.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.IPAddress)
    assert [str(address) for address in held] == hosts


def test_a_farm_is_found_on_its_machine_while_it_listens_and_its_keys_are_its_users_alone(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)  # as whoever needs Ray's token first makes it
    with running_farm(tmp_path / "state") as farm:
        entry = find_local_farm(farm.address)
        assert entry is not None
        assert Path(entry.folder) == tmp_path / "state" / "access"
        assert not entry.is_tls
    assert find_local_farm(farm.address) is None
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state" / "access").iterdir()} == {0o600}
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
