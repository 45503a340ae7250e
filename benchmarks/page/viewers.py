"""Viewers of a page without a browser: each holds its live stream open and fetches the newest images' thumbnails."""

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx


async def _view(client: httpx.AsyncClient, shown: set[str]) -> None:
    async with client.stream("GET", "/live", timeout=None) as answer:
        async for line in answer.aiter_lines():
            if not line.startswith("data: "):
                continue
            recent = json.loads(line.removeprefix("data: "))["picture"].get("recent", {})
            for key, shot in recent.items():
                if shot is not None and key not in shown:
                    shown.add(key)
                    (await client.get(f"/thumbnails/{key}/{shot[0]}")).raise_for_status()


async def _watch(page: str, token: str, count: int, stop: threading.Event) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    clients = [httpx.AsyncClient(base_url=page, headers=headers) for _ in range(count)]
    shown: list[set[str]] = [set() for _ in clients]
    views = [asyncio.create_task(_view(client, seen)) for client, seen in zip(clients, shown, strict=True)]
    await asyncio.to_thread(stop.wait)
    for view in views:
        view.cancel()
    ends = await asyncio.gather(*views, return_exceptions=True)
    for client in clients:
        await client.aclose()
    blind = [
        end for end, seen in zip(ends, shown, strict=True) if not (isinstance(end, asyncio.CancelledError) and seen)
    ]
    if blind:
        raise RuntimeError(f"{len(blind)} of {count} viewers saw nothing, or not to the end: {blind[0]!r}")


@contextmanager
def viewers(page: str, token: str, count: int) -> Iterator[None]:
    """So many viewers, until the context ends, on a thread of this process.

    Raises:
        RuntimeError: One of them saw nothing, or did not see to the end.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(1, "viewers") as thread:
        watching = thread.submit(asyncio.run, _watch(page, token, count, stop))
        try:
            yield
        finally:
            stop.set()
        watching.result()
