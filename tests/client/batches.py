"""A batch in the middle of which something happens."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.running_farm import running_farm


class InterruptedBatch:
    """3,000 prompts; when they are read for the first time, `interrupt` is called in the middle."""

    def __init__(self, interrupt: Callable[[], object]) -> None:
        self._interrupt = interrupt
        self.times_read = 0
        self.interrupted = threading.Event()

    def __iter__(self) -> Iterator[str]:
        self.times_read += 1
        yield from ["a"] * 1500
        if self.times_read == 1:
            self._interrupt()
            self.interrupted.set()
        yield from ["b"] * 1500


@contextmanager
def farm_that_restarts(state: Path, address: str) -> Iterator[Callable[[], object]]:
    """A farm until the block ends, and what restarts it."""
    with ExitStack() as running:
        running.enter_context(running_farm(state, address=address))

        def restart() -> None:
            running.close()
            running.enter_context(running_farm(state, address=address))

        yield restart
