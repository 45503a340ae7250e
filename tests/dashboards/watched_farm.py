"""A farm that renders, and a real Prometheus that watches it with the configuration of deploy/prometheus/."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from farm.access.access import FOLDER
from farm.catalogue import Catalogue
from farm.cli.local_fleet import free_ray_address
from farm.client import Client
from farm.coordinator.engine import LocalEngine
from farm.metrics import BOTH, WORKER, WORKER_CONNECTED, WORKER_OUTBOX, WORKER_THERMAL, Meters, measure_process
from farm.worker.metering import MeteredRenderer
from farm.worker.metrics_server import serve_metrics
from farm.worker.pipeline_host import PipelineHost
from tests.running_farm import RunningFarm, running_farm
from tests.waiting import PATIENCE
from tests.worker.builders import NoRuntime

DEPLOY = Path(__file__).parents[2] / "deploy" / "prometheus"
PROMETHEUS = shutil.which("prometheus")
MISSING = "Prometheus is not installed; Debian has it in prometheus"

WATTS = 25.0

needs_prometheus = pytest.mark.skipif(PROMETHEUS is None, reason=MISSING)


@dataclass(frozen=True, slots=True)
class Watched:
    """A Prometheus, and the farm that it watches."""

    farm: RunningFarm
    prometheus: httpx.Client

    def ask(self, expr: str) -> list[tuple[dict[str, str], float]]:
        """Labels and value of every series that comes back."""
        answer = self.prometheus.get("/api/v1/query", params={"query": expr}).json()
        assert answer["status"] == "success", f"{expr}: {answer}"
        found: list[dict[str, Any]] = answer["data"]["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]


@contextmanager
def watched_farm(folder: Path) -> Iterator[Watched]:
    """A farm whose one worker, a real pipeline process with a scripted pipeline, has finished a batch and has another.

    What only a Mac can measure, its energy and its heat, is made up.
    """
    meters = Meters((*BOTH, *WORKER))
    catalogue = Catalogue(cache=folder / "digests.json")
    host = PipelineHost(catalogue.models(), NoRuntime(), pipeline="tests.worker.pipelines:scripted")
    with serve_metrics("127.0.0.1:0", meters) as port:
        metered = MeteredRenderer(host, meters, lambda: f"127.0.0.1:{port}", joules=lambda: time.monotonic() * WATTS)
        meters.before_each(lambda: measure_process(meters, folder))
        for family, value in ((WORKER_CONNECTED, 1), (WORKER_OUTBOX, 0), (WORKER_THERMAL, 0)):
            meters.set(family, value)
        with (
            running_farm(folder / "state", engine=LocalEngine(metered), page="127.0.0.1:0") as farm,
            _prometheus(folder, farm) as prometheus,
            Client(farm.address) as client,
        ):
            client.submit(["fail at 1", *["sleep 0.02 at 1"] * 8]).wait()
            client.submit(["fail at 1" if index % 20 == 0 else "sleep 0.1 at 1" for index in range(2000)])
            yield Watched(farm, prometheus)


@contextmanager
def _prometheus(folder: Path, farm: RunningFarm) -> Iterator[httpx.Client]:
    assert PROMETHEUS is not None
    home = folder / "prometheus"
    shutil.copytree(DEPLOY, home)
    (home / "farm").mkdir()
    for name in ("ca.pem", "scrape-token"):
        shutil.copy(farm.state / FOLDER / name, home / "farm" / name)
    config = (home / "prometheus.yml").read_text()
    for here, there in (
        ("https", "http"),
        ("coordinator.example:7435", farm.page.removeprefix("http://").rstrip("/")),
        ("15s", "1s"),
    ):
        assert here in config
        config = config.replace(here, there)
    (home / "prometheus.yml").write_text(config)
    address = free_ray_address()
    options = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={address}"]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen([PROMETHEUS, *options], cwd=home, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://{address}", timeout=PATIENCE) as client:
            _wait_until_ready(client, home / "log")
            yield client
    finally:
        process.kill()
        process.wait()


def _wait_until_ready(client: httpx.Client, log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            if client.get("/-/ready").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"Prometheus did not start: {log.read_text()}")
