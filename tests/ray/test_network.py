"""A worker is cut off by its network and found again: others do its work, and what it brings late does not count."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from farm.access.authority import Authority
from farm.carrier.security import RaySecurity, ray_token
from farm.cli.local_fleet import free_ray_address
from farm.client import Client
from farm.coordinator.ray_engine import RayEngine, RaySettings
from farm.v1 import worker_pb2
from tests.ray.batch import SILENCE, Batch
from tests.ray.fleet import PATIENCE, SECONDS_PER_IMAGE, end
from tests.ray.network import Network, network
from tests.ray.odd_worker import tls_files
from tests.ray.pace import Pace
from tests.running_farm import running_farm
from tests.waiting import eventually

IMAGES = 600


class Room:
    """A coordinator here, a worker beside it, and one at the other end of a network; Ray between them with TLS."""

    def __init__(self, folder: Path, cable: Network, stack: ExitStack) -> None:
        self._folder = folder
        self.state = folder / "state"
        self.pace = Pace(folder / "pace.log")
        stack.enter_context(self.pace.measured())
        self._log = stack.enter_context(logged_to(folder / "coordinator.log"))
        authority = Authority.open(folder / "authority")
        for name, host in (("coordinator", cable.here), ("near", cable.here), ("far", cable.there)):
            files = tls_files(self.state, name)
            files.authority.parent.mkdir(parents=True, exist_ok=True)
            credentials = authority.issue(name, [host, "127.0.0.1"])
            files.certificate.write_bytes(credentials.certificate_pem)
            files.key.write_bytes(credentials.key_pem)
            files.authority.write_bytes(authority.certificate_pem)
        self._ray_address = f"{cable.here}:{free_ray_address().rpartition(':')[2]}"
        security = RaySecurity(ray_token(self.state / "access"), tls_files(self.state, "coordinator"))
        engine = RayEngine(RaySettings(self._ray_address, security))
        self.address = stack.enter_context(running_farm(self.state, engine=engine)).address
        stack.enter_context(self._worker("near"))
        stack.enter_context(self._worker("far", "ip", "netns", "exec", cable.namespace))

    @contextmanager
    def _worker(self, name: str, *prefix: str) -> Iterator[None]:
        options = ["--name", name, "--folder", self._folder / name, "--state", self.state]
        options += ["--ray-address", self._ray_address, "--null-seconds", SECONDS_PER_IMAGE]
        command = [*prefix, sys.executable, "-m", "tests.ray.odd_worker", "afar", *map(str, options)]
        with (self._folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)
        try:
            yield
        finally:
            end(process)

    def log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text()

    def active(self) -> set[str]:
        with Client(self.address) as client:
            workers = [w for w in client.workers() if w.state == worker_pb2.WORKER_STATE_ACTIVE]
            return {worker.name.removeprefix("workers/") for worker in workers}

    def kept_by(self, name: str) -> int:
        """How many reports a worker keeps that nobody has taken."""
        return len(list((self._folder / name / "outbox").glob("*.report")))


@contextmanager
def logged_to(path: Path) -> Iterator[None]:
    handler, logger = logging.FileHandler(path), logging.getLogger("farm")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()


@pytest.mark.timeout(900)
def test_a_worker_that_is_cut_off_beyond_its_lease_comes_back_and_its_late_images_do_not_count(tmp_path: Path) -> None:
    with ExitStack() as stack:
        cable = stack.enter_context(network())
        if cable is None:
            pytest.skip("no network namespace may be made here: that takes root on Linux")
        room = Room(tmp_path, cable, stack)
        assert eventually(lambda: room.active() == {"near", "far"}, PATIENCE), room.log("coordinator")
        batch = Batch(room, tmp_path, IMAGES, begun=40)

        cable.cut()
        assert eventually(lambda: room.active() == {"near"}, PATIENCE), "it was not missed"
        assert eventually(lambda: room.kept_by("far") > 0), "it does not render on alone"
        cable.heal()

        batch.finish()
        assert any(SILENCE in line for line in batch.lost_attempts()), batch.log()
        assert batch.lost_but_for(" worker=far ") == []
        assert eventually(lambda: room.active() == {"near", "far"}, PATIENCE), room.log("far")
        assert eventually(lambda: room.kept_by("far") == 0, PATIENCE), room.log("far")
        assert "result.refused" in batch.log()
