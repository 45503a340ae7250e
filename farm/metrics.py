"""Every metric of the farm, defined once: what the coordinator and the workers count is what `docs/metrics.md` lists.

Names, base units and `_total` follow Prometheus' conventions. Labels have few values, and never a job's or an image's
name: whatever a farm renders, the number of its series grows with its models and machines only.
`python -m farm.metrics` writes the page.
"""
# ruff: noqa: E501 - a metric a line, as in a table

import enum
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from wsgiref.types import WSGIApplication

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from farm import errors

RENDERING = ("model", "chip_class", "compute_unit", "attention")
"""How an image was rendered: the labels of all that a rendering takes or fails by."""

Rendering = tuple[str, str, str, str]
"""Values of these labels."""

PROCESSING = RENDERING[:3]
"""The same without attention: the labels of stages, which have the most series."""

_IMAGE_SECONDS = (0.25, 1, 2, 4, 8, 16, 32, 64, 128, 512)
_STEP_SECONDS = (0.01, 0.03, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 10)
_STAGE_SECONDS = (0.01, 0.1, 0.5, 2, 10, 60, 600)
_GAP_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 60)
_COMMIT_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5)
_ETA_RATIOS = (0.25, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2, 4)
_IMAGE_JOULES = (1, 3, 10, 30, 100, 300, 1000, 3000, 10000)


