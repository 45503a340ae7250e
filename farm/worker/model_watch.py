"""Notices models that come or go while a worker runs, so that nobody has to start it again."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from farm.catalogue import Catalogue
from farm.domain import Model

LOOK_SECONDS = 2.0
"""Between two looks at the folders; a look costs about a millisecond."""

_log = logging.getLogger(__name__)


@contextmanager
def watch_models(
    catalogue: Catalogue, offer: Callable[[Sequence[Model]], None], seconds: float = LOOK_SECONDS
) -> Iterator[None]:
    """Calls `offer` with all models, on a thread of its own, at first and after each change until the context ends.

    A change counts when two looks find the same, so that a model which is being copied is not read half.

    Args:
        catalogue: Where to look; for this thread alone.
        offer: Takes the models.
        seconds: Between two looks.
    """
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(catalogue, offer, seconds, over), name="model-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()


def _watch(
    catalogue: Catalogue, offer: Callable[[Sequence[Model]], None], seconds: float, over: threading.Event
) -> None:
    offered = ""  # the first time, too: a model may have come since its renderer was made
    last = catalogue.stamp()
    while not over.wait(seconds):
        stamp = catalogue.stamp()
        if stamp == last and stamp != offered:
            models = catalogue.models()
            _log.info("models.looked models=%s", [model.name for model in models])
            offer(models)
            offered = stamp
        last = stamp
