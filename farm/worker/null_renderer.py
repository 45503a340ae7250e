"""A renderer that uses no device: the farm without the pictures.

It has the methods of `PipelineHost`, lives in this process and takes no lock, so any number of them can run on one
machine: for tests, for benchmarks of everything but the rendering, and for a look at the farm (`--null-renderer`).
"""

import enum
import os
import queue
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from farm.diffusion.png import encode_png
from farm.domain import (
    Assignment,
    AttemptKey,
    AttemptState,
    AttentionVariant,
    ChipClass,
    ComputeUnit,
    Model,
    Provenance,
    RenderSpec,
    Resident,
    WorkerFacts,
)
from farm.reports import (
    AttemptReport,
    FactsReport,
    ImageFailureReport,
    ImageReport,
    Report,
    ResidencyReport,
    Stage,
    StageReport,
    StepReport,
)
from farm.worker.facts import model_offers, worker_facts
from farm.worker.messages import Order, Stop, cancellation, release
from farm.worker.probe import Machine
from farm.worker.worklist import StoppedError, WithdrawnError, Worklist

NULL_MACHINE = Machine("null renderer", ChipClass.CPU, 0, 1, False, 2**33, "none")

_CHUNK_BYTES = 12
"""Of a PNG chunk without data, such as the last one."""


class Misbehaviour(enum.Enum):
    """What a renderer must never do, and the coordinator must survive."""

    GARBAGE = "delivers bytes that are not a PNG"
    REPEAT = "delivers each image twice"
    SILENCE = "takes assignments and says nothing"


