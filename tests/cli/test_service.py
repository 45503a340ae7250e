"""The worker as a service: what is written is read by the system's own readers, what is run by a recorded stand-in."""

import os
import plistlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from farm.cli import service
from farm.cli.service import Service, install, launchd_agent, systemd_unit, uninstall
from farm.errors import ServiceError

AWKWARD = 'Ada & "Bob" 100% $HOME \\ <x>'


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for the service managers, which note their calls; a file `failures` says how often they fail."""
    log = tmp_path / "commands"
    script = f"""#!/bin/sh
echo "$(basename "$0") $*" >> '{log}'
count=$(cat '{tmp_path}/failures' 2>/dev/null || echo 0)
case "$*" in *bootstrap*)
  if [ "$count" -gt 0 ]; then
    echo $((count - 1)) > '{tmp_path}/failures'; echo "Bootstrap failed: 5: Input/output error" >&2; exit 5
  fi;;
esac
"""
    (tmp_path / "bin").mkdir()
    for name in ("launchctl", "systemctl"):
        (tmp_path / "bin" / name).write_text(script)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}")
    return log


def agent(tmp_path: Path) -> Service:
    return launchd_agent(tmp_path / AWKWARD, tmp_path / "home", 501, {"FARM_MODELS": "/m & n"})


def unit(tmp_path: Path, uid: int = 1000) -> Service:
    return systemd_unit(tmp_path / AWKWARD, tmp_path / "home", uid, {"FARM_MODELS": "/m n%"})


def test_a_launchd_agent_runs_this_farm_in_its_folder_and_is_kept_alive(tmp_path: Path) -> None:
    read = plistlib.loads(agent(tmp_path).description)
    folder = str(tmp_path / AWKWARD)
    assert read["ProgramArguments"] == [
        sys.executable,
        "-m",
        "farm",
        "worker",
        "run",
        "--folder",
        folder,
        "--stay-awake",
    ]
    assert (read["KeepAlive"], read["RunAtLoad"], read["ProcessType"]) == (True, True, "Interactive")
    assert read["EnvironmentVariables"] == {"FARM_MODELS": "/m & n"}
    assert read["StandardErrorPath"] == str(tmp_path / "home/Library/Logs/mac-render-farm/worker.log")
    assert "@" not in str(read)


def test_a_launchd_agent_is_loaded_for_its_user_in_the_place_of_the_one_before(tmp_path: Path, commands: Path) -> None:
    service = agent(tmp_path)
    install(service)
    assert service.path == tmp_path / "home/Library/LaunchAgents/mac-render-farm.worker.plist"
    assert service.path.read_bytes() == service.description
    assert Path(service.log).parent.is_dir()
    loaded = ["launchctl enable gui/501/mac-render-farm.worker", f"launchctl bootstrap gui/501 {service.path}"]
    assert commands.read_text().splitlines() == loaded
    install(service)
    assert commands.read_text().splitlines() == [*loaded, "launchctl bootout gui/501/mac-render-farm.worker", *loaded]
    assert not uninstall(launchd_agent(tmp_path / "other", tmp_path / "home", 501, {}))
    assert uninstall(service)
    assert not service.path.exists()
    assert not uninstall(service)


def test_launchd_that_is_still_ending_the_agent_of_before_is_waited_for(tmp_path: Path, commands: Path) -> None:
    (tmp_path / "failures").write_text("1")
    install(agent(tmp_path))
    assert commands.read_text().count("bootstrap") == 2


def test_a_service_that_the_system_does_not_take_says_what_it_said(
    tmp_path: Path, commands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_LOAD_SECONDS", 0.0)
    (tmp_path / "failures").write_text("9")
    with pytest.raises(ServiceError, match=r"launchctl bootstrap gui/501 .* failed: Bootstrap failed: 5"):
        install(agent(tmp_path))


@pytest.mark.parametrize(("uid", "scope", "folder"), [(1000, "--user ", "home/.config/systemd/user"), (0, "", None)])
def test_a_systemd_unit_is_the_users_or_the_machines(tmp_path: Path, uid: int, scope: str, folder: str | None) -> None:
    made = unit(tmp_path, uid)
    assert made.path.parent == (tmp_path / folder if folder else Path("/etc/systemd/system"))
    assert [" ".join(command) for command in made.load] == [
        f"systemctl {scope}daemon-reload",
        f"systemctl {scope}enable --now farm-worker.service",
    ]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_reads_the_unit_without_complaint_and_finds_the_words_again(tmp_path: Path) -> None:
    path = tmp_path / "farm-worker.service"
    path.write_bytes(unit(tmp_path, uid=0).description)
    said = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)
    assert str(path.name) not in said.stderr, said.stderr
    assert r'"' + str(tmp_path) + r'/Ada & \"Bob\" 100%% $$HOME \\ <x>"' in path.read_text()
    assert 'Environment="FARM_MODELS=/m n%%"' in path.read_text()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_reads_the_coordinators_unit_without_complaint(tmp_path: Path) -> None:
    text = (service.TEMPLATES / "systemd" / "farm-coordinator.service").read_text()
    path = tmp_path / "farm-coordinator.service"
    path.write_text(text.replace("@PYTHON@", sys.executable).replace("@TARGET@", "multi-user.target"))
    said = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, check=False)
    assert path.name not in said.stderr, said.stderr


@pytest.mark.parametrize("name", ["mac-render-farm.worker", "mac-render-farm.coordinator"])
def test_every_template_of_launchd_is_a_property_list_and_keeps_its_mac_awake(name: str) -> None:
    read = plistlib.loads((service.TEMPLATES / "launchd" / f"{name}.plist").read_bytes())
    assert read["Label"] == name
    assert "--stay-awake" in read["ProgramArguments"]


@pytest.mark.macos
def test_launchd_starts_the_agent_and_starts_it_again(tmp_path: Path) -> None:
    """With an agent of another name, so that a real worker of this Mac is left alone."""
    mark = tmp_path / "mark"
    label = "mac-render-farm.test"
    plist = plistlib.loads(launchd_agent(tmp_path, tmp_path, os.getuid(), {}).description)
    plist |= {"Label": label, "ProgramArguments": ["/bin/sh", "-c", f"date >> {mark}"], "ThrottleInterval": 1}
    domain = f"gui/{os.getuid()}"
    made = Service(
        tmp_path / f"{label}.plist",
        plistlib.dumps(plist),
        str(tmp_path).encode(),
        str(tmp_path / "log"),
        (("launchctl", "bootstrap", domain, str(tmp_path / f"{label}.plist")),),
        (("launchctl", "bootout", f"{domain}/{label}"),),
    )
    install(made)
    try:
        deadline = time.monotonic() + 30
        while not mark.exists() or len(mark.read_text().splitlines()) < 2:
            assert time.monotonic() < deadline, "launchd did not start it twice"
            time.sleep(0.2)
    finally:
        uninstall(made)


def test_a_service_has_the_labels_that_its_worker_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_MODELS", "/models")
    made = service.worker_service(tmp_path, {"FARM_WORKER_LABELS": "room=attic owner=anna"})
    assert b"FARM_WORKER_LABELS" in made.description
    assert b"room=attic owner=anna" in made.description
    assert b"/models" in made.description
