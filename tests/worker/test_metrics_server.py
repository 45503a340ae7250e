"""The worker's /metrics over real sockets, TLS and a real child that hangs."""

import socket
import ssl
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from farm.access.authority import Authority
from farm.carrier.security import TlsFiles, scrape_token
from farm.errors import AddressError
from farm.metrics import BOTH, WORKER, WORKER_OUTBOX, Meters
from farm.worker.metering import MeteredRenderer
from farm.worker.metrics_server import MetricsAccess, serve_metrics
from farm.worker.pipeline_host import PipelineHost
from tests.expositions import Exposition
from tests.waiting import PATIENCE
from tests.worker.builders import NoRuntime, Reports, assignment, model

EVERYWHERE = "0.0.0.0:0"
TOKEN = scrape_token("the farm's Ray token")


def scrape(url: str, authority: Path | None = None, token: str = "") -> Exposition:
    context = ssl.create_default_context(cafile=authority) if authority else None
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(request, timeout=PATIENCE, context=context) as answer:
        return Exposition(answer.read().decode())


def certified(folder: Path) -> TlsFiles:
    folder.mkdir(exist_ok=True)
    credentials = Authority.open(folder).issue("worker", ["127.0.0.1"])
    files = TlsFiles(folder / "certificate.pem", folder / "key.pem", folder / "ca.pem")
    files.certificate.write_bytes(credentials.certificate_pem)
    files.key.write_bytes(credentials.key_pem)
    return files


@pytest.fixture
def meters() -> Meters:
    meters = Meters((*BOTH, *WORKER))
    meters.set(WORKER_OUTBOX, 3)
    return meters


def test_on_loopback_anybody_on_this_machine_may_look(meters: Meters) -> None:
    with serve_metrics("127.0.0.1:0", meters) as port:
        assert scrape(f"http://127.0.0.1:{port}/metrics").value("farm_worker_outbox_reports") == 3


def test_beyond_loopback_there_is_tls_and_whoever_has_no_token_is_refused(meters: Meters, tmp_path: Path) -> None:
    files = certified(tmp_path / "farm")
    with serve_metrics(EVERYWHERE, meters, MetricsAccess(files, TOKEN)) as port:
        url = f"https://127.0.0.1:{port}/metrics"
        assert scrape(url, files.authority, TOKEN).value("farm_worker_outbox_reports") == 3
        for wrong in ("", "guessed"):
            with pytest.raises(urllib.error.HTTPError, match="401"):
                scrape(url, files.authority, wrong)
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            scrape(url.replace("https", "http"), token=TOKEN)


def test_a_certificate_that_is_renewed_is_shown_from_then_on(meters: Meters, tmp_path: Path) -> None:
    files = certified(tmp_path / "farm")
    other = certified(tmp_path / "other")
    with serve_metrics(EVERYWHERE, meters, MetricsAccess(files, TOKEN)) as port:
        url = f"https://127.0.0.1:{port}/metrics"
        scrape(url, files.authority, TOKEN)
        files.key.write_bytes(other.key.read_bytes())
        files.certificate.write_bytes(other.certificate.read_bytes())
        scrape(url, other.authority, TOKEN)


def test_a_worker_without_a_certificate_does_not_serve_beyond_loopback(meters: Meters) -> None:
    with pytest.raises(AddressError, match="would be open to other machines"), serve_metrics(EVERYWHERE, meters):
        pass


@pytest.mark.parametrize("address", ["127.0.0.1:port", "127.0.0.1:99999", "127.0.0.1", "192.0.2.77:0"])
def test_an_address_that_cannot_be_used_is_told_in_words(address: str, meters: Meters, tmp_path: Path) -> None:
    access = MetricsAccess(certified(tmp_path / "farm"), TOKEN)
    with pytest.raises(AddressError, match="--metrics-listen"), serve_metrics(address, meters, access):
        pass


def test_where_any_port_does_a_taken_one_keeps_nobody_from_looking(meters: Meters) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(AddressError, match="Address already in use"), serve_metrics(address, meters):
            pass
        with serve_metrics(address, meters, or_any_port=True) as port:
            assert port != taken.getsockname()[1]
            assert scrape(f"http://127.0.0.1:{port}/metrics").value("farm_worker_outbox_reports") == 3


def test_many_callers_who_say_nothing_do_not_keep_a_scrape_waiting_for_long(meters: Meters) -> None:
    with serve_metrics("127.0.0.1:0", meters) as port:
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(12)]
        assert scrape(f"http://127.0.0.1:{port}/metrics").value("farm_worker_outbox_reports") == 3
        for connection in silent:
            connection.close()


def test_a_worker_whose_child_hangs_with_the_interpreters_lock_held_still_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FARM_LOCKS", str(tmp_path))
    meters = Meters((*BOTH, *WORKER))
    reports = Reports()
    host = PipelineHost([model()], NoRuntime(), pipeline="tests.worker.pipelines:scripted")
    metered = MeteredRenderer(host, meters)
    metered.start(reports)
    try:
        with serve_metrics("127.0.0.1:0", meters) as port:
            metered.render(assignment(1, "hold 60 at 3"))
            reports.step_of(1)
            reports.step_of(1)
            url = f"http://127.0.0.1:{port}/metrics"
            first = scrape(url)
            second = scrape(url)
    finally:
        metered.stop()
        assert first.value("farm_worker_steps_total") == 2
        hung = "farm_worker_stage_elapsed_seconds"
        assert second.value(hung) > first.value(hung) > 0
