"""What loading and compiling cost, how that is learned, and what it does to placement."""

from dataclasses import replace

import pytest

from farm.coordinator.learned import decode, encode
from farm.domain import AttentionVariant, ComputeUnit, Measurement, ModelOffer, Resident, WorkerFacts
from farm.scheduler import events as ev
from farm.scheduler.chips import COMPILE_SECONDS, LOAD_SECONDS
from farm.scheduler.cost import LONGEST_FIRST_LOAD, Rates, Sample
from farm.scheduler.fitting import fit
from farm.scheduler.plan import Way
from farm.scheduler.running import running_tasks
from farm.scheduler.state import kind_of
from farm.scheduler.transitions import apply
from tests.builders import job_spec
from tests.scheduler.farms import Farm, facts

ANE, GPU, CPU = ComputeUnit.CPU_AND_NE, ComputeUnit.CPU_AND_GPU, ComputeUnit.CPU_ONLY
SPLIT = ModelOffer("shapes", AttentionVariant.SPLIT_EINSUM, "sha256:split", 64, 64)
PRIOR = LOAD_SECONDS[ANE]
FIRST_PRIOR = LOAD_SECONDS[ANE] + COMPILE_SECONDS[ANE]


def mac(chip: str = "Apple M1", gpu_cores: int = 8) -> WorkerFacts:
    return replace(facts({}), chip=chip, gpu_cores=gpu_cores, compute_units=(ANE,), offers=(SPLIT,))


def load(seconds: float) -> Measurement:
    """What is told after a load for rendering."""
    return Measurement("sha256:split", ANE, load_seconds=seconds)


class Macs:
    """Macs that load the same variant, and what is learned of it."""

    def __init__(self) -> None:
        self.rates = Rates()
        self.known: dict[str, WorkerFacts] = {}

    def load(self, worker_id: str, *seconds: float, machine: WorkerFacts | None = None) -> None:
        known = self.known.setdefault(worker_id, machine or mac())
        for one in seconds:
            known = self.known[worker_id] = known.with_measurement(load(one))
            self.rates.measure(worker_id, known, known.measured("sha256:split", ANE))

    def price(self, worker_id: str, machine: WorkerFacts | None = None) -> float:
        return self.rates.load_seconds(self.known.get(worker_id, machine or mac()), SPLIT, ANE)


@pytest.mark.parametrize(
    ("told", "load_seconds", "first_load_seconds"),
    [
        ((), 0.0, 0.0),
        ((load(120.0),), 0.0, 120.0),
        ((load(120.0), load(15.0)), 15.0, 120.0),
        ((load(120.0), load(15.0), load(20.0)), 20.0, 120.0),
        ((load(15.0), load(20.0)), 20.0, 20.0),
        ((Measurement("sha256:split", ANE, 0.4, 0.6, 15.0, 105.0), load(16.0)), 16.0, 120.0),
        ((load(120.0), Measurement("sha256:split", ANE, 0.4, 0.6, 15.0, 0.2)), 15.0, 120.0),
        ((Measurement("sha256:split", ANE, peak_memory_bytes=1), load(15.0)), 15.0, 15.0),
    ],
)
def test_a_machines_first_load_includes_the_compilation_and_the_next_one_tells_them_apart(
    told: tuple[Measurement, ...], load_seconds: float, first_load_seconds: float
) -> None:
    known = mac()
    for one in told:
        known = known.with_measurement(one)
    measured = known.measured("sha256:split", ANE)
    assert (measured.load_seconds, measured.first_load_seconds) == pytest.approx((load_seconds, first_load_seconds))
    assert len(known.measurements) == min(len(told), 1)


def test_before_a_machine_has_loaded_a_variant_it_is_thought_to_compile_it() -> None:
    macs = Macs()
    assert macs.price("new") == FIRST_PRIOR
    macs.load("a", 80.0)
    assert macs.price("new") == 80.0, "as it took on its like"
    assert macs.price("a") == PRIOR, "it has compiled, and how long it loads since is not known"
    macs.load("a", 5.0)
    assert (macs.price("new"), macs.price("a")) == (80.0, 5.0)
    macs.load("small", 2.0)
    macs.load("small", 1.0)
    assert macs.price("other chip", mac("Apple M2", 10)) == pytest.approx((80.0 + 2.0) / 2)


def test_a_variant_whose_first_load_is_short_is_not_thought_to_load_for_longer() -> None:
    macs = Macs()
    macs.load("a", 2.0)
    assert macs.price("a") == 2.0


