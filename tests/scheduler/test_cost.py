import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.domain import AttentionVariant, ChipClass, ComputeUnit, Measurement, ModelOffer, WorkerFacts
from farm.scheduler.cost import UNSURE, Rates, Sample
from farm.scheduler.fitting import fit
from farm.scheduler.plan import Way
from farm.scheduler.state import kind_of
from tests.builders import job_spec, worker_facts

GPU, ANE, CPU = ComputeUnit.CPU_AND_GPU, ComputeUnit.CPU_AND_NE, ComputeUnit.CPU_ONLY
FAST = ModelOffer("shapes", AttentionVariant.ORIGINAL, "sha256:original", 64, 64)
SPLIT = ModelOffer("shapes", AttentionVariant.SPLIT_EINSUM, "sha256:split", 64, 64)


def mac(chip: str, gpu_cores: int, *measurements: Measurement) -> WorkerFacts:
    return WorkerFacts(
        chip=chip,
        chip_class=ChipClass.favoured(gpu_cores),
        gpu_cores=gpu_cores,
        performance_cores=4,
        has_ane=True,
        memory_bytes=16 << 30,
        os="macOS",
        runtime="coreml",
        compute_units=(GPU, ANE),
        offers=(FAST, SPLIT),
        version="0",
        measurements=measurements,
    )


def learned(samples: list[float], rates: Rates | None = None) -> float:
    """What one image is thought to take on a worker that rendered these."""
    rates, facts = rates or Rates(), worker_facts()
    for seconds in samples:
        rates.learn("w", facts, Sample("sha256:original", CPU, 4, seconds))
    return rates.estimate(facts, FAST, CPU, rates.paces["w"].mean).seconds(4)


def test_a_calibration_overrules_the_prior() -> None:
    facts = mac(
        "Apple M1 Max",
        32,
        Measurement("sha256:original", GPU, 2.0, 1.0, 5.0),
        Measurement("sha256:split", ANE, 0.5, 1.0, 20.0),
    )
    rates = Rates()
    rates.calibrate("w", facts)
    way = fit(rates, kind_of(job_spec()), facts)
    assert isinstance(way, Way)
    assert (way.compute_unit, way.load_seconds) == (ANE, 20.0)
    assert way.seconds == pytest.approx(1.0 + 4 * 0.5, rel=0.05)
    assert way.deviation < UNSURE


def test_the_first_image_of_a_model_on_one_chip_teaches_what_it_costs_on_another() -> None:
    rates, small, large = Rates(), mac("Apple M1", 8), mac("Apple M1 Max", 32)
    before = rates.estimate(large, FAST, GPU).seconds(4)
    prior_ratio = before / rates.estimate(small, FAST, GPU).seconds(4)
    rates.learn("w", small, Sample("sha256:original", GPU, 4, 40.0))
    assert rates.estimate(large, FAST, GPU).seconds(4) == pytest.approx(40.0 * prior_ratio, rel=0.1)
    assert rates.estimate(large, FAST, GPU).deviation < rates_deviation_of_nothing_known()


def rates_deviation_of_nothing_known() -> float:
    return Rates().estimate(mac("Apple M1", 8), FAST, GPU).deviation


@given(st.floats(1e-3, 1e4), st.integers(3, 30))
def test_what_was_seen_is_what_is_estimated(seconds: float, count: int) -> None:
    assert learned([seconds] * count) == pytest.approx(seconds, rel=0.02)


@given(st.sampled_from([0.01, 0.1, 10.0, 100.0]))
def test_one_image_that_is_far_off_hardly_counts(factor: float) -> None:
    assert learned([10.0] * 20 + [10.0 * factor]) == pytest.approx(10.0, rel=0.15)


@given(st.sampled_from([0.1, 0.5, 2.5, 10.0]))
def test_a_machine_that_slows_or_recovers_is_priced_as_it_is_after_a_few_images(factor: float) -> None:
    assert learned([10.0] * 20 + [10.0 * factor] * 5) == pytest.approx(10.0 * factor, rel=0.15)


def test_noise_is_smoothed() -> None:
    chance = random.Random(0)
    seen = [10.0 * math.exp(chance.gauss(0, 0.03)) for _ in range(200)]
    assert learned(seen) == pytest.approx(10.0, rel=0.03)


def test_a_machine_that_slows_down_is_known_to_be_slower_than_its_like() -> None:
    rates, facts = Rates(), worker_facts()
    for seconds in [1.0] * 20 + [2.0] * 10:
        for worker_id, factor in (("healthy", 1.0), ("hot", seconds)):
            rates.learn(worker_id, facts, Sample("sha256:original", CPU, 4, factor))
    assert rates.relative_speed("healthy") == pytest.approx(1.0, rel=0.1)
    assert rates.relative_speed("hot") == pytest.approx(0.5, rel=0.1)
    assert rates.relative_speed("new") == 1.0


def test_a_first_image_that_is_far_off_prices_neither_its_chip_nor_its_machine_for_long() -> None:
    """Whoever renders a variant first pays for cold caches; the others of its chip do not."""
    for images in ([20.0] + [10.0] * 10, [5.0] + [10.0] * 10, [10.0, 20.0] + [10.0] * 10):
        rates, facts = Rates(), worker_facts()
        for seconds in images:
            rates.learn("w", facts, Sample("sha256:original", CPU, 4, seconds))
        assert rates.estimate(facts, FAST, CPU).seconds(4) == pytest.approx(10.0, rel=0.15), images
        assert rates.relative_speed("w") == pytest.approx(1.0, rel=0.15), images


def test_what_an_image_takes_beside_its_steps_is_each_chips_own() -> None:
    large = mac("Apple M1 Max", 32, Measurement("sha256:original", GPU, 1.0, 1.0, 5.0))
    small = mac("Apple M1", 8, Measurement("sha256:original", GPU, 4.0, 16.0, 5.0))
    rates = Rates()
    for worker_id, machine in (("large", large), ("small", small)):
        rates.calibrate(worker_id, machine)
    assert rates.estimate(large, FAST, GPU).seconds(4) == pytest.approx(1.0 + 4 * 1.0, rel=0.02)
    assert rates.estimate(small, FAST, GPU).seconds(4) == pytest.approx(16.0 + 4 * 4.0, rel=0.02)
    other = rates.estimate(mac("Apple M2", 10), FAST, GPU)
    between = other.fixed_seconds / other.seconds_per_step
    assert between == pytest.approx((1.0 + 4.0) / 2), "that of both, as nothing better is known"
