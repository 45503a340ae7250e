import json
import os
import re
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from farm.access.hosts import is_own
from farm.catalogue import Catalogue
from farm.cli import checks
from farm.cli.checks import Check
from farm.worker.device_lock import DeviceLock
from farm.worker.probe import Condition
from farm.worker.probe.machine import MacOutputs, read_mac
from farm.worker.probe.power import Thermal
from tests.cli.conftest import Run
from tests.worker.probe.printers import Mac

MAC = read_mac(Mac("Apple M1 Max", 32).outputs())


def test_this_machine_is_well_and_every_check_says_what_it_found(run: Run, tmp_path: Path) -> None:
    options = ("--state", tmp_path / "state", "--folder", tmp_path / "worker", "--address", "127.0.0.1:0")
    code, out, _ = run("doctor", "--json", *options)
    told = json.loads(out)
    assert code == 0, told
    assert told["ok"]
    assert {check["subject"] for check in told["checks"]} >= {
        *("Python", "libraries", "Ray", "Core ML", "machine", "models", "device", "disk", "clock")
    }
    assert all(check["detail"] for check in told["checks"])


def test_what_fails_is_told_with_what_to_do_and_the_exit_code(run: Run, tmp_path: Path) -> None:
    access = tmp_path / "state" / "access"
    access.mkdir(parents=True)
    (access / "authority.pem").write_text("secret")
    (access / "authority.pem").chmod(0o644)
    access.chmod(0o755)
    options = ("--state", tmp_path / "state", "--folder", tmp_path / "worker")
    code, out, _ = run("doctor", *options)
    assert code == 1
    assert "1 failed" in out
    assert re.search(r"^fail +access ", out, re.MULTILINE), out
    code, out, _ = run("doctor", "--json", *options)
    assert code == 1
    (failed,) = [check for check in json.loads(out)["checks"] if check["verdict"] == "fail"]
    assert "authority.pem" in failed["detail"]
    assert failed["next_step"] == f"chmod -R go= {tmp_path / 'state'}"


def verdicts(*found: Check) -> list[str]:
    assert all(check.verdict == "ok" or check.next_step for check in found)
    return [check.verdict for check in found]


def test_a_python_that_the_libraries_are_not_made_for_fails() -> None:
    found = [checks.check_python(version, is_translated=False) for version in ((3, 10), (3, 11), (3, 13), (3, 14))]
    assert verdicts(*found) == ["fail", "ok", "ok", "fail"]
    assert "arm64" in checks.check_python((3, 12), is_translated=True).next_step


def test_libraries_that_are_missing_or_of_another_version_are_named() -> None:
    there = {"ray": "2.61.0", "numpy": "1.26.4"}
    (found,) = checks.check_libraries(
        ["ray>=2.60,<3", "numpy>=2.1", "grpcio>=1.80", "torch==2.13.0; extra == 'convert'"], there.get
    )
    assert found.verdict == "fail"
    assert found.detail == "numpy 1.26.4 (needs >=2.1); grpcio missing (needs >=1.80)"


def test_a_mac_on_which_rays_head_hangs_is_told_so() -> None:
    assert verdicts(checks.check_ray("15.7.9"), checks.check_ray("26.1"), checks.check_ray("")) == ["ok", "warn", "ok"]


def test_core_ml_needs_a_mac_and_a_bridge() -> None:
    found = [
        checks.check_core_ml(system, lambda has=has: has)  # type: ignore[misc]  # mypy does not infer a lambda's default
        for system, has in (("linux", False), ("darwin", True), ("darwin", False))
    ]
    assert verdicts(*found) == ["ok", "ok", "fail"]


def test_what_the_probe_could_not_learn_is_a_warning() -> None:
    assert verdicts(*checks.check_machine(MAC)) == ["ok"]
    assert verdicts(*checks.check_machine(read_mac(MacOutputs()))) == ["ok", *["warn"] * 4]
    assert verdicts(*checks.check_machine(replace(MAC, gaps=("GPU cores: unknown",)))) == ["ok", "warn"]


def test_what_holds_a_macs_clocks_down_is_a_warning() -> None:
    assert verdicts(*checks.check_condition(Condition())) == []
    assert verdicts(*checks.check_condition(Condition(True, False, Thermal.FAIR, 100))) == []
    assert verdicts(*checks.check_condition(Condition(False, True, Thermal.CRITICAL, 62))) == ["warn"] * 4


def test_folders_that_are_no_models_are_named(tmp_path: Path) -> None:
    assert verdicts(*checks.check_models(Catalogue([tmp_path], tmp_path / "digests"))) == ["warn"]
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model.toml").write_text("[")
    *_, found = checks.check_models(Catalogue([tmp_path], tmp_path / "digests"))
    assert "broken is left out" in found.detail


def test_a_device_in_use_is_told_with_who_has_it(tmp_path: Path) -> None:
    holder = DeviceLock("cpu", tmp_path)
    assert checks.check_device(DeviceLock("cpu", tmp_path)).detail == "free"
    assert holder.try_acquire()
    assert f"process {os.getpid()}" in checks.check_device(DeviceLock("cpu", tmp_path)).detail
    holder.release()


def test_a_port_in_use_is_told_with_the_option_that_names_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        found = checks.check_port("the API's address", f"127.0.0.1:{taken.getsockname()[1]}", "--address")
    assert found.verdict == "warn"
    assert "--address" in found.next_step
    assert checks.check_port("the API's address", "unix:/run/farm.sock", "--address").verdict == "ok"


@pytest.mark.skipif(not is_own("::1"), reason="this machine has no IPv6")
def test_a_free_port_of_an_ipv6_address_is_said_to_be_free() -> None:
    assert checks.check_port("the API's address", "[::1]:0", "--address").verdict == "ok"


def test_a_full_disk_fails_and_a_nearly_full_one_warns(tmp_path: Path) -> None:
    found = [checks.check_disk(tmp_path, free) for free in (1 << 40, 5 << 30, 1 << 20)]
    assert verdicts(*found) == ["ok", "warn", "fail"]


def test_a_clock_behind_what_it_wrote_fails(tmp_path: Path) -> None:
    written = tmp_path / "journal"
    written.touch()
    now, files = written.stat().st_mtime, [written, tmp_path / "gone"]
    found = [
        checks.check_clock(now + late, files, says) for late, says in ((9, None), (9, True), (9, False), (-9999, True))
    ]
    assert verdicts(*found) == ["ok", "ok", "warn", "fail"]


@pytest.mark.parametrize(("mode", "verdict"), [(0o700, "ok"), (0o750, "fail"), (0o701, "fail")])
def test_only_the_owner_may_enter_a_folder_of_secrets(tmp_path: Path, mode: int, verdict: str) -> None:
    folder = tmp_path / "access"
    folder.mkdir()
    (folder / "ca.pem").write_text("public")
    folder.chmod(mode)
    (found,) = checks.check_modes(folder)
    assert found.verdict == verdict
    assert "ca.pem" not in found.detail
    assert list(checks.check_modes(tmp_path / "none")) == []
