"""The commands' outputs below are in the form that the systems print, reduced to what is read or must be ignored."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.domain import ChipClass
from farm.worker.probe import Machine, probe, read_linux, read_mac

SW_VERS = "ProductName:\t\tmacOS\nProductVersion:\t\t26.1\nBuildVersion:\t\t25B78\n"
ENGINE = '+-o soc  <class AppleARMIODevice, id 0x1>\n  +-o ANE0  <class H11ANEIn, id 0x2, registered>\n      "a" = 1\n'
NO_ENGINE = "+-o Root  <class IORegistryEntry, id 0x1>\n  +-o decoy  <class H11ANEInterface, id 0x2>\n"


def sysctl(chip: str, **other: str) -> str:
    keys = {
        "hw.memsize": str(32 * 2**30),
        "hw.model": "Mac14,5",
        "hw.perflevel0.physicalcpu": "8",
        "hw.physicalcpu": "12",
        "kern.hv_vmm_present": "0",
        "machdep.cpu.brand_string": chip,
        "sysctl.proc_translated": "0",
    } | {name.replace("__", "."): value for name, value in other.items()}
    return "".join(f"{name}: {value}\n" for name, value in keys.items())


def gpu(cores: int) -> str:
    return f'+-o AGXAcceleratorG14X  <class AGXAcceleratorG14X>\n    {{\n      "gpu-core-count" = {cores}\n    }}\n'


def mac(chip: str, gpu_cores: int, registry: str = ENGINE, **other: str) -> Machine:
    return read_mac(sysctl=sysctl(chip, **other), sw_vers=SW_VERS, gpu=gpu(gpu_cores), registry=registry)


def test_a_mac_says_everything() -> None:
    assert mac("Apple M2 Pro", 19) == Machine(
        chip="Apple M2 Pro",
        chip_class=ChipClass.ANE,
        gpu_cores=19,
        performance_cores=8,
        has_ane=True,
        memory_bytes=32 * 2**30,
        os="macOS 26.1 (25B78)",
    )


@pytest.mark.parametrize(
    ("gpu_cores", "expected"),
    [
        (0, ChipClass.ANE),
        (7, ChipClass.ANE),
        (14, ChipClass.ANE),
        (23, ChipClass.ANE),
        (24, ChipClass.GPU),
        (80, ChipClass.GPU),
    ],
)
def test_many_gpu_cores_favour_the_gpu(gpu_cores: int, expected: ChipClass) -> None:
    assert mac("Apple M9", gpu_cores).chip_class is expected


@pytest.mark.parametrize(
    ("chip", "other"),
    [
        ("Apple M1 (Virtual)", {}),
        ("Apple M1", {"hw__model": "VirtualMac2,1"}),
        ("Apple M1", {"kern__hv_vmm_present": "1"}),
        ("Apple M1", {"sysctl__proc_translated": "1"}),
        ("VirtualApple @ 2.50GHz", {"sysctl__proc_translated": "1"}),
        ("Intel(R) Core(TM) i7-8700B CPU @ 3.20GHz", {"hw__model": "Macmini6,2"}),
    ],
)
def test_virtual_translated_and_intel_macs_have_no_accelerator_to_count_on(chip: str, other: dict[str, str]) -> None:
    machine = mac(chip, 8, **other)
    assert (machine.chip_class, machine.has_ane, machine.gpu_cores) == (ChipClass.CPU, False, 0)
    assert machine.chip == chip


def test_an_apple_chip_without_a_neural_engine_in_the_registry_uses_its_gpu() -> None:
    machine = mac("Apple M1", 8, registry=NO_ENGINE)
    assert (machine.chip_class, machine.has_ane) == (ChipClass.GPU, False)


def test_a_registry_that_cannot_be_read_does_not_take_the_neural_engine_away() -> None:
    assert mac("Apple M1", 8, registry="").has_ane


def test_numbers_beyond_reason_are_not_read() -> None:
    digits = "9" * 5000
    machine = mac("Apple M1", 8, hw__memsize=digits, hw__perflevel0__physicalcpu=digits, hw__physicalcpu="two")
    assert (machine.memory_bytes, machine.performance_cores) == (0, 0)
    text = f'"gpu-core-count" = {digits}'
    assert read_mac(sysctl=sysctl("Apple M1"), sw_vers="", gpu=text, registry="").gpu_cores == 0


def test_cores_are_counted_without_levels_where_an_older_system_knows_none() -> None:
    text = "hw.physicalcpu: 6\nmachdep.cpu.brand_string: Intel(R) Core(TM) i7\n"
    assert read_mac(sysctl=text, sw_vers="", gpu="", registry="").performance_cores == 6


def test_a_mac_that_says_nothing_is_a_cpu() -> None:
    machine = read_mac(sysctl="", sw_vers="", gpu="", registry="")
    assert machine == Machine("", ChipClass.CPU, 0, 0, False, 0, "macOS")


@given(st.text(), st.text(), st.text(), st.text())
def test_no_output_of_a_mac_makes_the_probe_raise(a: str, b: str, c: str, d: str) -> None:
    assert read_mac(sysctl=a, sw_vers=b, gpu=c, registry=d).memory_bytes >= 0
    assert read_mac(sysctl=f"hw.memsize: {a}", sw_vers=b, gpu=f'"gpu-core-count" = {c}', registry=d).gpu_cores >= 0


@given(st.text(), st.text(), st.text(), st.text())
def test_no_file_of_a_linux_machine_makes_the_probe_raise(a: str, b: str, c: str, d: str) -> None:
    assert read_linux(cpuinfo=a, meminfo=b, os_release=c, machine=d, cores=1).memory_bytes >= 0


def test_a_linux_machine_is_a_cpu_with_its_models_name() -> None:
    machine = read_linux(
        cpuinfo="processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n\nprocessor\t: 1\nmodel name\t: Some CPU @ 2 GHz\n",
        meminfo="MemTotal:       16384 kB\nMemFree:            1 kB\n",
        os_release='NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
        machine="x86_64",
        cores=2,
    )
    assert machine == Machine(
        "Some CPU @ 2 GHz", ChipClass.CPU, 0, 2, False, 16384 * 1024, "Debian GNU/Linux 12 (bookworm)"
    )


def test_a_processor_without_a_name_is_called_by_its_architecture() -> None:
    machine = read_linux(cpuinfo="processor\t: 0\n", meminfo="", os_release="", machine="aarch64", cores=4)
    assert (machine.chip, machine.os) == ("aarch64", "Linux")


def test_this_machine_knows_its_memory_and_cores() -> None:
    machine = probe()
    assert machine.memory_bytes > 2**28
    assert machine.performance_cores >= 1
    assert machine.chip
    assert sys.platform != "linux" or machine.chip_class is ChipClass.CPU
