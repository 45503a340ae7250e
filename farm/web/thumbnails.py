"""Small pictures of images: made once, on one thread, kept in memory up to a bound; browsers keep theirs."""

import asyncio
import io
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SIDE = 256
"""Longest side in pixels; an image that is not larger is given as it is."""

MAX_BYTES = 32 << 20
QUALITY = 82


class Thumbnails:
    """Makes and keeps thumbnails."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="thumbnails")
        self._kept: OrderedDict[Path, bytes] = OrderedDict()
        self._bytes = 0
        self._making: dict[Path, asyncio.Future[bytes]] = {}

    async def of(self, path: Path) -> bytes:
        """A JPEG or PNG of at most `SIDE` pixels a side. Whoever asks for one that is being made waits for that.

        Raises:
            OSError: The file cannot be read or is no picture.
        """
        if path in self._kept:
            self._kept.move_to_end(path)
            return self._kept[path]
        if path not in self._making:
            future = asyncio.get_running_loop().run_in_executor(self._thread, _made, path)
            future.add_done_callback(lambda done: self._keep(path, done))
            self._making[path] = future
        return await asyncio.shield(self._making[path])

    def _keep(self, path: Path, done: "asyncio.Future[bytes]") -> None:
        del self._making[path]
        if done.cancelled() or done.exception() is not None:
            return
        self._kept[path] = done.result()
        self._bytes += len(done.result())
        while self._bytes > MAX_BYTES:
            self._bytes -= len(self._kept.popitem(last=False)[1])

    def close(self) -> None:
        """Makes no more."""
        self._thread.shutdown(cancel_futures=True)


def _made(path: Path) -> bytes:
    from PIL import Image

    content = path.read_bytes()
    with Image.open(io.BytesIO(content)) as image:
        if max(image.size) <= SIDE:
            return content
        # Halving by whole factors first is quick, and leaves twice the pixels that the last, better step needs.
        small = image.convert("RGB")
        small.thumbnail((SIDE, SIDE), reducing_gap=2.0)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
