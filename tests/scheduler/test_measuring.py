"""What workers measure after they have joined, and what follows for placement."""

from dataclasses import replace

import pytest

from farm.coordinator.learned import decode, encode
from farm.domain import AttentionVariant, ComputeUnit, Measurement, WorkerFacts
from farm.errors import WrongStateError
from farm.reports import FactsReport, MeasurementReport, Stage, TrialReport
from farm.scheduler import events as ev
from farm.scheduler.cost import Sample
from farm.scheduler.explain import Reason, explain
from farm.scheduler.fitting import Unfit, fit, missing
from farm.scheduler.plan import Way
from farm.scheduler.scheduler import judge
from farm.scheduler.state import FarmState, kind_of, known_workers
from farm.scheduler.transitions import apply
from tests.builders import job_opened, job_spec
from tests.scheduler.test_prior import ANE, GPU, ORIGINAL, SPLIT, facts

GIB = 1 << 30
KIND = kind_of(job_spec())


def joined(*machines: WorkerFacts) -> FarmState:
    state = FarmState()
    for number, machine in enumerate(machines):
        apply(state, ev.WorkerJoined(f"mac-{number}", 0.0, machine))
    return state


def tell(state: FarmState, worker_id: str, measured: Measurement) -> None:
    for event in judge(state, 0.0, worker_id, MeasurementReport(measured)):
        apply(state, event)


def way_of(state: FarmState, worker_id: str = "mac-0") -> Way | Unfit:
    machine = state.workers[worker_id].facts
    assert machine is not None
    return fit(state.rates, KIND, machine)


def unit_of(state: FarmState) -> ComputeUnit:
    way = way_of(state)
    assert isinstance(way, Way)
    return way.compute_unit


def test_a_trial_overrules_the_class_of_the_chip() -> None:
    state = joined(facts("Apple M2 Pro", 19))
    assert unit_of(state) is ANE
    tell(state, "mac-0", Measurement("sha256:split", ANE, 0.40, 0.6, 15.0))
    tell(state, "mac-0", Measurement("sha256:original", GPU, 0.30, 0.45, 6.0))
    assert unit_of(state) is GPU
    assert state.is_stale


def test_a_unit_on_which_a_variant_failed_is_not_used_and_the_reason_is_told() -> None:
    state = joined(facts("Apple M5 Pro", 16))
    tell(state, "mac-0", Measurement("sha256:split", ANE, failure="the process was ended by signal 11"))
    assert unit_of(state) is GPU
    tell(state, "mac-0", Measurement("sha256:original", GPU, failure="MLIR pass manager failed"))
    tell(state, "mac-0", Measurement("sha256:split", GPU, failure="MLIR pass manager failed"))
    tell(state, "mac-0", Measurement("sha256:original", ComputeUnit.CPU_ONLY, failure="no"))
    tell(state, "mac-0", Measurement("sha256:split", ComputeUnit.CPU_ONLY, failure="no"))
    way = way_of(state)
    assert isinstance(way, Unfit)
    assert "MLIR pass manager failed" in way.detail


def test_a_machine_that_failed_is_of_another_sort_than_its_like() -> None:
    state = joined(facts("Apple M5 Pro", 16), facts("Apple M5 Pro", 16))
    assert state.workers["mac-0"].machine == state.workers["mac-1"].machine
    tell(state, "mac-0", Measurement("sha256:split", ANE, failure="no"))
    assert state.workers["mac-0"].machine != state.workers["mac-1"].machine


def test_memory_that_one_mac_measured_keeps_the_variant_off_those_that_have_less() -> None:
    small = replace(facts("Apple M1", 8, SPLIT), memory_bytes=8 * GIB)
    state = joined(small, replace(small, memory_bytes=32 * GIB))
    tell(state, "mac-1", Measurement("sha256:split", ANE, peak_memory_bytes=12 * GIB))
    for unit in (GPU, ComputeUnit.CPU_ONLY):
        tell(state, "mac-1", Measurement("sha256:split", unit, peak_memory_bytes=12 * GIB))
    apply(state, job_opened())
    reasons = {one.worker_id: (one.reason, one.detail) for one in explain(state, state.jobs["j"], 0.0)}
    assert reasons["mac-0"][0] is Reason.LACKS_MEMORY
    assert "8 GB" in reasons["mac-0"][1]
    assert "12.0 GB" in reasons["mac-0"][1]
    assert isinstance(way_of(state, "mac-1"), Way)


def test_memory_that_another_runtime_needed_says_nothing_and_a_load_without_a_figure_hides_none() -> None:
    mac, linux = facts("Apple M1", 8), replace(facts("Linux", 0), runtime="portable")
    state = joined(mac, linux)
    tell(state, "mac-1", Measurement("sha256:split", ComputeUnit.CPU_ONLY, peak_memory_bytes=12 * GIB))
    assert state.rates.peak_memory("coreml", "sha256:split", ANE) == 0
    tell(state, "mac-0", Measurement("sha256:split", GPU, peak_memory_bytes=5 * GIB))
    tell(state, "mac-0", Measurement("sha256:split", ANE, load_seconds=100.0))
    assert state.rates.peak_memory("coreml", "sha256:split", ANE) == 5 * GIB