def test_a_first_load_that_took_very_long_is_not_believed_before_a_second_one() -> None:
    macs = Macs()
    macs.load("a", 1700.0)
    assert macs.price("new") == LONGEST_FIRST_LOAD
    macs.load("b", 1500.0)
    assert macs.price("new") == 1600.0


def test_one_load_that_is_far_off_changes_nothing_and_three_are_a_change() -> None:
    macs = Macs()
    macs.load("a", 100.0, 9.0, 10.0, 11.0, 90.0)
    assert macs.price("a") == pytest.approx(10.5)
    macs.load("a", 91.0, 92.0)
    assert macs.price("a") == 90.0


def test_what_was_learned_of_loads_outlives_the_coordinator_and_is_not_learned_twice() -> None:
    farm = Farm()
    farm.join("w", mac())
    for seconds in (100.0, 10.0, 12.0):
        apply(farm.state, ev.VariantMeasured("w", load(seconds)))
    known = farm.state.workers["w"].facts
    assert known is not None
    restarted = decode(encode(farm.state))
    learned = repr(restarted.rates)
    apply(restarted, ev.WorkerJoined("w", 1.0, known))
    assert repr(restarted.rates) == learned
    assert restarted.rates.load_seconds(known, SPLIT, ANE) == 11.0
    assert restarted.rates.load_seconds(mac(), SPLIT, ANE) == 100.0


def test_memory_of_a_machine_that_told_no_load_teaches_nothing_of_loads() -> None:
    """As a worker tells whose file of measurements was deleted while it had the model loaded."""
    farm = Farm()
    farm.join("w", mac())
    apply(farm.state, ev.VariantMeasured("w", load(100.0)))
    told = mac().with_measurement(Measurement("sha256:split", ANE, peak_memory_bytes=1))
    apply(farm.state, ev.WorkerChanged("w", told))
    assert farm.state.rates.load_seconds(mac(), SPLIT, ANE) == 100.0


def test_what_is_loaded_for_another_unit_or_in_another_size_must_be_loaded_again() -> None:
    farm = Farm()
    farm.join("w", mac())
    way = fit(farm.state.rates, kind_of(job_spec()), mac())
    assert isinstance(way, Way)
    for resident, is_loaded in (
        (Resident("shapes", "sha256:split", ANE), True),
        (Resident("shapes", "sha256:split", GPU), False),
        (Resident("shapes", "sha256:of another size", ANE), False),
    ):
        apply(farm.state, ev.ResidentsChanged("w", farm.now, (resident,)))
        (group,) = farm.state.groups.values()
        assert group.load_seconds(way) == (0.0 if is_loaded else FIRST_PRIOR)


def machine(seconds: float, load_seconds: float, compile_seconds: float = 0.0) -> WorkerFacts:
    """Renders an image of "a" in so many seconds, has loaded it before, and takes so long to load it."""
    known = facts({"a": seconds})
    (measured,) = known.measurements
    return replace(known, measurements=(replace(measured, load_seconds=load_seconds, compile_seconds=compile_seconds),))


def test_a_few_images_go_to_a_machine_that_has_compiled_the_model_rather_than_to_a_quicker_one_that_has_not() -> None:
    for images, worker_id in ((1, "compiled"), (400, "quick")):
        farm = Farm()
        farm.join("compiled", machine(4.0, 1.0, 100.0))
        new = machine(2.0, 1.0)
        farm.join("quick", replace(new, measurements=(replace(new.measurements[0], load_seconds=0.0),)))
        farm.submit("j", "a", images)
        farm.decide()
        assert "j" in farm.jobs_of(worker_id), images
    assert farm.jobs_of("compiled") == {"j"}, "of many images both have some"


def test_a_machine_that_has_just_the_variant_loaded_takes_over_from_one_that_would_compile_for_minutes() -> None:
    farm = Farm()
    farm.join("compiling", machine(1.0, 300.0))
    farm.submit("j", "a", 1)
    assert [started.worker_id for started in farm.decide()] == ["compiling"]
    farm.join("loaded", replace(machine(20.0, 300.0), chip="another"))
    apply(farm.state, ev.ResidentsChanged("loaded", farm.now, (Resident("a", "sha256:a", CPU),)))
    farm.pass_time(1.0)
    assert [started.worker_id for started in farm.decide()] == ["loaded"]


