"""The Python client: `Client` blocks, `AsyncClient` has the same calls for asyncio."""

from farm.client.asynchronous import AsyncClient, AsyncJob
from farm.client.blocking import Client, Job

__all__ = ["AsyncClient", "AsyncJob", "Client", "Job"]