def test_a_job_that_fits_no_memory_is_infeasible_with_the_figures() -> None:
    state = joined(replace(facts("Apple M1", 8, SPLIT), memory_bytes=8 * GIB))
    tell(state, "mac-0", Measurement("sha256:split", ANE, peak_memory_bytes=12 * GIB))
    (lack,) = missing(state.rates, KIND, known_workers(state))
    assert lack == ("mac-0 has 8 GB of memory, of which a model may take 6.0 GB; shapes was measured to need 12.0 GB")


@pytest.mark.parametrize(("peak", "fits"), [(6 * GIB, True), (6 * GIB + 1, False), (7.9 * GIB, False)])
def test_a_model_may_take_three_quarters_of_a_machines_memory(peak: float, fits: bool) -> None:
    state = joined(replace(facts("Apple M1", 8), memory_bytes=8 * GIB))
    for digest in ("sha256:split", "sha256:original"):
        tell(state, "mac-0", Measurement(digest, ANE, peak_memory_bytes=int(peak)))
    assert isinstance(way_of(state), Way) is fits


def test_a_machine_whose_memory_is_not_known_is_given_the_doubt() -> None:
    state = joined(replace(facts("Apple M1", 8), memory_bytes=0))
    tell(state, "mac-0", Measurement("sha256:split", ANE, peak_memory_bytes=12 * GIB))
    assert isinstance(way_of(state), Way)


def test_memory_alone_leaves_what_was_timed_and_never_falls() -> None:
    timed = Measurement("sha256:split", ANE, 0.4, 0.6, 15.0, 100.0, 2 * GIB)
    machine = facts("Apple M1", 8).with_measurement(timed)
    for peak, expected in ((3 * GIB, 3 * GIB), (GIB, 3 * GIB)):
        machine = machine.with_measurement(Measurement("sha256:split", ANE, peak_memory_bytes=peak))
        assert machine.measurements == (replace(timed, peak_memory_bytes=expected),)


def test_a_worker_that_joins_again_with_what_it_told_teaches_nothing_twice() -> None:
    state = joined(facts("Apple M1", 8))
    measured = Measurement("sha256:split", ANE, 0.4, 0.6, 15.0)
    tell(state, "mac-0", measured)
    learned = repr(state.rates)
    apply(state, ev.WorkerJoined("mac-0", 1.0, facts("Apple M1", 8).with_measurement(measured)))
    assert repr(state.rates) == learned


def test_a_hot_machine_that_says_again_what_it_measured_when_cold_is_priced_as_hot() -> None:
    """It says so whenever it joins, and whenever its models change."""
    cold = Measurement("sha256:split", ANE, 0.4, 0.6, 15.0)
    machine = facts("Apple M1", 8).with_measurement(cold)
    state = joined(machine)
    for _ in range(30):
        state.rates.learn("mac-0", machine, Sample("sha256:split", ANE, 20, 2.5 * (0.6 + 20 * 0.4)))
    hot = state.rates.relative_speed("mac-0")
    assert hot < 0.5

    restarted = decode(encode(state))
    apply(restarted, ev.WorkerJoined("mac-0", 1.0, machine))
    apply(restarted, ev.WorkerChanged("mac-0", replace(machine, labels={"room": "b"})))
    apply(restarted, ev.WorkerChanged("mac-0", machine.with_measurement(replace(cold, peak_memory_bytes=GIB))))
    assert restarted.rates.relative_speed("mac-0") == hot
    assert restarted.rates.peak_memory("coreml", "sha256:split", ANE) == GIB

    apply(restarted, ev.WorkerChanged("mac-0", machine.with_measurement(replace(cold, seconds_per_step=0.5))))
    assert restarted.rates.relative_speed("mac-0") > hot


def test_a_trial_that_is_under_way_changes_nothing_and_a_stranger_measures_nothing() -> None:
    state = joined(facts("Apple M1", 8))
    assert list(judge(state, 0.0, "mac-0", TrialReport("sha256:split", ANE, Stage.DENOISE, 1, 9))) == []
    apply(state, ev.WorkerDrained("stranger", 0.0, now=False))
    with pytest.raises(WrongStateError, match="has not joined"):
        tell(state, "stranger", Measurement("sha256:split", ANE, 0.4))


def test_all_is_only_for_those_who_ask_for_it() -> None:
    machine = facts("Apple M1", 8, ORIGINAL)
    assert isinstance(fit(joined(machine).rates, KIND, machine), Way)
    pinned = kind_of(job_spec(pin=replace(job_spec().pin, compute_unit=ComputeUnit.ALL)))
    way = fit(joined(machine).rates, pinned, machine)
    assert isinstance(way, Way)
    assert (way.compute_unit, way.offer.attention) == (ComputeUnit.ALL, AttentionVariant.ORIGINAL)


def test_a_worker_that_got_a_model_can_render_its_jobs_and_one_that_lost_it_cannot() -> None:
    machine = facts("Apple M2 Pro", 19)
    state = joined(replace(machine, offers=()))
    assert isinstance(way_of(state), Unfit)

    for event in judge(state, 0.0, "mac-0", FactsReport(machine)):
        apply(state, event)
    assert isinstance(way_of(state), Way)
    assert state.is_stale

    apply(state, ev.WorkerChanged("mac-0", replace(machine, offers=())))
    assert isinstance(way_of(state), Unfit)


def test_what_changed_of_a_worker_that_never_joined_is_refused() -> None:
    state = FarmState()
    apply(state, ev.WorkerDrained("mac-0", 0.0, now=False))
    with pytest.raises(WrongStateError, match="has not joined"):
        apply(state, ev.WorkerChanged("mac-0", facts("Apple M2 Pro", 19)))
