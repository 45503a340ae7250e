"""Encodes and delivers finished images on a thread of its own, while the next image is rendered."""

import logging
import queue
import threading
from dataclasses import dataclass

from farm.diffusion.pipeline import Rendered
from farm.diffusion.png import encode_png
from farm.domain import AttemptKey, Provenance, RenderSpec, evaluation_count
from farm.errors import FarmError
from farm.reports import AttemptReport, ImageFailureReport, ImageReport, Stage, StageReport
from farm.worker.host_connection import HostConnection

_IMAGES_WAITING = 4
"""Beyond this many the rendering waits, so that slow encoding cannot fill the memory."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Picture:
    """A rendered image on its way to its file; fields as in `ImageReport`."""

    key: AttemptKey
    index: int
    spec: RenderSpec
    rendered: Rendered
    provenance: Provenance
    render_seconds: float
    denoise_seconds: float


class Delivery:
    """Tells the host of images and of the ends of attempts, in the order in which they are put."""

    def __init__(self, host: HostConnection) -> None:
        self._host = host
        self._waiting: queue.Queue[Picture | ImageFailureReport | AttemptReport] = queue.Queue(_IMAGES_WAITING)
        threading.Thread(target=self._run, name="delivery", daemon=True).start()

    def put(self, item: Picture | ImageFailureReport | AttemptReport) -> None:
        """Delivers `item` after all that was put before; waits only if too much is waiting already."""
        self._waiting.put(item)

    def _run(self) -> None:
        while True:
            item = self._waiting.get()
            try:
                self._host.tell(self._encoded(item) if isinstance(item, Picture) else item)
            except OSError:
                return  # the host is gone, and this process is about to be

    def _encoded(self, picture: Picture) -> ImageReport | ImageFailureReport:
        self._host.tell(StageReport(picture.key, Stage.SAVE, picture.index))
        try:
            png = encode_png(picture.rendered.pixels, picture.spec, picture.provenance, picture.rendered.notes)
        except Exception as error:  # noqa: BLE001 - one image that cannot be written must not cost the others theirs
            return failure(picture.key, picture.index, error)
        return ImageReport(
            key=picture.key,
            index=picture.index,
            png=png,
            provenance=picture.provenance,
            render_seconds=picture.render_seconds,
            denoise_seconds=picture.denoise_seconds,
            notes=picture.rendered.notes,
            evaluations=evaluation_count(picture.spec),
        )


def failure(key: AttemptKey, index: int, error: Exception) -> ImageFailureReport:
    """Reports an image that failed, with the error's own word and message if it is one of the farm's."""
    if isinstance(error, FarmError):
        return ImageFailureReport(key, index, error.reason, error.message)
    _log.error("image.failed job=%s attempt=%d index=%d", key.job_id, key.number, index, exc_info=error)
    return ImageFailureReport(
        key, index, "INTERNAL", f"rendering it failed with {type(error).__name__}: {error}; the worker's log has more"
    )
