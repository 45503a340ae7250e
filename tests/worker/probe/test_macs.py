"""One case for every machine of which captured outputs are public, in all the ways in which they differ.

The values are those machines'; what surrounds them is printed by `printers`. Each case says what was public of it and
no more, so that much is to be found out from the rest, or said to be missing: mostly the GPU cores.
"""

from dataclasses import dataclass, field

import pytest

from farm.domain import ChipClass
from farm.worker.probe.machine import MacOutputs, read_mac
from farm.worker.probe.sysctl import CoreLevel
from tests.worker.probe.printers import (
    GIB,
    displays_json,
    displays_text,
    gpu_registry,
    hardware_json,
    hardware_text,
    registry,
    sw_vers,
    sysctl,
)

ANE, GPU, CPU = ChipClass.ANE, ChipClass.GPU, ChipClass.CPU


@dataclass(frozen=True)
class Case:
    """What was printed, and what it means: chip, class, GPU cores, CPU levels, memory in GiB and more facts by name."""

    name: str
    outputs: MacOutputs
    chip: str
    chip_class: ChipClass
    gpu_cores: int
    levels: tuple[tuple[str, int], ...]
    memory_gb: int
    facts: dict[str, object] = field(default_factory=dict)


CASES = [
    Case(
        "GitHub's runner, macOS 15, an Intel Mac mini that is virtual",
        MacOutputs(
            sysctl=sysctl(
                "Intel(R) Core(TM) i7-8700B CPU @ 3.20GHz", "Macmini6,2", 14 * GIB, [("Standard", 4)], hw__physicalcpu=4
            ),
            sw_vers=sw_vers("15.7.9", "24G830"),
            hardware=hardware_json(
                cpu_type="Unknown",
                current_processor_speed="3.19 GHz",
                machine_model="Macmini6,2",
                number_processors=4,
                physical_memory="14 GB",
            ),
            displays=displays_json("Apple Paravirtualized Graphics Device", None),
        ),
        "Intel(R) Core(TM) i7-8700B CPU @ 3.20GHz",
        CPU,
        0,
        (("Standard", 4),),
        14,
        {"is_virtual": True, "has_ane": False, "os": "macOS 15.7.9 (24G830)", "generation": 0, "gaps": ()},
    ),
    Case(
        "GitHub's runner, macOS 26, a virtual M1",
        MacOutputs(
            sysctl=sysctl("Apple M1 (Virtual)", "VirtualMac2,1", 7 * GIB, [("Standard", 3)]),
            sw_vers=sw_vers("26.6.2", "25G83"),
            registry=registry(None),
            hardware=hardware_json(
                chip_type="Apple M1 (Virtual)",
                machine_model="VirtualMac2,1",
                machine_name="Apple Virtual Machine 1",
                number_processors=3,
                physical_memory="7 GB",
            ),
        ),
        "Apple M1 (Virtual)",
        CPU,
        0,
        (("Standard", 3),),
        7,
        {"is_virtual": True, "has_ane": False, "name": "Apple Virtual Machine 1", "build": "25G83"},
    ),
    Case(
        "iMac Pro, of which the hardware report is all there is",
        MacOutputs(
            hardware=hardware_json(
                cpu_type="8-Core Intel Xeon W",
                current_processor_speed="3.2 GHz",
                machine_model="iMacPro1,1",
                machine_name="iMac Pro",
                number_processors=8,
                packages=1,
                physical_memory="32 GB",
            )
        ),
        "8-Core Intel Xeon W",
        CPU,
        0,
        (),
        32,
        {"model": "iMacPro1,1", "is_virtual": False},
    ),
    Case(
        "M1 MacBook Air",
        MacOutputs(
            sysctl=sysctl("Apple M1", "MacBookAir10,1", 16 * GIB, [("Performance", 4), ("Efficiency", 4)]),
            registry=registry(11),
            hardware=hardware_json(
                chip_type="Apple M1",
                machine_model="MacBookAir10,1",
                machine_name="MacBook Air",
                number_processors="proc 8:4:4",
                physical_memory="16 GB",
            ),
        ),
        "Apple M1",
        ANE,
        0,
        (("Performance", 4), ("Efficiency", 4)),
        16,
        {"name": "MacBook Air", "generation": 1, "has_ane": True},
    ),
    Case(
        "the same MacBook Air under Rosetta, in a country with decimal commas",
        MacOutputs(
            sysctl=sysctl("VirtualApple @ 2.50GHz", "MacBookAir10,1", 16 * GIB, sysctl__proc_translated=1),
            registry=registry(11),
            hardware=hardware_json(
                cpu_type="Unknown",
                current_processor_speed="2,4 GHz",
                machine_model="MacBookAir10,1",
                number_processors=8,
                physical_memory="16 GB",
            ),
        ),
        "VirtualApple @ 2.50GHz",
        CPU,
        0,
        (),
        16,
        {"is_translated": True, "has_ane": False, "is_virtual": False},
    ),
    Case(
        "M1 Max MacBook Pro, as text",
        MacOutputs(
            hardware=hardware_text(
                "10 (8 performance and 2 efficiency)", "64 GB", chip="Apple M1 Max", model="MacBookPro18,2"
            ),
        ),
        "Apple M1 Max",
        GPU,
        0,
        (("Performance", 8), ("Efficiency", 2)),
        64,
        {"model": "MacBookPro18,2"},
    ),
    Case(
        "M1 Ultra Mac Studio, as text",
        MacOutputs(
            hardware=hardware_text(
                "20 (16 performance and 4 efficiency)",
                "64 GB",
                chip="Apple M1 Ultra",
                model="Mac13,2",
                name="Mac Studio",
            ),
        ),
        "Apple M1 Ultra",
        GPU,
        0,
        (("Performance", 16), ("Efficiency", 4)),
        64,
        {"model": "Mac13,2", "name": "Mac Studio"},
    ),
    Case(
        "M1 Pro on a macOS that has no names for levels, and does not count them",
        MacOutputs(
            sysctl=sysctl(
                "Apple M1 Pro", "", 0, [(None, 8), (None, 2)], counts_levels=False, hw__physicalcpu=10, hw__cputype=2
            ),
        ),
        "Apple M1 Pro",
        ANE,
        0,
        (("Performance", 8), ("Efficiency", 2)),
        0,
    ),
    Case(
        "M1 Pro, of which the displays report is all there is",
        MacOutputs(displays=displays_json("Apple M1 Pro", 14)),
        "Apple M1 Pro",
        ANE,
        14,
        (),
        0,
        {"generation": 1, "is_between": False},
    ),
    Case(
        "M2 MacBook Pro, the hardware report alone",
        MacOutputs(
            hardware=hardware_json(
                chip_type="Apple M2", machine_model="Mac14,7", number_processors="proc 8:4:4", physical_memory="16 GB"
            )
        ),
        "Apple M2",
        ANE,
        0,
        (),
        16,
        {"generation": 2, "has_ane": True},
    ),
    Case(
        "M2 Pro on macOS 27, where number_processors has four parts",
        MacOutputs(
            hardware=hardware_json(
                chip_type="Apple M2 Pro",
                machine_model="Mac14,10",
                number_processors="proc 12:0:8:4",
                physical_memory="16 GB",
            ),
            displays=displays_json("Apple M2 Pro", 19),
        ),
        "Apple M2 Pro",
        ANE,
        19,
        (),
        16,
        {"is_between": True},
    ),
    Case(
        "M2 Ultra Mac Studio, as text",
        MacOutputs(
            sw_vers=sw_vers("14.3.1", "23D60"),
            hardware=hardware_text(
                "24 (16 performance and 8 efficiency)", "192 GB", chip="Apple M2 Ultra", name="Mac Studio"
            ),
        ),
        "Apple M2 Ultra",
        GPU,
        0,
        (("Performance", 16), ("Efficiency", 8)),
        192,
    ),
    Case(
        "M3 Max with 16 CPU cores, whose slow level is printed first",
        MacOutputs(
            sysctl=sysctl(
                "Apple M3 Max", "", 128 * GIB, [("Performance", 12), ("Efficiency", 4)], hw__osenvironment=""
            ),
        ),
        "Apple M3 Max",
        GPU,
        0,
        (("Performance", 12), ("Efficiency", 4)),
        128,
    ),
    Case(
        "M3 Max with 30 GPU cores on macOS 27, of which sysctl was asked for little",
        MacOutputs(
            sysctl=sysctl("Apple M3 Max", "", 36 * GIB, hw__ncpu=14),
            sw_vers=sw_vers("27.0", "26A428"),
            displays=displays_text("Apple M3 Max", 30),
        ),
        "Apple M3 Max",
        GPU,
        30,
        (),
        36,
        {"build": "26A428"},
    ),
    Case(
        "M3 Max MacBook Pro on macOS 15, as text",
        MacOutputs(
            sw_vers=sw_vers("15.7.4", "24G517"),
            hardware=hardware_text(
                "14 (10 performance and 4 efficiency)",
                "36 GB",
                chip="Apple M3 Max",
                model="Mac15,11",
                name="MacBook Pro",
            ),
        ),
        "Apple M3 Max",
        GPU,
        0,
        (("Performance", 10), ("Efficiency", 4)),
        36,
        {"model": "Mac15,11", "name": "MacBook Pro"},
    ),
    Case(
        "M3 Ultra with 60 GPU cores",
        MacOutputs(
            sysctl=sysctl("Apple M3 Ultra", "", 96 * GIB, [("Performance", 20), ("Efficiency", 8)]),
            displays=displays_text("Apple M3 Ultra", 60),
        ),
        "Apple M3 Ultra",
        GPU,
        60,
        (("Performance", 20), ("Efficiency", 8)),
        96,
    ),
    Case(
        "M3 Ultra with 80 GPU cores and half a terabyte",
        MacOutputs(
            sysctl=sysctl("Apple M3 Ultra", "", 512 * GIB, iogpu__wired_limit_mb=0),
            displays=displays_text("Apple M3 Ultra", 80),
        ),
        "Apple M3 Ultra",
        GPU,
        80,
        (),
        512,
        {"generation": 3},
    ),
    Case(
        "M4 MacBook Air on macOS 26",
        MacOutputs(
            sysctl=sysctl("Apple M4", "Mac16,12", 16 * GIB, [("Performance", 4), ("Efficiency", 6)]),
            hardware=hardware_json(chip_type="Apple M4", machine_name="MacBook Air", number_processors="proc 10:4:6:0"),
        ),
        "Apple M4",
        ANE,
        0,
        (("Performance", 4), ("Efficiency", 6)),
        16,
        {"model": "Mac16,12"},
    ),
    Case(
        "M4 MacBook Pro, the hardware report alone",
        MacOutputs(
            hardware=hardware_json(chip_type="Apple M4", machine_model="Mac16,1", physical_memory="24 GB"),
        ),
        "Apple M4",
        ANE,
        0,
        (),
        24,
        {"model": "Mac16,1"},
    ),
    Case(
        "a virtual M4 Max in Anka",
        MacOutputs(
            hardware=hardware_json(
                boot_rom_version="mBoot-18000.120.36",
                chip_type="Apple M4 Max (Virtual)",
                machine_model="VirtualMac2,1",
                number_processors=2,
                physical_memory="4 GB",
            ),
        ),
        "Apple M4 Max (Virtual)",
        CPU,
        0,
        (),
        4,
        {"is_virtual": True, "generation": 4},
    ),
    Case(
        "M4 Pro, as text",
        MacOutputs(
            hardware=hardware_text(
                "14 (10 performance and 4 efficiency)", "48 GB", chip="Apple M4 Pro", model="Mac16,7"
            ),
            displays=displays_text("Apple M4 Pro", 20),
        ),
        "Apple M4 Pro",
        ANE,
        20,
        (("Performance", 10), ("Efficiency", 4)),
        48,
        {"is_between": True},
    ),
    Case(
        "M4 Max on macOS 26, whose names of levels have capitals",
        MacOutputs(
            hardware=hardware_text(
                "14 (10 Performance and 4 Efficiency)", "36 GB", chip="Apple M4 Max", model="Mac16,6"
            ),
        ),
        "Apple M4 Max",
        GPU,
        0,
        (("Performance", 10), ("Efficiency", 4)),
        36,
    ),
    Case(
        "M5 Max, whose fast level is Super and whose slow one is Performance",
        MacOutputs(
            sysctl=sysctl("Apple M5 Max", "Mac17,6", 128 * GIB, [("Super", 6), ("Performance", 12)]),
            hardware=hardware_json(chip_type="Apple M5 Max", number_processors="proc 18:6:0:12"),
        ),
        "Apple M5 Max",
        GPU,
        0,
        (("Super", 6), ("Performance", 12)),
        128,
        {"generation": 5, "performance_cores": 6},
    ),
    Case(
        "M5 Pro",
        MacOutputs(
            sysctl=sysctl("Apple M5 Pro", "", 0, [("Super", 5), ("Performance", 10)]),
            gpu=gpu_registry(16),
        ),
        "Apple M5 Pro",
        ANE,
        16,
        (("Super", 5), ("Performance", 10)),
        0,
        {"is_between": True},
    ),
    Case(
        "M6, with three levels",
        MacOutputs(
            sysctl=sysctl("Apple M6", "", 0, [("Super", 2), ("Performance", 4), ("Efficiency", 6)], hw__physicalcpu=12),
        ),
        "Apple M6",
        ANE,
        0,
        (("Super", 2), ("Performance", 4), ("Efficiency", 6)),
        0,
        {"performance_cores": 2},
    ),
    Case(
        "another M1 Ultra Mac Studio, with its system",
        MacOutputs(
            sw_vers=sw_vers("15.6", "24G84"),
            hardware=hardware_text(
                "20 (16 performance and 4 efficiency)", "64 GB", chip="Apple M1 Ultra", model="Mac13,2"
            ),
        ),
        "Apple M1 Ultra",
        GPU,
        0,
        (("Performance", 16), ("Efficiency", 4)),
        64,
        {"os": "macOS 15.6 (24G84)", "build": "24G84", "is_between": False},
    ),
    Case(
        "M4 MacBook Air on macOS 15",
        MacOutputs(
            hardware=hardware_json(
                chip_type="Apple M4", machine_model="Mac16,12", number_processors="proc 10:4:6", physical_memory="16 GB"
            )
        ),
        "Apple M4",
        ANE,
        0,
        (),
        16,
        {"model": "Mac16,12"},
    ),
    Case(
        "M4 Pro with 24 GB, as text",
        MacOutputs(
            hardware=hardware_text(
                "14 (10 performance and 4 efficiency)", "24 GB", chip="Apple M4 Pro", model="Mac16,8"
            ),
            displays=displays_text("Apple M4 Pro", 20),
        ),
        "Apple M4 Pro",
        ANE,
        20,
        (("Performance", 10), ("Efficiency", 4)),
        24,
        {"model": "Mac16,8", "is_between": True},
    ),
    Case(
        "M4 Max on macOS 15, of which the GPU was not published",
        MacOutputs(
            sw_vers=sw_vers("15.4", "24E248"),
            hardware=hardware_text(
                "14 (10 performance and 4 efficiency)", "36 GB", chip="Apple M4 Max", model="Mac16,5"
            ),
        ),
        "Apple M4 Max",
        GPU,
        0,
        (("Performance", 10), ("Efficiency", 4)),
        36,
        {"model": "Mac16,5", "build": "24E248"},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_machine_that_was_published_is_read_as_what_it_is(case: Case) -> None:
    machine = read_mac(case.outputs)
    read = (machine.chip, machine.chip_class, machine.gpu_cores, machine.memory_bytes)
    assert read == (case.chip, case.chip_class, case.gpu_cores, case.memory_gb * GIB)
    assert machine.levels == tuple(CoreLevel(name, cores) for name, cores in case.levels)
    assert {name: getattr(machine, name) for name in case.facts} == case.facts
    assert machine.reason


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_a_machine_did_not_say_is_named_among_its_gaps(case: Case) -> None:
    machine = read_mac(case.outputs)
    named = {gap.partition(":")[0] for gap in machine.gaps}
    assert ("CPU cores" in named) is not bool(machine.levels)
    assert ("memory" in named) is not bool(machine.memory_bytes)
    assert ("macOS build" in named) is not bool(machine.build)
    assert ("GPU cores" in named) is (machine.chip_class is not CPU and not machine.gpu_cores)