class Kind(enum.Enum):
    """Prometheus' types of metrics."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Family:
    """A metric with all of its series.

    Attributes:
        name: As queries name it.
        kind: Its type.
        meaning: What it says, a sentence without its full stop.
        labels: Names of its labels.
        buckets: Upper bounds of a histogram's buckets, in the unit of the name.
        is_rare: Whether not every process can tell it; it is then there only once something is told.
    """

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    is_rare: bool = False


def _counter(name: str, meaning: str, *labels: str, is_rare: bool = False) -> Family:
    return Family(name, Kind.COUNTER, meaning, labels, is_rare=is_rare)


def _gauge(name: str, meaning: str, *labels: str, is_rare: bool = False) -> Family:
    return Family(name, Kind.GAUGE, meaning, labels, is_rare=is_rare)


def _histogram(name: str, meaning: str, buckets: tuple[float, ...], *labels: str, is_rare: bool = False) -> Family:
    return Family(name, Kind.HISTOGRAM, meaning, labels, buckets, is_rare)


# fmt: off
# What both serve

CLOCK = _gauge("farm_clock_timestamp_seconds", "This machine's clock, in seconds since the Unix epoch; compared with the time of the scrape it shows wrong clocks")
MEMORY_USED = _gauge("farm_memory_used_bytes", "Memory in use by this process and its children")
MEMORY_AVAILABLE = _gauge("farm_memory_available_bytes", "Memory of this machine that is available to programs")
DISK_FREE = _gauge("farm_disk_free_bytes", "Free space on the disk of this process's folder")
CERTIFICATE_EXPIRY = _gauge("farm_certificate_expiry_timestamp_seconds", "When this process's own certificate ends, in seconds since the Unix epoch", is_rare=True)

BOTH = (CLOCK, MEMORY_USED, MEMORY_AVAILABLE, DISK_FREE, CERTIFICATE_EXPIRY)

# What a worker serves

WORKER_INFO = _gauge("farm_worker_info", "1, with what the machine is", "chip", "chip_class", "runtime", "os", "version")
WORKER_IMAGES = _counter("farm_worker_images_total", "Images that were rendered", *RENDERING)
WORKER_STEPS = _counter("farm_worker_steps_total", "Denoising steps that were done", *RENDERING)
WORKER_FAILURES = _counter("farm_worker_image_failures_total", "Renderings that failed by the image's own fault, by the error's reason", *RENDERING, "reason")
WORKER_ATTEMPTS = _counter("farm_worker_attempts_total", "Attempts that ended, by their state (ABANDONED: crashed, hung, given back)", "state")
WORKER_IMAGE_SECONDS = _histogram("farm_worker_image_seconds", "From the start of an image to its decoded pixels", _IMAGE_SECONDS, *RENDERING)
WORKER_STEP_SECONDS = _histogram("farm_worker_step_seconds", "One denoising step", _STEP_SECONDS, *RENDERING)
WORKER_STAGE_SECONDS = _histogram("farm_worker_stage_seconds", "One stage: compile and load of a model; encode, denoise, decode and save of an image", _STAGE_SECONDS, "stage", *PROCESSING)
WORKER_STAGE_ELAPSED = _gauge("farm_worker_stage_elapsed_seconds", "Since the pipeline last began a stage or finished a step; 0 while it has nothing to do. It grows while a child hangs")
WORKER_IDLE_GAP = _histogram("farm_worker_idle_gap_seconds", "From the end of one image to the start of the next, if no model was loaded in between", _GAP_SECONDS)
WORKER_ASSIGNED = _gauge("farm_worker_attempts_held", "Attempts that the renderer holds, including the one it renders")
WORKER_OUTBOX = _gauge("farm_worker_outbox_reports", "Finished images and other reports that the coordinator has not taken yet", is_rare=True)
WORKER_CONNECTED = _gauge("farm_worker_connected", "1 while the coordinator reaches this worker, else 0", is_rare=True)
WORKER_THERMAL = _gauge("farm_worker_thermal_level", "Thermal state as macOS reports it: 0 nominal, 1 fair, 2 serious, 3 critical", is_rare=True)
WORKER_ENERGY = _counter("farm_worker_energy_joules_total", "Energy that the chip has used (CPU, GPU, Neural Engine, memory) since the worker started; its rate is the power in watts", is_rare=True)
WORKER_IMAGE_ENERGY = _histogram("farm_worker_image_energy_joules", "Energy that the chip used while it rendered an image", _IMAGE_JOULES, *RENDERING, is_rare=True)

WORKER = (
    WORKER_INFO, WORKER_IMAGES, WORKER_STEPS, WORKER_FAILURES, WORKER_ATTEMPTS, WORKER_IMAGE_SECONDS,
    WORKER_STEP_SECONDS, WORKER_STAGE_SECONDS, WORKER_STAGE_ELAPSED, WORKER_IDLE_GAP, WORKER_ASSIGNED, WORKER_OUTBOX,
    WORKER_CONNECTED, WORKER_THERMAL, WORKER_ENERGY, WORKER_IMAGE_ENERGY,
)

# What the coordinator serves

INFO = _gauge("farm_info", "1, with the version of the farm's software", "version")
IMAGES = _counter("farm_images_committed_total", "Images that were committed", *RENDERING)
IMAGE_BYTES = _counter("farm_image_bytes_total", "Size of the committed images' files", "model")
IMAGE_SECONDS = _histogram("farm_image_render_seconds", "How long committed images took, from their start to their decoded pixels", _IMAGE_SECONDS, *RENDERING)
STEPS = _counter("farm_steps_total", "Denoising steps that workers reported", *RENDERING)
FAILURES = _counter("farm_image_failures_total", "Renderings that failed by the image's own fault, by the error's reason; outcome is tried_again or given_up", *RENDERING, "reason", "outcome")
ATTEMPTS = _counter("farm_attempts_ended_total", "Attempts that ended, by their state", "state", "chip_class")
DUPLICATES = _counter("farm_attempts_duplicated_total", "Second attempts at the tail of a job, on a faster worker")
REFUSED = _counter("farm_results_refused_total", "Images that arrived too late, for an attempt that was no longer live")
LEASES = _gauge("farm_leases", "Workers with a lease: heard of lately")
LEASES_EXPIRED = _counter("farm_leases_expired_total", "Leases that ended because a worker was silent for too long")
WORKERS = _gauge("farm_workers", "Workers by state and chip class", "state", "chip_class")
WORKER_SEEN = _gauge("farm_worker_last_seen_timestamp_seconds", "When a worker was last heard of, in seconds since the Unix epoch", "worker", "chip_class")
WORKER_STATE = _gauge("farm_worker_state", "1 for the state that a worker is in", "worker", "chip_class", "state")
WORKER_BUSY = _gauge("farm_worker_busy", "1 while a worker has something to render, else 0", "worker", "chip_class")
SET_ASIDE = _counter("farm_workers_set_aside_total", "Workers set aside for a job because they failed images that others rendered")
JOBS = _gauge("farm_jobs", "Live jobs by state", "state")
JOBS_ENDED = _counter("farm_jobs_ended_total", "Jobs that ended, by their last state", "state")
QUEUE = _gauge("farm_queue_images", "Images that wait", "model")
RUNNING = _gauge("farm_running_images", "Images that workers hold", "model")
STALLED = _gauge("farm_queue_stalled_seconds", "The longest time that a job which may run has waited since an image of it was last started; 0 without one")
ETA_RATIO = _histogram("farm_eta_ratio", "How good forecasts of jobs' ends were: actual remaining time over predicted, 1 is right", _ETA_RATIOS)
COMMIT_SECONDS = _histogram("farm_journal_commit_seconds", "One transaction of the journal, until it is on disk", _COMMIT_SECONDS)
AUTHORITY_EXPIRY = _gauge("farm_authority_expiry_timestamp_seconds", "When the certificate of the farm's authority ends, in seconds since the Unix epoch", is_rare=True)

COORDINATOR = (
    INFO, IMAGES, IMAGE_BYTES, IMAGE_SECONDS, STEPS, FAILURES, ATTEMPTS, DUPLICATES, REFUSED, LEASES, LEASES_EXPIRED,
    WORKERS, WORKER_SEEN, WORKER_STATE, WORKER_BUSY, SET_ASIDE, JOBS, JOBS_ENDED, QUEUE, RUNNING, STALLED, ETA_RATIO,
    COMMIT_SECONDS, AUTHORITY_EXPIRY,
)
# fmt: on


class Meters:
    """What one process has counted.

    Args:
        families: What it may count.
    """

    def __init__(self, families: Sequence[Family]) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each, of no use
        self.registry = CollectorRegistry()
        self._hooks = _Hooks()
        self.registry.register(self._hooks)  # the first, so that the others are asked after it
        self._families = frozenset(families)
        self._made: dict[Family, Counter | Gauge | Histogram] = {}
        for family in families:
            if not family.is_rare:
                self._metric(family)

    def before_each(self, measure: Callable[[], None]) -> None:
        """Has `measure` called now and before each exposition; never twice at once."""
        measure()  # what it alone makes known is in the first exposition already
        self._hooks.add(measure)

    def count(self, family: Family, *labels: str, by: float = 1.0) -> None:
        """Adds to a counter."""
        metric = self._series(family, labels)
        assert isinstance(metric, Counter), f"{family.name} is no counter"
        metric.inc(by)

    def set(self, family: Family, value: float, *labels: str) -> None:
        """Sets a gauge."""
        metric = self._series(family, labels)
        assert isinstance(metric, Gauge), f"{family.name} is no gauge"
        metric.set(value)

    def record(self, family: Family, value: float, *labels: str) -> None:
        """Adds an observation to a histogram."""
        metric = self._series(family, labels)
        assert isinstance(metric, Histogram), f"{family.name} is no histogram"
        metric.observe(value)

    def forget(self, family: Family) -> None:
        """Drops every series of a gauge, before those that there are now are set."""
        self._metric(family).clear()

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """What is served at /metrics, and its media type.

        Args:
            accept: The formats that the client takes, as in HTTP.
        """
        encode, media_type = choose_encoder(accept)
        return encode(self.registry), media_type

    def wsgi_app(self) -> WSGIApplication:
        """A web application that serves the exposition at /metrics, compressed where the client takes that."""
        app: WSGIApplication = prometheus_client.make_wsgi_app(self.registry)
        return app

    def _series(self, family: Family, labels: tuple[str, ...]) -> Counter | Gauge | Histogram:
        metric = self._metric(family)
        return metric.labels(*labels) if labels else metric

    def _metric(self, family: Family) -> Counter | Gauge | Histogram:
        metric = self._made.get(family)
        if metric is None:
            assert family in self._families, f"{family.name} is not told by this process"
            metric = self._made[family] = _make(family, self.registry)
        return metric


class _Hooks(Collector):
    """Tells nothing itself, and has measured what others tell."""

    def __init__(self) -> None:
        self._measures: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def add(self, measure: Callable[[], None]) -> None:
        self._measures.append(measure)

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            for measure in self._measures:
                measure()
        return ()


def _make(family: Family, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    match family.kind:
        case Kind.COUNTER:
            return Counter(family.name, family.meaning, family.labels, registry=registry)
        case Kind.GAUGE:
            return Gauge(family.name, family.meaning, family.labels, registry=registry)
        case Kind.HISTOGRAM:
            return Histogram(family.name, family.meaning, family.labels, registry=registry, buckets=family.buckets)


_REASONS = errors.FAILURE_REASONS | {
    error.reason for error in vars(errors).values() if isinstance(error, type) and issubclass(error, errors.FarmError)
}


def bounded(reason: str) -> str:
    """A reason as a label: those that the farm knows, and OTHER for what else a worker may say."""
    return reason if reason in _REASONS else "OTHER"


def measure_process(meters: Meters, folder: Path) -> None:
    """Sets what holds of any process of the farm, as it is now.

    Args:
        meters: Of the process, with the families of `BOTH`.
        folder: Where it keeps what it keeps.
    """
    import psutil

    me = psutil.Process()
    used = 0
    for process in (me, *me.children(recursive=True)):
        with suppress(psutil.Error):  # it has just ended
            used += process.memory_info().rss
    meters.set(MEMORY_USED, used)
    meters.set(MEMORY_AVAILABLE, psutil.virtual_memory().available)
    meters.set(DISK_FREE, shutil.disk_usage(folder).free)
    meters.set(CLOCK, time.time())


def page() -> str:
    """The reference of all metrics, as Markdown."""
    return "\n".join(_page_lines())


def _page_lines() -> Iterator[str]:
    yield "# Metrics"
    yield ""
    yield "Every metric that the farm serves at `/metrics`. [monitoring.md](monitoring.md) says how to scrape and draw them."
    yield "This page is generated by `python -m farm.metrics` from their definitions."
    yield ""
    yield "Units are seconds, bytes, joules; counters end in `_total`. *rare*: not every machine can measure it; where it"
    yield "cannot, the metric is missing. A histogram `x` has the series `x_bucket`, `x_sum` and `x_count`."
    for title, families in (
        ("Of both the coordinator and workers", BOTH),
        ("Of a worker", WORKER),
        ("Of the coordinator", COORDINATOR),
    ):
        yield from ("", f"## {title}", "", "| metric | type | labels | meaning |", "|---|---|---|---|")
        for family in families:
            labels = " ".join(f"`{label}`" for label in family.labels)
            rare = " *(rare)*" if family.is_rare else ""
            yield f"| `{family.name}` | {family.kind.value} | {labels} | {family.meaning}{rare} |"
    yield ""


if __name__ == "__main__":
    print(page(), end="")
