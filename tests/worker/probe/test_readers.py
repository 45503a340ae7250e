"""What the rules of the probe are, and that nothing which a command prints makes it raise."""

import sys
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.domain import ChipClass
from farm.worker.probe import Machine, examine, probe
from farm.worker.probe.collect import output
from farm.worker.probe.linux import read_linux
from farm.worker.probe.machine import MacOutputs, read_mac
from farm.worker.probe.profiler import read_displays, read_hardware
from farm.worker.probe.sysctl import read_sysctl
from tests.worker.probe.printers import (
    GIB,
    Mac,
    displays_json,
    hardware_json,
    hardware_text,
    registry,
    sysctl,
)

WHOLE = Mac("Apple M2 Pro", 19).outputs()


def test_a_mac_that_says_everything_leaves_no_gap() -> None:
    machine = read_mac(WHOLE)
    assert machine.gaps == ()
    assert (machine.os, machine.build, machine.performance_cores) == ("macOS 26.1 (25B78)", "25B78", 8)


@pytest.mark.parametrize(
    ("gpu_cores", "expected", "is_between"),
    [
        (7, ChipClass.ANE, False),
        (14, ChipClass.ANE, False),
        (15, ChipClass.ANE, True),
        (23, ChipClass.ANE, True),
        (24, ChipClass.GPU, False),
        (80, ChipClass.GPU, False),
    ],
)
def test_many_gpu_cores_favour_the_gpu_and_some_favour_measuring(
    gpu_cores: int, expected: ChipClass, is_between: bool
) -> None:
    machine = read_mac(Mac("Apple M9", gpu_cores).outputs())
    assert (machine.chip_class, machine.is_between) == (expected, is_between)


@pytest.mark.parametrize(
    "told",
    [
        sysctl("Apple M1 (Virtual)", "Mac14,5"),
        sysctl("Apple M1", "VirtualMac2,1"),
        sysctl("Apple M1", "Mac14,5", kern__hv_vmm_present=1),
        sysctl("Apple M1", "Mac14,5", sysctl__proc_translated=1),
        sysctl("Intel(R) Core(TM) i7-8700B CPU @ 3.20GHz", "Macmini6,2"),
    ],
)
def test_virtual_translated_and_intel_macs_have_no_accelerator_to_count_on(told: str) -> None:
    machine = read_mac(replace(WHOLE, sysctl=told, hardware=""))
    assert (machine.chip_class, machine.has_ane, machine.gpu_cores) == (ChipClass.CPU, False, 0)


def test_rosetta_is_told_with_what_to_do() -> None:
    assert "arm64" in read_mac(replace(WHOLE, sysctl=sysctl("Apple M1", sysctl__proc_translated=1))).reason


@pytest.mark.parametrize("kernel", ["VirtualApple @ 2.50GHz", ""])
def test_a_chip_that_rosetta_hides_is_called_by_its_gpu(kernel: str) -> None:
    told = MacOutputs(
        sysctl=sysctl(kernel, sysctl__proc_translated=1),
        hardware=hardware_json(cpu_type="Unknown"),
        displays=displays_json("Apple M1", 7),
    )
    machine = read_mac(told)
    assert (machine.chip, machine.chip_class, machine.gpu_cores) == ("Apple M1", ChipClass.CPU, 0)


def test_a_paravirtual_gpu_is_no_chip() -> None:
    machine = read_mac(MacOutputs(displays=displays_json("Apple Paravirtual device", None)))
    assert (machine.chip, machine.is_virtual, machine.chip_class) == ("", True, ChipClass.CPU)
    assert any(gap.startswith("chip:") for gap in machine.gaps)


def test_an_apple_chip_without_a_neural_engine_in_the_registry_uses_its_gpu() -> None:
    machine = read_mac(replace(WHOLE, registry=registry(None)))
    assert (machine.chip_class, machine.has_ane) == (ChipClass.GPU, False)


def test_a_registry_that_cannot_be_read_does_not_take_the_neural_engine_away() -> None:
    machine = read_mac(replace(WHOLE, registry=""))
    assert machine.has_ane
    assert any(gap.startswith("Neural Engine") for gap in machine.gaps)


@pytest.mark.parametrize("missing", [field.name for field in fields(MacOutputs)])
def test_each_command_may_be_missing(missing: str) -> None:
    machine = read_mac(replace(WHOLE, **{missing: ""}))
    assert (machine.chip, machine.gpu_cores, machine.has_ane) == ("Apple M2 Pro", 19, True)


def test_witnesses_that_disagree_are_told() -> None:
    machine = read_mac(replace(WHOLE, displays=displays_json("Apple M2 Pro", 16)))
    assert machine.gpu_cores == 19
    assert "16" in machine.gaps[0]


@pytest.mark.parametrize("name", [field.name for field in fields(MacOutputs)])
@given(data=st.data())
def test_outputs_that_are_cut_short_are_read_as_far_as_they_go(name: str, data: st.DataObject) -> None:
    whole = getattr(WHOLE, name)
    machine = read_mac(replace(WHOLE, **{name: whole[: data.draw(st.integers(0, len(whole)))]}))
    assert machine.chip.startswith("Apple")
    assert machine.gpu_cores in (1, 19)


