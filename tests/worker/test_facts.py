from dataclasses import replace

from farm.domain import ComputeUnit, WorkerFacts
from farm.worker.facts import worker_facts
from farm.worker.null_renderer import NULL_MACHINE
from farm.worker.probe import Machine

UNITS = (ComputeUnit.CPU_AND_NE, ComputeUnit.CPU_AND_GPU, ComputeUnit.CPU_ONLY)


def facts(machine: Machine) -> WorkerFacts:
    return worker_facts(machine, (), "coreml", UNITS, {"room": "attic"})


def test_a_machine_with_a_neural_engine_offers_it() -> None:
    assert facts(replace(NULL_MACHINE, has_ane=True)).compute_units == UNITS


def test_a_machine_without_one_does_not_whatever_the_runtime_says() -> None:
    assert facts(replace(NULL_MACHINE, has_ane=False)).compute_units == UNITS[1:]