class NullRenderer:
    """Delivers pictures of one colour, which follows from the seed, of the size asked for, with true provenance.

    Args:
        models: What to offer; anything that is assigned is rendered.
        seconds_per_image: Time that an image takes, spread evenly over its steps.
        slowness: Asked at each step how many times longer than that it takes.
        image_bytes: What a file has at least, in bytes: a picture of one colour is much smaller than a real one.
        report_steps: Whether each step is reported.
        failures: How often each image, by index, fails before it succeeds.
        misbehaviour: What to do wrong.
        machine: What machine to be.
        labels: Labels that pins can ask for.
    """

    def __init__(
        self,
        models: Sequence[Model] = (),
        *,
        seconds_per_image: float = 0.0,
        slowness: Callable[[], float] = lambda: 1.0,
        image_bytes: int = 0,
        report_steps: bool = False,
        failures: Mapping[int, int] | None = None,
        misbehaviour: Misbehaviour | None = None,
        machine: Machine = NULL_MACHINE,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self._facts = worker_facts(machine, models, "null", (ComputeUnit.CPU_ONLY,), dict(labels or {}))
        self._attention = _attentions(models)
        self._seconds_per_image = seconds_per_image
        self._slowness = slowness
        self._image_bytes = image_bytes
        self._report_steps = report_steps
        self._failures = Counter(failures or {})
        self._misbehaviour = misbehaviour
        self._inbox: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._report: Callable[[Report], None] | None = None
        self._worklist = Worklist(end=self._tell)

    @property
    def facts(self) -> WorkerFacts:
        """What it says it is."""
        return self._facts

    def start(self, report: Callable[[Report], None]) -> None:
        """Begins; `report` is called on a thread of its own."""
        self._report = report
        self._thread = threading.Thread(target=self._run, name="null-renderer", daemon=True)
        self._thread.start()

    def render(self, assignment: Assignment) -> None:
        """Renders the assignment after those that came before it."""
        self._inbox.put(assignment)

    def cancel(self, key: AttemptKey, reason: str = "") -> None:
        """Ends an attempt at its next step."""
        self._inbox.put(cancellation(key, reason))

    def release(self, key: AttemptKey, reason: str = "") -> None:
        """Finishes the image that is being rendered and ends the attempt as ABANDONED."""
        self._inbox.put(release(key, reason))

    def offer(self, models: Sequence[Model]) -> None:
        """Renders with other models from now on; says so on the thread of the caller."""
        offers = model_offers(models, self._facts.runtime)
        if offers != self._facts.offers:
            self._attention = _attentions(models)
            self._facts = replace(self._facts, offers=offers)
            self._tell(FactsReport(self._facts))

    def stop(self) -> None:
        """Ends at the next step, and drops what is outstanding."""
        if self._thread is not None:
            self._inbox.put(Stop())
            self._thread.join()

    def _run(self) -> None:
        with suppress(StoppedError):
            while True:
                self._worklist.take(self._inbox.get())
                while assignment := self._worklist.next():
                    self._attempt(assignment)

    def _attempt(self, assignment: Assignment) -> None:
        end = AttemptReport(assignment.key, AttemptState.SUCCEEDED)
        resident = Resident(assignment.model, assignment.model_digest, assignment.compute_unit)
        self._tell(ResidencyReport((resident,)))
        began = time.monotonic()
        try:
            for index, spec in assignment.images:
                self._wait(0.0)
                self._worklist.check(between_images=True)
                began = self._render(assignment, index, spec, began)
        except WithdrawnError as withdrawn:
            end = withdrawn.end
        self._tell(end)

    def _render(self, assignment: Assignment, index: int, spec: RenderSpec, began: float) -> float:
        """Renders from `began` on; gives when the device was free, as files are encoded beside the next image."""
        key, due = assignment.key, began
        self._tell(StageReport(key, Stage.DENOISE, index))
        for step in range(1, spec.steps + 1):
            due += self._slowness() * self._seconds_per_image / spec.steps
            self._wait(due - time.monotonic())
            self._worklist.check(between_images=False)
            if self._report_steps:
                self._tell(StepReport(key, index, step, spec.steps))
        rendered = time.monotonic()
        if self._failures[index] > 0:
            self._failures[index] -= 1
            self._tell(ImageFailureReport(key, index, "IMAGE_FAILED", "the null renderer was told to fail this image"))
            return rendered
        image = self._image(assignment, index, spec, rendered - began)
        for _ in range(2 if self._misbehaviour is Misbehaviour.REPEAT else 1):
            self._tell(image)
        return rendered

    def _wait(self, seconds: float) -> None:
        """Waits, and takes orders meanwhile."""
        until = time.monotonic() + seconds
        with suppress(queue.Empty):
            while True:
                self._worklist.take(self._inbox.get(timeout=max(0.0, until - time.monotonic())))

    def _tell(self, report: Report) -> None:
        if self._report is not None and self._misbehaviour is not Misbehaviour.SILENCE:
            self._report(report)

    def _image(self, assignment: Assignment, index: int, spec: RenderSpec, seconds: float) -> ImageReport:
        provenance = Provenance(
            model=assignment.model,
            model_digest=assignment.model_digest,
            attention=self._attention.get(assignment.model_digest, AttentionVariant.ORIGINAL),
            runtime=self._facts.runtime,
            compute_unit=assignment.compute_unit,
            chip=self._facts.chip,
            chip_class=self._facts.chip_class,
            versions={"farm": self._facts.version},
        )
        colour = np.frombuffer(spec.seed.to_bytes(4), np.uint8)[1:]
        png = padded(
            encode_png(np.broadcast_to(colour, (spec.height, spec.width, 3)), spec, provenance), self._image_bytes
        )
        if self._misbehaviour is Misbehaviour.GARBAGE:
            png = png[::-1]
        return ImageReport(assignment.key, index, png, provenance, seconds)


def _attentions(models: Sequence[Model]) -> dict[str, AttentionVariant]:
    return {variant.digest: variant.attention for model in models for variant in model.variants}


def padded(png: bytes, size: int) -> bytes:
    """A PNG of at least `size` bytes that shows the same: a chunk of chance that readers skip stands before its end."""
    missing = size - len(png) - _CHUNK_BYTES
    if missing < 0:
        return png
    kind, data = b"paDd", os.urandom(missing)
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return png[:-_CHUNK_BYTES] + chunk + png[-_CHUNK_BYTES:]
