from dataclasses import replace

from farm.domain import AttentionVariant, ComputeUnit, Measurement
from farm.scheduler import events as ev
from farm.scheduler.fitting import fit
from farm.scheduler.plan import Way
from farm.scheduler.state import FarmState
from farm.scheduler.transitions import apply
from tests.builders import OFFER, attempt_started, image_committed, job_opened, worker_facts

SPLIT = replace(OFFER, attention=AttentionVariant.SPLIT_EINSUM, digest="sha256:split")


def test_a_machine_stays_with_its_variant_however_slow_it_finds_it() -> None:
    """Rules out a farm that tries the other variant in the middle of a job, loads anew and changes its pictures."""
    state = FarmState()
    facts = worker_facts(offers=(OFFER, SPLIT))
    apply(state, ev.WorkerJoined("w", 0.0, facts))
    apply(state, job_opened(image_count=20))
    apply(state, attempt_started(image_count=20))
    for index in range(20):
        way = fit(state.rates, state.jobs["j"].kind, facts)
        assert isinstance(way, Way)
        assert way.offer == OFFER
        apply(state, image_committed(index=index, seconds=1000.0 * (index + 1)))


def test_of_several_precisions_the_most_faithful_that_fits_is_used() -> None:
    coarse, fine = (replace(OFFER, precision=f"palettized-{bits}", digest=f"sha256:{bits}") for bits in (4, 8))
    full = replace(OFFER, precision="float32", digest="sha256:full")
    state = FarmState()
    apply(state, job_opened(image_count=1))
    machine = worker_facts(offers=(coarse, fine, full, OFFER))

    def chosen() -> str:
        apply(state, ev.WorkerJoined("w", 0.0, machine))
        way = fit(state.rates, state.jobs["j"].kind, machine)
        assert isinstance(way, Way)
        return way.offer.precision

    assert chosen() == "float16"
    for digest, next_best in ((OFFER.digest, "float32"), (full.digest, "palettized-8"), (fine.digest, "palettized-4")):
        too_large = Measurement(digest, ComputeUnit.CPU_ONLY, peak_memory_bytes=machine.memory_bytes + 1)
        machine = machine.with_measurement(too_large)
        assert chosen() == next_best
