"""Receivers learn of the end of a job, from whoever can prove to be the farm."""

import ipaddress
import json
import sqlite3
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from farm.access.authority import CERTIFICATE_FILE, Authority
from farm.cli.local_fleet import free_ray_address
from farm.cli.webhooks import webhooks
from farm.client import Client
from farm.errors import InvalidRequestError, WebhookError
from farm.webhooks.guard import refusal, resolve
from farm.webhooks.signing import Secret
from tests.running_farm import RunningFarm, running_farm
from tests.waiting import PATIENCE, until
from tests.webhooks.receiver import receiving

SOON = tuple(0.2 * number for number in range(1, 200))


def secret(farm: RunningFarm) -> str:
    return str(Secret.open(farm.access.folder))


def submit(farm: RunningFarm, url: str) -> str:
    with Client(farm.address) as client:
        return client.submit("a red circle", webhook=url).name


def owed(state: Path) -> int:
    with sqlite3.connect(state / "journal.sqlite3", timeout=PATIENCE) as journal:
        return int(journal.execute("SELECT count(*) FROM webhooks").fetchone()[0])


def test_a_receiver_that_fails_at_first_is_told_until_it_takes_it_and_can_check_it(tmp_path: Path) -> None:
    with (
        receiving(500, 302, 429) as receiver,
        running_farm(tmp_path / "state", private_webhooks=True, webhook_tries=SOON) as farm,
    ):
        name = submit(farm, receiver.url)
        until(lambda: len(receiver.got) == 4, "it was not told")
        until(lambda: owed(farm.state) == 0, "it is still owed")

        trusted = Webhook(secret(farm))
        for headers, body in receiver.got:
            told = trusted.verify(body, headers)
            assert told["type"] == "job.ended"
            assert (told["data"]["job"]["name"], told["data"]["job"]["state"]) == (name, "JOB_STATE_SUCCEEDED")
            with pytest.raises(WebhookVerificationError):
                trusted.verify(body.replace(b"SUCCEEDED", b"FAILED"), headers)
        assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
        assert receiver.got[0][0]["host"].startswith("localhost:")


def test_what_is_owed_outlives_restarts_of_the_farm(tmp_path: Path) -> None:
    port = int(free_ray_address().rpartition(":")[2])
    with running_farm(tmp_path / "state", private_webhooks=True, webhook_tries=(3600.0,)) as farm:
        name = submit(farm, f"http://127.0.0.1:{port}/")
        with Client(farm.address) as client:
            client.job(name).wait()
    assert owed(tmp_path / "state") == 1

    with receiving(port=port) as receiver, running_farm(tmp_path / "state", private_webhooks=True) as farm:
        until(lambda: owed(farm.state) == 0, "it is still owed")
        assert json.loads(receiver.got[0][1])["data"]["job"]["name"] == name


def test_a_retried_job_is_told_again_under_another_id(tmp_path: Path) -> None:
    with (
        receiving() as receiver,
        running_farm(tmp_path / "state", private_webhooks=True, failures={0: 9}, webhook_tries=SOON) as farm,
        Client(farm.address) as client,
    ):
        job = client.submit("a red circle", webhook=receiver.url)
        until(lambda: len(receiver.got) == 1, "it was not told")
        job.retry()
        until(lambda: len(receiver.got) == 2, "it was not told again")

        assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 2


@pytest.mark.parametrize("tries", [(), SOON], ids=["no more tries", "gone"])
def test_it_is_given_up_when_there_is_nothing_to_hope_for(tmp_path: Path, tries: tuple[float, ...]) -> None:
    with (
        receiving(410) as receiver,
        running_farm(tmp_path / "state", private_webhooks=True, webhook_tries=tries) as farm,
    ):
        submit(farm, receiver.url)
        until(lambda: len(receiver.got) == 1 and owed(farm.state) == 0, "it is still owed")


def test_this_machine_is_told_only_if_the_farms_owner_lets_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with receiving() as receiver, running_farm(tmp_path / "state", webhook_tries=()) as farm:
        submit(farm, receiver.url)
        until(lambda: "webhook.given_up" in caplog.text, "it was not given up")

        assert "--private-webhooks" in caplog.text
        assert receiver.got == []


@pytest.mark.parametrize(("host", "told"), [("localhost", 1), ("elsewhere.example.com", 0)])
def test_a_receiver_with_tls_must_be_the_one_that_its_certificate_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, told: int
) -> None:
    authority = Authority.open(tmp_path / "authority")
    credentials = authority.issue("receiver", [host])
    chain = tmp_path / "chain.pem"
    chain.write_bytes(credentials.key_pem + credentials.certificate_pem)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(chain)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority" / CERTIFICATE_FILE))

    with (
        receiving(tls=tls) as receiver,
        running_farm(tmp_path / "state", private_webhooks=True, webhook_tries=()) as farm,
    ):
        submit(farm, receiver.url)
        until(lambda: owed(farm.state) == 0, "it is still owed")

    assert len(receiver.got) == told


@pytest.mark.parametrize(
    "url",
    ["studio.example.com", "ftp://a/b", "http://", "https://me:secret@a/", "http://a b/", "http://a:0/", "http://[::1"],
)
def test_what_is_no_address_to_tell_is_refused_with_the_job(farm: RunningFarm, url: str) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        submit(farm, url)
    assert list(raised.value.violations) == ["spec.webhook"]


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFarm]:
    with running_farm(tmp_path_factory.mktemp("farm") / "state") as running:
        yield running


NEVER = (
    "169.254.169.254",
    "fe80::1",
    "fd00:ec2::254",
    "100.100.100.200",
    "192.0.0.192",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
)
PRIVATE = ("127.0.0.1", "::1", "10.0.0.1", "192.168.1.20", "172.16.0.1", "100.64.0.1", "fd12::1", "::ffff:10.0.0.1")
PUBLIC = ("8.8.8.8", "2001:4860:4860::8888")


@pytest.mark.parametrize("address", [*NEVER, *PRIVATE, *PUBLIC])
@pytest.mark.parametrize("allow_private", [False, True])
def test_where_a_webhook_may_go(address: str, allow_private: bool) -> None:
    allowed = address in PUBLIC or (allow_private and address in PRIVATE)

    assert (refusal(ipaddress.ip_address(address), allow_private=allow_private) == "") is allowed


@pytest.mark.parametrize("host", ["localhost", "127.1", "0x7f000001", "2130706433", "[::1]", "no-such-name.invalid"])
async def test_every_way_to_write_this_machine_is_judged_by_where_it_leads(host: str) -> None:
    with pytest.raises(WebhookError):
        await resolve(host, 80, allow_private=False)


def test_the_secret_is_shown_as_receivers_libraries_take_it(tmp_path: Path) -> None:
    shown = CliRunner().invoke(webhooks, ["secret", "--state", str(tmp_path)], catch_exceptions=False)
    content = b'{"a": 1}'
    headers = Secret.open(tmp_path / "access").headers("id", int(time.time()), content)

    assert Webhook(shown.output.strip()).verify(content, dict(headers)) == {"a": 1}
    assert shown.output.strip() not in repr(Secret.open(tmp_path / "access"))
    assert (tmp_path / "access" / "webhooks.key").stat().st_mode & 0o777 == 0o600
