"""What `farm doctor` looks at: each a function that looks at one thing and says how it is, and what to do about it."""

import importlib.metadata
import importlib.util
import itertools
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from farm.access.authority import CERTIFICATE_FILE
from farm.access.hosts import open_listener
from farm.catalogue import Catalogue
from farm.installation import NAME
from farm.worker.device_lock import DeviceLock
from farm.worker.probe import Condition, Machine, examine, probe
from farm.worker.probe.collect import output
from farm.worker.probe.power import Thermal

PYTHONS = ((3, 11), (3, 14))
"""The first version of Python that all libraries have wheels for, and the first one after."""

DISK_FAIL, DISK_WARN = 1 << 30, 10 << 30
"""Bytes that must be free: the farm pauses jobs when there is no room; and those below which that is near."""

CLOCK_SLACK = 300.0
"""Seconds by which files may be from the future: other machines' clocks, on shared disks, differ by less."""

_NO_HEAD_MACOS = 26
"""From this macOS on, `ray start --head` was reported to hang (ray-project/ray#58211)."""


@dataclass(frozen=True, slots=True)
class Check:
    """How one thing is.

    Attributes:
        subject: What was looked at.
        verdict: "ok", "warn" (works, but) or "fail".
        detail: What was found.
        next_step: What to do; empty if nothing is.
    """

    subject: str
    verdict: Literal["ok", "warn", "fail"]
    detail: str
    next_step: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a farm is, or would be.

    Attributes:
        state: The coordinator's state folder.
        folder: The worker's folder.
        address: Where the API listens, HOST:PORT.
        ray_address: Where Ray's head listens, HOST:PORT.
    """

    state: Path
    folder: Path
    address: str
    ray_address: str


def examine_all(place: Place) -> Iterator[Check]:
    """Looks at everything, one after the other."""
    machine = probe()
    yield check_python(sys.version_info[:2], machine.is_translated)
    yield from check_libraries(importlib.metadata.requires(NAME) or [], installed)
    yield check_ray(platform.mac_ver()[0])
    yield check_core_ml(sys.platform, _has_bridge)
    yield from check_machine(machine)
    yield from check_condition(examine())
    yield from check_models(Catalogue())
    yield check_device(DeviceLock("apple-silicon" if sys.platform == "darwin" else "cpu"))
    yield check_port("the API's address", place.address, "--address")
    yield check_port("Ray's address", place.ray_address, "--ray-address")
    yield check_disk(place.state, shutil.disk_usage(_existing(place.state)).free)
    yield check_clock(time.time(), [Path(__file__), *place.state.glob("*")], _is_synchronized())
    for folder in (place.state, place.folder):
        yield from check_modes(folder)


def check_python(version: tuple[int, int], is_translated: bool) -> Check:
    """Whether Python is one that all libraries are made for, and for this processor."""
    named = f"{platform.python_version()} for {platform.machine()}, {sys.executable}"
    if is_translated:
        return Check("Python", "fail", f"{named}, runs under Rosetta", "install Python for arm64 and make .venv again")
    if not PYTHONS[0] <= version < PYTHONS[1]:
        return Check("Python", "fail", named, "use Python 3.11, 3.12 or 3.13")
    return Check("Python", "ok", named)


def installed(library: str) -> str | None:
    """Version of an installed library; None if it is not there."""
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_libraries(requirements: list[str], version: Callable[[str], str | None]) -> Iterator[Check]:
    """Whether the libraries that the farm needs are there, in versions that it knows."""
    from packaging.requirements import Requirement

    needed = [Requirement(text) for text in requirements]
    needed = [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = [
        f"{one.name} {version(one.name) or 'missing'} (needs {one.specifier})"
        for one in needed
        if (found := version(one.name)) is None or not one.specifier.contains(found, prereleases=True)
    ]
    if wrong:
        yield Check("libraries", "fail", "; ".join(wrong), "run `.venv/bin/pip install -e .` in the farm's folder")
    else:
        yield Check("libraries", "ok", f"{len(needed)}, all in versions that the farm knows")


def check_ray(macos: str) -> Check:
    """Which Ray there is, and whether its head can be on this machine."""
    version = installed("ray")
    detail = f"{version}; every machine of a fleet must have the same, and the same Python"
    if version is None:
        return Check("Ray", "fail", "missing", "run `.venv/bin/pip install -e .` in the farm's folder")
    if macos and int(macos.partition(".")[0]) >= _NO_HEAD_MACOS:
        return Check(
            "Ray",
            "warn",
            f"{detail}. On macOS {macos} Ray's head was reported to hang (ray#58211)",
            "let the coordinator of a fleet run on Linux or an older macOS; as a worker this Mac is fine",
        )
    return Check("Ray", "ok", detail)


def _has_bridge() -> bool:
    return importlib.util.find_spec("coremltools.libcoremlpython") is not None


def check_core_ml(system: str, has_bridge: Callable[[], bool]) -> Check:
    """Whether Core ML can be used."""
    if system != "darwin":
        return Check("Core ML", "ok", "not a Mac; models run on the CPU, with the portable runtime")
    if has_bridge():
        return Check("Core ML", "ok", f"coremltools {installed('coremltools')}")
    return Check(
        "Core ML",
        "fail",
        f"coremltools {installed('coremltools')} has no bridge to Core ML for this Python",
        "use a Python for which coremltools has a wheel, and make .venv again",
    )


def check_machine(machine: Machine) -> Iterator[Check]:
    """What the chip favours, and what could not be learned of the machine."""
    name = machine.chip or "unknown chip"
    yield Check("machine", "ok", f"{name}, {machine.memory_bytes / 2**30:.0f} GB: {machine.reason}")
    for gap in machine.gaps:
        yield Check("machine", "warn", gap, "`farm probe --calibrate` measures what is not known")


def check_condition(condition: Condition) -> Iterator[Check]:
    """What holds this machine's clocks down."""
    if condition.on_mains is False:
        yield Check("power", "warn", "runs on battery", "plug it in; macOS sleeps earlier on battery")
    if condition.low_power_mode:
        yield Check("power", "warn", "low-power mode limits its clocks", "turn it off in System Settings, Battery")
    if condition.thermal in (Thermal.SERIOUS, Thermal.CRITICAL):
        yield Check("heat", "warn", f"thermal state {condition.thermal.value}", "let it cool; it is slower until then")
    if condition.cpu_speed_limit not in (None, 100):
        yield Check("heat", "warn", f"the CPU is held to {condition.cpu_speed_limit} % of its clock", "let it cool")


