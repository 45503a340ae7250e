"""The prior against every pair of figures that was published of one machine, on its GPU and on its Neural Engine."""

from dataclasses import dataclass, replace

import pytest

from farm.domain import FAVOURED, AttentionVariant, ChipClass, ComputeUnit, Measurement, ModelOffer, WorkerFacts
from farm.scheduler.chips import prior_seconds
from farm.scheduler.cost import Rates
from farm.scheduler.fitting import fit
from farm.scheduler.plan import Way
from farm.scheduler.state import kind_of
from tests.builders import job_spec

GPU, ANE = ComputeUnit.CPU_AND_GPU, ComputeUnit.CPU_AND_NE
ORIGINAL = ModelOffer("shapes", AttentionVariant.ORIGINAL, "sha256:original", 64, 64)
SPLIT = ModelOffer("shapes", AttentionVariant.SPLIT_EINSUM, "sha256:split", 64, 64)


@dataclass(frozen=True)
class Pair:
    """What one machine took: ORIGINAL on its GPU, SPLIT_EINSUM on its Neural Engine; seconds, or as `source` says."""

    chip: str
    gpu_cores: int
    model: str
    on_gpu: float
    on_ane: float
    source: str

    @property
    def faster(self) -> ComputeUnit:
        return GPU if self.on_gpu < self.on_ane else ANE


BLOG = "Hugging Face blog, fast-mac-diffusers: 25 steps, 512x512"
ISSUE = "huggingface/swift-coreml-diffusers#31: 25 steps, 512x512; means"
PAIRS = [
    Pair("Apple M1", 8, "sd-1.5", 32.9, 18.8, f"{BLOG}; 8 GB"),
    Pair("Apple M1", 8, "sd-1.5", 32.8, 18.7, f"{BLOG}; 16 GB"),
    Pair("Apple M2", 8, "sd-1.5", 21.9, 13.1, BLOG),
    Pair("Apple M1 Max", 32, "sd-1.5", 9.0, 20.4, BLOG),
    Pair("Apple M1", 8, "sd-2-base", 30.2, 14.5, f"{BLOG}; 8 GB"),
    Pair("Apple M1", 8, "sd-2-base", 30.2, 14.4, f"{BLOG}; 16 GB"),
    Pair("Apple M2", 8, "sd-2-base", 19.4, 10.5, BLOG),
    Pair("Apple M1 Max", 32, "sd-2-base", 8.3, 15.3, BLOG),
    Pair("Apple M1", 8, "sd-2.1-base", 29.6, 14.3, f"{BLOG}; 8 GB"),
    Pair("Apple M1", 8, "sd-2.1-base", 29.4, 14.3, f"{BLOG}; 16 GB"),
    Pair("Apple M2", 8, "sd-2.1-base", 19.5, 10.5, BLOG),
    Pair("Apple M1 Max", 32, "sd-2.1-base", 8.3, 15.3, BLOG),
    Pair("Apple M1", 8, "small-sd", 22.1, 12.3, f"{BLOG}; 8 GB"),
    Pair("Apple M1", 8, "small-sd", 22.5, 12.7, f"{BLOG}; 16 GB"),
    Pair("Apple M2", 8, "small-sd", 14.5, 9.1, BLOG),
    Pair("Apple M1 Max", 32, "small-sd", 6.3, 13.2, BLOG),
    Pair("Apple M2 Ultra", 76, "sd-2-base", 4.13, 10.0, ISSUE),
    Pair("Apple M1 Max", 24, "sd-2.1-base", 1 / 2.7, 1 / 1.8, "TheMurusTeam/PromptToImage: a step; 24 or 32 cores"),
    Pair("Apple M3", 8, "sd-2.1", 1.79, 1.0, "aszc-dev/ComfyUI-CoreMLSuite#18: ratio only; MacBook Air, 8 or 10 cores"),
    Pair("Apple M3 Ultra", 60, "sd-turbo", 0.0532, 0.3294, "arXiv 2605.16259: a step; its ANE run was of ORIGINAL"),
    Pair("Apple M1 Pro", 16, "sd-2-base", 13.77, 15.27, ISSUE),
    Pair("Apple M2 Pro", 16, "sd-1.5", 0.4466, 0.3993, "aszc-dev/coreml-diffusion-benchmarks: a step, coremltools 9"),
]


