"""Ray with the farm's token and certificates, as real processes: who has both is let in, and nobody else."""

import logging
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import grpc
import pytest

from farm.access.authority import Authority
from farm.carrier.node import LOOPBACK, NodeSettings, Stop, ray_environment, start_node
from farm.carrier.security import RaySecurity, TlsFiles, ray_token
from farm.cli.local_fleet import free_ray_address
from farm.worker.raylet import Raylet
from tests.waiting import PATIENCE, eventually

NODES = "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo"


def security(folder: Path, authority: Authority, token: Path) -> RaySecurity:
    """A token, and certificates of an authority."""
    folder.mkdir()
    credentials = authority.issue("test", [LOOPBACK, "localhost"])
    files = TlsFiles(folder / "certificate.pem", folder / "key.pem", folder / "ca.pem")
    files.certificate.write_bytes(credentials.certificate_pem)
    files.key.write_bytes(credentials.key_pem)
    files.authority.write_bytes(authority.certificate_pem)
    return RaySecurity(token, files)


class Head:
    """A head of Ray that wants token and certificates, and what a node has that belongs to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = free_ray_address()
        self.security = security(folder / "own", Authority.open(folder / "access"), ray_token(folder))
        self.environment = ray_environment(self.address, self.security)
        is_up = threading.Event()
        settings = NodeSettings(self.address, is_head=True, environment=self.environment)
        self._child = start_node(settings, lambda _: is_up.set(), lambda _: None)
        assert is_up.wait(PATIENCE)

    def call(self, credentials: grpc.ChannelCredentials | None, token: str | None) -> grpc.StatusCode:
        """How Ray answers somebody who asks for its nodes."""
        channel = (
            grpc.insecure_channel(self.address)
            if credentials is None
            else grpc.secure_channel(self.address, credentials)
        )
        metadata = () if token is None else (("authorization", f"Bearer {token}"),)
        with channel:
            try:
                channel.unary_unary(NODES, bytes, bytes)(b"", timeout=PATIENCE, metadata=metadata)
            except grpc.RpcError as error:
                return error.code()
        return grpc.StatusCode.OK

    def stop(self) -> None:
        self._child.stop(Stop(), 5)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    head = Head(tmp_path_factory.mktemp("head"))
    try:
        yield head
    finally:
        head.stop()


def credentials(tls: TlsFiles, *, with_own: bool = True) -> grpc.ChannelCredentials:
    root, key, certificate = (path.read_bytes() for path in (tls.authority, tls.key, tls.certificate))
    return grpc.ssl_channel_credentials(root, key, certificate) if with_own else grpc.ssl_channel_credentials(root)


def test_who_has_a_certificate_and_the_token_is_let_in(head: Head) -> None:
    assert head.security.tls
    assert head.call(credentials(head.security.tls), head.security.token.read_text()) is grpc.StatusCode.OK


def test_a_certificate_without_the_token_is_not_enough(head: Head) -> None:
    assert head.security.tls
    for token in (None, "0" * 64):
        assert head.call(credentials(head.security.tls), token) is grpc.StatusCode.UNAUTHENTICATED


def test_the_token_without_a_certificate_is_not_enough(head: Head) -> None:
    assert head.security.tls
    token = head.security.token.read_text()
    assert head.call(credentials(head.security.tls, with_own=False), token) is grpc.StatusCode.UNAVAILABLE
    assert head.call(None, token) is grpc.StatusCode.UNAVAILABLE


def test_a_certificate_of_another_authority_is_not_enough(head: Head) -> None:
    assert head.security.tls
    foreign = security(head.folder / "foreign", Authority.open(head.folder / "other"), head.security.token)
    assert foreign.tls
    mixed = TlsFiles(foreign.tls.certificate, foreign.tls.key, head.security.tls.authority)
    assert head.call(credentials(mixed), head.security.token.read_text()) is grpc.StatusCode.UNAVAILABLE


def without_token(environment: Mapping[str, str]) -> dict[str, str]:
    return {**environment, "RAY_AUTH_MODE": "disabled"}


@pytest.mark.slow  # Ray tries for a while
def test_a_node_without_the_token_does_not_come_up(head: Head) -> None:
    is_up, is_over = threading.Event(), threading.Event()
    settings = NodeSettings(head.address, is_head=False, environment=without_token(head.environment))
    child = start_node(settings, lambda _: is_up.set(), lambda _: is_over.set())
    try:
        assert is_over.wait(PATIENCE)
        assert not is_up.is_set()
    finally:
        child.end(0)


def test_a_node_over_which_the_coordinator_does_not_come_is_made_anew(
    head: Head, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "farm.worker.raylet")
    raylet = Raylet(head.address, head.environment, has_bridge=lambda: False, lonely_seconds=0.5)
    raylet.start()
    try:
        assert eventually(lambda: caplog.text.count("raylet.up") >= 2, PATIENCE), caplog.text
    finally:
        raylet.stop()
    assert "the coordinator does not come over it" in caplog.text
