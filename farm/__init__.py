"""A render farm for Apple silicon.

`from farm import Client` (or `AsyncClient`) is the way in from Python; it loads gRPC, so it is looked up when it is
asked for.
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from farm.client import AsyncClient, AsyncJob, Client, Job

__all__ = ["AsyncClient", "AsyncJob", "Client", "Job"]

# Macs call themselves NAME.local. gRPC's own resolver (c-ares) does not know such names; the system's does. gRPC reads
# this when it is imported.
os.environ.setdefault("GRPC_DNS_RESOLVER", "native")


def __getattr__(name: str) -> object:
    if name in __all__:
        from farm import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