def check_models(catalogue: Catalogue) -> Iterator[Check]:
    """Which models there are, and which folders are none."""
    names = [model.name for model in catalogue.models()]
    if names:
        yield Check("models", "ok", ", ".join(names))
    else:
        yield Check("models", "warn", "none", "`farm models --help` says where they go")
    for name, problem in catalogue.problems().items():
        yield Check("models", "warn", f"{name} is left out: {problem.message}", "repair or remove its folder")


def check_device(lock: DeviceLock) -> Check:
    """Whether another farm renders on this machine."""
    try:
        if lock.try_acquire():
            lock.release()
            return Check("device", "ok", "free")
    except OSError as error:
        return Check("device", "fail", f"its lock {lock.path} cannot be used ({error.strerror})", "remove that file")
    holder = lock.holder()
    who = f"process {holder.pid} since {holder.since:%Y-%m-%d %H:%M} UTC" if holder else "another process"
    return Check("device", "ok", f"in use by {who}; a second farm on this machine waits for it")


def check_port(subject: str, address: str, option: str) -> Check:
    """Whether an address can be listened on."""
    if not address.rpartition(":")[2].isdecimal():
        return Check(subject, "ok", f"{address} is not a port")
    try:
        with open_listener(address):
            return Check(subject, "ok", f"{address} is free")
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        found = f"{address} cannot be listened on ({reason})"
        return Check(subject, "warn", found, f"fine if a farm runs here; otherwise choose another with {option}")


def _existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.absolute().parents) if parent.exists())


def check_disk(folder: Path, free: int) -> Check:
    """Whether there is room for images."""
    found = f"{free / 2**30:,.1f} GB free for {folder}"
    if free < DISK_FAIL:
        return Check("disk", "fail", found, "make room, or name another folder with --state; jobs wait meanwhile")
    if free < DISK_WARN:
        return Check("disk", "warn", found, "make room soon; models take gigabytes and an image about half a megabyte")
    return Check("disk", "ok", found)


def _is_synchronized() -> bool | None:
    """Whether the clock follows a time server; None if the system does not say."""
    answers = {"yes": True, "no": False}
    return answers.get(output("timedatectl", "show", "-p", "NTPSynchronized", "--value", seconds=5.0).strip())


def check_clock(now: float, files: list[Path], is_synchronized: bool | None) -> Check:
    """Whether the clock can be right: nothing that was written before can be from the future."""
    written = {path: found.st_mtime for path in files if (found := _stat(path)) is not None}
    newest = max(written, key=lambda path: written[path])
    if (ahead := written[newest] - now) > CLOCK_SLACK:
        return Check("clock", "fail", f"{newest} is {ahead:,.0f} s in the future", "set the clock")
    if is_synchronized is False:
        return Check("clock", "warn", "not synchronized by network time", "turn network time on; certificates need it")
    return Check("clock", "ok", "plausible" if is_synchronized is None else "synchronized by network time")


def check_modes(folder: Path) -> Iterator[Check]:
    """Whether what is secret can be read by its owner alone; the farm's own certificate is no secret."""
    if not folder.is_dir():
        return
    if not _is_open(folder):  # what lies in a folder that nobody else can enter is as safe as the folder
        yield Check("access", "ok", f"{folder} is readable by its owner only")
        return
    inside = (path for path in folder.rglob("*") if path.name != CERTIFICATE_FILE and _is_open(path))
    named = ", ".join(str(path) for path in (folder, *itertools.islice(inside, 3)))
    yield Check("access", "fail", f"others can read {named}", f"chmod -R go= {folder}")


def _is_open(path: Path) -> bool:
    found = _stat(path)
    return found is not None and bool(found.st_mode & 0o077)


def _stat(path: Path) -> os.stat_result | None:
    """What the system says of a file; None if it went away meanwhile."""
    try:
        return path.stat()
    except OSError:
        return None


VERDICTS: Mapping[str, str] = {"ok": "green", "warn": "yellow", "fail": "red"}
"""Colour of each verdict."""
