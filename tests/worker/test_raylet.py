import socket

from farm.worker.raylet import reach


def test_a_head_that_listens_can_be_reached_and_one_that_ended_says_no() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert reach(address) is True
    assert reach(address) is False


def test_a_head_that_cannot_be_found_says_nothing() -> None:
    assert reach("no-such-host.invalid:7434") is None