def facts(chip: str, gpu_cores: int, *offers: ModelOffer) -> WorkerFacts:
    return WorkerFacts(
        chip=chip,
        chip_class=ChipClass.favoured(gpu_cores),
        gpu_cores=gpu_cores,
        performance_cores=4,
        has_ane=True,
        memory_bytes=16 << 30,
        os="macOS",
        runtime="coreml",
        compute_units=(ANE, GPU, ComputeUnit.ALL, ComputeUnit.CPU_ONLY),
        offers=offers or (ORIGINAL, SPLIT),
        version="0",
    )


def chosen(machine: WorkerFacts) -> tuple[ComputeUnit, AttentionVariant]:
    way = fit(Rates(), kind_of(job_spec()), machine)
    assert isinstance(way, Way)
    return way.compute_unit, way.offer.attention


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair.chip} {pair.gpu_cores} {pair.model} {pair.on_gpu:.2f}")
def test_the_prior_chooses_what_was_published_as_faster_or_says_that_it_must_be_measured(pair: Pair) -> None:
    machine = facts(pair.chip, pair.gpu_cores)
    if ChipClass.is_between(pair.gpu_cores):
        assert chosen(machine)[0] is ANE  # for its energy: the two are within a fifth of each other
        assert 0.8 < pair.on_ane / pair.on_gpu < 1.25
        return
    assert chosen(machine)[0] is pair.faster
    seconds = {GPU: prior_seconds(machine, GPU, ORIGINAL), ANE: prior_seconds(machine, ANE, SPLIT)}
    assert min(seconds, key=lambda unit: seconds[unit]) is pair.faster


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair.chip} {pair.gpu_cores} {pair.model} {pair.on_gpu:.2f}")
def test_trials_of_the_favoured_unit_first_lead_to_the_faster_one_and_not_astray_in_between(pair: Pair) -> None:
    machine, rates = facts(pair.chip, pair.gpu_cores), Rates()
    trials = {ANE: Measurement(SPLIT.digest, ANE, pair.on_ane), GPU: Measurement(ORIGINAL.digest, GPU, pair.on_gpu)}
    favoured = FAVOURED[machine.chip_class]
    for unit in sorted(trials, key=lambda unit: unit is not favoured):
        machine = machine.with_measurement(trials[unit])
        rates.calibrate("w", machine)
        way = fit(rates, kind_of(job_spec()), machine)
        assert isinstance(way, Way)
        assert way.compute_unit is (favoured if len(machine.measurements) == 1 else pair.faster)


def test_pairs_stand_on_both_sides_of_the_band_and_in_it() -> None:
    outside = {pair.faster for pair in PAIRS if not ChipClass.is_between(pair.gpu_cores)}
    assert outside == {ANE, GPU}
    assert {pair.faster for pair in PAIRS if ChipClass.is_between(pair.gpu_cores)} == {ANE, GPU}


@pytest.mark.parametrize("generation", range(1, 8))
@pytest.mark.parametrize("gpu_cores", [7, 10, 14, 15, 20, 23, 24, 40, 80])
def test_the_class_decides_on_every_chip_of_which_nothing_was_measured(generation: int, gpu_cores: int) -> None:
    unit, attention = chosen(facts(f"Apple M{generation}", gpu_cores))
    assert unit is (GPU if gpu_cores >= 24 else ANE)
    assert attention is (AttentionVariant.ORIGINAL if unit is GPU else AttentionVariant.SPLIT_EINSUM)


def test_a_model_without_split_attention_goes_to_the_gpu_also_where_the_neural_engine_is_favoured() -> None:
    assert chosen(facts("Apple M1", 8, ORIGINAL)) == (GPU, AttentionVariant.ORIGINAL)


@pytest.mark.parametrize("chip", ["Apple M0", f"Apple M{'9' * 5000}", "Apple M\u0663", "Apple A18 Pro", "M", ""])
def test_a_chip_whose_name_says_nothing_known_has_a_price_all_the_same(chip: str) -> None:
    machine = replace(facts("Apple M1", 8), chip=chip)
    assert all(prior_seconds(machine, unit, SPLIT) > 0 for unit in ComputeUnit)
