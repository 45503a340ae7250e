"""Names of farms are looked up as the system does it, in a process of its own: gRPC decides when it is imported."""

import os
import subprocess
import sys

CONNECT = """
from farm.access.client_access import ClientAccess
from farm.channel import open_channel
import grpc
with open_channel(ClientAccess("no-such-mac.invalid:7433", None, lambda: None)) as channel:
    try:
        channel.unary_unary("/farm.v1.JobService/ListJobs")(b"", timeout=2)
    except grpc.RpcError:
        pass
"""


def test_a_farm_is_looked_up_by_the_system_which_knows_names_of_the_local_network() -> None:
    environment = {**os.environ, "GRPC_VERBOSITY": "debug", "GRPC_TRACE": "event_engine_dns"}
    command = [sys.executable, "-c", CONNECT]
    traced = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=True).stderr

    assert "NativePosixDNSResolver" in traced
    assert "AresResolver" not in traced