@pytest.mark.parametrize("name", [field.name for field in fields(MacOutputs)])
@given(data=st.data())
def test_whatever_is_garbled_in_an_output_is_read_or_named_as_missing(name: str, data: st.DataObject) -> None:
    whole = getattr(WHOLE, name)
    begin, end = sorted(data.draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
    garbled = whole[:begin] + data.draw(st.text(max_size=9)) + whole[end:]
    machine = read_mac(replace(MacOutputs(), **{name: garbled}))
    named = {gap.partition(":")[0] for gap in machine.gaps}
    told = {"chip": machine.chip, "CPU cores": machine.levels, "memory": machine.memory_bytes}
    assert named >= {fact for fact, value in told.items() if not value}
    assert machine.chip_class is ChipClass.CPU or ("GPU cores" in named) is not bool(machine.gpu_cores)


def test_labels_in_another_language_are_not_understood_and_are_told() -> None:
    text = hardware_text("8 (4 Leistung und 4 Effizienz)", "16 Go").replace("Memory", "Speicher")
    german = text.replace("Total Number of Cores", "Gesamtanzahl der Kerne")
    hardware = read_hardware(german)
    assert (hardware.memory_bytes, hardware.levels) == (0, ())
    assert read_mac(MacOutputs(hardware=german)).gaps


def test_numbers_beyond_reason_are_not_read() -> None:
    digits = "9" * 5000
    kernel = read_sysctl(sysctl("Apple M1", memory=0, hw__memsize=digits, hw__physicalcpu="two"))
    assert (kernel.memory_bytes, kernel.levels) == (0, ())
    assert read_mac(replace(WHOLE, gpu=f'"gpu-core-count" = {digits}', displays="")).gpu_cores == 0
    assert read_displays(displays_json("Apple M1", None).replace('"Apple M1"', digits)).gpu_cores == 0


def test_levels_are_counted_as_one_where_the_system_knows_none() -> None:
    (level,) = read_sysctl("hw.physicalcpu: 6\nmachdep.cpu.brand_string: Intel(R) Core(TM) i7\n").levels
    assert level.cores == 6


def test_an_apple_gpu_counts_before_an_external_one() -> None:
    external = displays_json("AMD Radeon RX 580", None).partition("[")[2].rpartition("]")[0]
    both = displays_json("Apple M1 Max", 32).replace("[", f"[{external}, ", 1)
    assert read_displays(both).gpu_cores == 32


def test_a_mac_that_says_nothing_is_a_cpu() -> None:
    machine = read_mac(MacOutputs())
    assert (machine.chip, machine.chip_class, machine.os) == ("", ChipClass.CPU, "macOS")
    assert len(machine.gaps) == 4


def test_half_a_character_in_a_report_does_not_reach_what_cannot_print_or_send_it() -> None:
    machine = read_mac(MacOutputs(hardware=hardware_json(chip_type="Apple M1 \ud800", machine_name="Mac \udfff")))
    assert (machine.chip.encode(), machine.name.encode()) == (b"Apple M1 ?", b"Mac ?")


anything = st.text() | st.sampled_from(
    ["{}", "[]", "[" * 5000, '{"SPHardwareDataType": [3]}', '{"SPDisplaysDataType": 1}']
)


@given(st.fixed_dictionaries({field.name: anything for field in fields(MacOutputs)}))
def test_no_output_of_a_mac_makes_the_probe_raise(texts: dict[str, str]) -> None:
    assert read_mac(MacOutputs(**texts)).reason


@given(st.text(), st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=4))
def test_no_value_of_a_mac_makes_the_probe_raise(text: str, value: object) -> None:
    names = ("chip_type", "machine_model", "physical_memory", "number_processors")
    outputs = MacOutputs(
        sysctl=sysctl(text, text, hw__memsize=text, hw__nperflevels=text, hw__perflevel0__physicalcpu=text),
        hardware=hardware_json(**dict.fromkeys(names, value)),
        gpu=f'"gpu-core-count" = {text}',
    )
    assert read_mac(outputs).memory_bytes >= 0


@given(st.text(), st.text(), st.text(), st.text())
def test_no_file_of_a_linux_machine_makes_the_probe_raise(a: str, b: str, c: str, d: str) -> None:
    assert read_linux(cpuinfo=a, meminfo=b, os_release=c, machine=d, cores=1).memory_bytes >= 0


def test_a_linux_machine_is_a_cpu_with_its_models_name_and_says_why() -> None:
    machine = read_linux(
        cpuinfo="processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu hypervisor\n\nprocessor\t: 1\n",
        meminfo="MemTotal:       16384 kB\nMemFree:            1 kB\n",
        os_release='NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
        machine="x86_64",
        cores=2,
    )
    assert (machine.chip, machine.chip_class, machine.performance_cores) == ("Some CPU @ 2 GHz", ChipClass.CPU, 2)
    assert (machine.memory_bytes, machine.os) == (16384 * 1024, "Debian GNU/Linux 12 (bookworm)")
    assert machine.is_virtual
    assert "not a Mac" in machine.reason


def test_a_processor_without_a_name_is_called_by_its_architecture() -> None:
    machine = read_linux(cpuinfo="processor\t: 0\n", meminfo="", os_release="", machine="aarch64", cores=4)
    assert (machine.chip, machine.os) == ("aarch64", "Linux")
    assert machine.gaps


def test_this_machine_knows_its_memory_and_cores() -> None:
    machine: Machine = probe()
    assert machine.memory_bytes > GIB // 4
    assert machine.performance_cores >= 1
    assert machine.chip
    assert sys.platform != "linux" or machine.chip_class is ChipClass.CPU
    assert sys.platform == "darwin" or examine().on_mains is None


def test_commands_that_hang_fail_or_are_not_there_say_nothing() -> None:
    assert output("sleep", "60", seconds=0.05) == ""
    assert output("no-such-command-anywhere") == ""
    assert output("sh", "-c", "echo said; exit 3") == "said\n"
    assert output("sh", "-c", "printf '\\377'") == "�"


@pytest.mark.macos
def test_a_real_mac_leaves_no_gap() -> None:
    machine = probe()
    assert machine.gaps == ()
    assert machine.chip.startswith("Apple ")
    assert examine().on_mains is not None
