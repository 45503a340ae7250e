"""The machine's ceiling: threads that sleep as the Macs do, for an oracle that knows who renders how many."""

import threading
import time
from pathlib import Path

from benchmarks.fleet.macs import (
    FAULT_AT,
    FLEET,
    Fault,
    Sleeper,
    announce_straggling,
    ideal_seconds,
    perfect_split,
)


def run(folder: Path, fault: Fault, images: int) -> float:
    """Seconds that the oracle takes for so many images."""
    slow_from = folder / "slow-from"
    split = perfect_split(images, fault)
    sleepers = {mac.name: Sleeper(mac, slow_from) for mac in FLEET}
    received: list[bytes] = []

    def render(name: str) -> None:
        received.extend(sleepers[name].render() for _ in range(split[name]))

    threads = [threading.Thread(target=render, args=(mac.name,)) for mac in FLEET]
    began = time.time()
    if fault is Fault.STRAGGLER:
        announce_straggling(slow_from, began + FAULT_AT * ideal_seconds(images))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(received) == images
    return time.time() - began
