from dataclasses import replace

from farm.domain import AttentionVariant
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