def test_the_time_that_a_machine_has_spent_on_loading_is_not_held_against_its_first_image() -> None:
    farm = Farm()
    farm.join("w", machine(1.0, 300.0))
    farm.submit("j", "a", 1)
    farm.decide()
    for _ in range(60):
        farm.pass_time(5.0)
    farm.load("w")
    farm.join("idle", replace(machine(0.95, 300.0), chip="another"))
    apply(farm.state, ev.ResidentsChanged("idle", farm.now, (Resident("a", "sha256:a", CPU),)))
    assert farm.decide() == [], "it is about to bring the image itself"
    farm.pass_time(5.0)
    assert [started.worker_id for started in farm.decide()] == ["idle"], "it was not"


def test_a_load_that_takes_longer_than_it_should_says_nothing_of_the_images_that_follow() -> None:
    farm = Farm()
    farm.join("w", machine(1.0, 15.0))
    farm.submit("j", "a", 40)
    farm.decide()
    for _ in range(28):
        farm.pass_time(5.0)
        farm.decide()
    assert farm.state.plan is not None
    first = running_tasks(farm.state, farm.state.plan.ways, farm.now)[-1]
    images = len(farm.state.attempt(first.key).task.remaining)
    assert images > 5
    assert first.finish - farm.now == pytest.approx(140.0 + images, abs=2.0)


def test_what_is_loaded_being_said_again_does_not_hide_that_an_image_takes_too_long() -> None:
    farm = Farm()
    farm.join("w", machine(1.0, 15.0))
    farm.submit("j", "a", 1)
    farm.decide()
    farm.load("w")
    for _ in range(20):
        farm.pass_time(5.0)
        farm.load("w")
    farm.join("idle", replace(machine(2.0, 15.0), chip="another"))
    assert [started.worker_id for started in farm.decide()] == ["idle"]


def test_nothing_waits_behind_a_load_that_takes_longer_than_a_task() -> None:
    for load_seconds, tasks in ((20.0, 2), (300.0, 1)):
        farm = Farm()
        farm.join("w", machine(5.0, load_seconds))
        farm.submit("j", "a", 40)
        assert len(farm.decide()) == tasks, load_seconds
        farm.load("w")
        farm.decide()
        assert len(farm.jobs_of("w")) == 1
        assert len(farm.started) == 2, "it is never without a next task while it renders"


def test_a_model_that_nobody_has_loaded_goes_to_the_machine_that_loads_it_soonest() -> None:
    farm = Farm()
    for worker_id, seconds, load_seconds in (("slow to load", 9.0, 300.0), ("quick to load", 10.0, 40.0)):
        known = facts({"a": seconds, "b": 10.0})
        first, second = known.measurements
        farm.join(worker_id, replace(known, measurements=(replace(first, load_seconds=load_seconds), second)))
        apply(farm.state, ev.ResidentsChanged(worker_id, 0.0, (Resident("b", "sha256:b", CPU),)))
    farm.submit("new", "a", 3)
    farm.submit("old", "b", 3)
    first_jobs = {started.worker_id: started.job_id for started in reversed(farm.decide())}
    assert first_jobs == {"slow to load": "old", "quick to load": "new"}


def test_images_teach_what_they_take_beside_their_steps() -> None:
    rates, mine = Rates(), mac()
    for _ in range(3):
        rates.learn("w", mine, Sample("sha256:split", ANE, 20, 14.0, denoise_seconds=10.0))
    estimate = rates.estimate(mine, SPLIT, ANE)
    assert (estimate.seconds_per_step, estimate.fixed_seconds) == pytest.approx((0.5, 4.0), rel=0.01)
    assert estimate.seconds(4) == pytest.approx(4 * 0.5 + 4.0, rel=0.01)


def test_what_a_model_weighs_on_other_chips_follows_what_is_learned_of_it_on_the_first() -> None:
    """Its first image there paid for cold caches; that must not stay the price of all other chips."""
    rates, other = Rates(), mac("Apple M2", 10)
    rates.learn("w", mac(), Sample("sha256:split", ANE, 20, 60.0))
    dear = rates.estimate(other, SPLIT, ANE).seconds(20)
    for _ in range(10):
        rates.learn("w", mac(), Sample("sha256:split", ANE, 20, 10.0))
    assert rates.estimate(other, SPLIT, ANE).seconds(20) == pytest.approx(dear / 6, rel=0.15)
