import os
import sys
from pathlib import Path

import pytest

from farm.worker.awake import stay_awake
from tests.waiting import eventually


def test_a_mac_is_asked_not_to_sleep_on_mains_power_until_this_process_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "said"
    (tmp_path / "caffeinate").write_text(f"#!/bin/sh\necho $* > '{said}'\n")
    (tmp_path / "caffeinate").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    stay_awake()
    assert eventually(lambda: said.exists() and said.read_text() == f"-s -w {os.getpid()}\n")


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac has it")
def test_where_there_is_nothing_to_ask_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    stay_awake()
