"""Viewers of a page without a browser: each holds its live stream open and fetches the newest images' thumbnails."""

import asyncio
import json
import threading
from collections.abc import Iterator
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


async def _watch(page: str, token: str, count: int, stop: asyncio.Event) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    clients = [httpx.AsyncClient(base_url=page, headers=headers) for _ in range(count)]
    views = [asyncio.create_task(_view(client, set())) for client in clients]
    await stop.wait()
    for view in views:
        view.cancel()
    await asyncio.gather(*views, return_exceptions=True)
    for client in clients:
        await client.aclose()


@contextmanager
def viewers(page: str, token: str, count: int) -> Iterator[None]:
    """So many viewers, until the context ends, on a thread of this process."""
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(_watch(page, token, count, stop),))
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
