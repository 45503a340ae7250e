"""What an image costs on a worker, and how sure that is.

Logarithms of the seconds of a step are sums. Where a variant was never measured on a chip, they are the chip's
published prior plus what its model was found to weigh on other chips (SDXL is heavier than its pixels say): the first
image of a new model on any Mac teaches what it costs on all of them. Once it was measured there, by calibration or by
an image, that figure stands instead, plus the pace of the one machine, and every further image moves both, each by its
share of the uncertainty (a Kalman filter that neglects their correlation).

A machine's pace is allowed to drift: one that slows by heat is priced as it is now. A single image that is far off
hardly counts; a second one in a row is a change, and is believed at once. A change is the machine's own; but while few
images of a variant were seen on its chip, the first ones are taken for the exceptions.

What an image takes beside its steps and what loading takes, with and without compilation, is learned from calibrations,
images and loads alike: the median of the newest few stands, as they are too rare and too uneven for more.
"""

import math
from dataclasses import dataclass, field

from farm.domain import ComputeUnit, Measurement, ModelOffer, WorkerFacts
from farm.scheduler.chips import COMPILE_SECONDS, LOAD_SECONDS, prior_seconds

FIXED_STEPS = 1.5
"""What an image takes beside its steps, in steps: 1.1 to 2.2 on the machines of Apple's README (seconds an image less
steps over iterations a second); the same chip does both."""

MODEL_VARIANCE = 3.0**2
"""A model may be twenty times lighter or heavier than Stable Diffusion 1.5, one deviation."""

CHIP_VARIANCE = 0.3**2
"""How far the table of chips is off, one deviation: 30 %."""

PACE_VARIANCE = 0.05**2
"""How far two machines with the same chip differ."""

NOISE_VARIANCE = 0.04**2
"""How far two images on the same machine differ."""

DRIFT_VARIANCE = 0.01**2
"""How far a machine's pace moves from image to image."""

SURPRISE = 3.0
"""Deviations beyond which an image is taken for an exception, unless the next one is, too."""

PACE_BUCKET = 0.05
"""Machines whose pace agrees within 5 % are one rate group."""

SEVERAL = 5
"""Images of a variant on a chip from which their price stands, as that of a calibration does at once."""

LONGEST_FIRST_LOAD = 600.0
"""A single first load is believed to be typical up to so many seconds, or an odd one keeps all other machines from
trying. Published reports go from 10 s to ten minutes, for SDXL on the Neural Engine (cards of coreml-community)."""

NEWEST = 5
"""Of loads and of images' fixed parts, so many are remembered."""

UNSURE = 0.25
"""Relative deviation from which an estimate is no base for a long task: nothing was measured yet."""


@dataclass(slots=True)
class Belief:
    """A logarithm of seconds, or an offset of one: what is believed, and its variance."""

    variance: float
    mean: float = 0.0

    def move(self, error: float, total_variance: float) -> None:
        """Takes its share of an error that all beliefs together, and noise, have made."""
        gain = self.variance / total_variance
        self.mean += gain * error
        self.variance *= 1 - gain


@dataclass(slots=True)
class Price(Belief):
    """Seconds of a step of a variant on a chip, and how many images were seen of it; `SEVERAL` for a calibration."""

    count: int = SEVERAL


@dataclass(slots=True)
class Weight:
    """How much heavier a model is than its pixels say: the mean logarithm over the chips where it was measured."""

    mean: float = 0.0
    count: int = 0

    def take(self, value: float) -> None:
        """Takes one more chip into the mean."""
        self.count += 1
        self.mean += (value - self.mean) / self.count

    def correct(self, change: float) -> None:
        """Moves with what is believed of one of the chips."""
        self.mean += change / max(self.count, 1)


@dataclass(slots=True)
class Pace(Belief):
    """How much slower one machine is than its like; `surprise` is the sign of the last image if that was far off."""

    surprise: int = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an image is thought to take on a rate group.

    Attributes:
        seconds_per_step: One denoising step, which evaluates the UNet once.
        fixed_seconds: The rest of the image.
        deviation: Relative standard deviation of both together.
    """

    seconds_per_step: float
    fixed_seconds: float
    deviation: float

    def seconds(self, steps: int) -> float:
        """Seconds an image of so many steps takes."""
        return self.fixed_seconds + steps * self.seconds_per_step


@dataclass(frozen=True, slots=True)
class Sample:
    """What one image took.

    Attributes:
        digest: Of the variant.
        compute_unit: Where it was rendered.
        steps: Evaluations of the UNet.
        seconds: From its start to its decoded pixels.
        denoise_seconds: The part of its steps; 0 where that was not told.
    """

    digest: str
    compute_unit: ComputeUnit
    steps: int
    seconds: float
    denoise_seconds: float = 0.0


ModelKey = tuple[str, int, int]
VariantKey = tuple[str, int, str, ComputeUnit]
UseKey = tuple[str, ComputeUnit]


@dataclass(slots=True)
class Recent:
    """The newest of what was seen of one thing, and their median, which no exception moves, but a change of three."""

    seen: list[float] = field(default_factory=list)
    value: float = 0.0

    def take(self, value: float) -> None:
        """Takes one more in, in place of the oldest."""
        self.seen = [*self.seen[1 - NEWEST :], value]
        ordered, middle = sorted(self.seen), len(self.seen) // 2
        self.value = (ordered[middle] + ordered[~middle]) / 2


@dataclass(slots=True)
class Seen:
    """What was seen of one part of the cost of variants on compute units.

    Attributes:
        on_chip: By chip, GPU cores, digest and compute unit.
        anywhere: By digest and compute unit, for chips where it was not seen.
    """

    on_chip: dict[VariantKey, Recent] = field(default_factory=dict)
    anywhere: dict[UseKey, Recent] = field(default_factory=dict)

    def take(self, key: VariantKey, value: float) -> None:
        """Takes one more in."""
        self.on_chip.setdefault(key, Recent()).take(value)
        self.anywhere.setdefault(key[2:], Recent()).take(value)

    def get(self, key: VariantKey) -> float | None:
        """What is to be expected there; None if it was seen nowhere."""
        found = self.on_chip.get(key) or self.anywhere.get(key[2:])
        return None if found is None else found.value

    def is_single(self, key: VariantKey) -> bool:
        """Whether that rests on a single case, which may be an exception."""
        found = self.on_chip.get(key) or self.anywhere.get(key[2:])
        return found is not None and len(found.seen) == 1


@dataclass(slots=True)
class Rates:
    """All that was learned of speed.

    Attributes:
        models: By model, width and height: how much heavier than the prior.
        variants: By chip, GPU cores, digest and compute unit, where measured: seconds of a step at pace 0.
        paces: By worker: how much slower than others of its chip.
        fixed: What an image takes beside its steps, in steps.
        warm_loads: Seconds to load a variant that the machine has compiled before.
        first_loads: Seconds of a machine's first load of a variant, compilation included.
        memory: Measured by runtime, digest and compute unit: bytes in use at most.
        said: By worker, digest and compute unit: the newest measurement that was taken in. A worker says it again
            whenever it joins, and it is no fresh sample then.
    """

    models: dict[ModelKey, Weight] = field(default_factory=dict)
    variants: dict[VariantKey, Price] = field(default_factory=dict)
    paces: dict[str, Pace] = field(default_factory=dict)
    fixed: Seen = field(default_factory=Seen)
    warm_loads: Seen = field(default_factory=Seen)
    first_loads: Seen = field(default_factory=Seen)
    memory: dict[tuple[str, str, ComputeUnit], int] = field(default_factory=dict)
    said: dict[tuple[str, str, ComputeUnit], Measurement] = field(default_factory=dict)

    def calibrate(self, worker_id: str, facts: WorkerFacts) -> None:
        """Takes in all that a worker says it has measured."""
        for measured in facts.measurements:
            self.measure(worker_id, facts, measured)

    def measure(self, worker_id: str, facts: WorkerFacts, measured: Measurement) -> None:
        """Takes in one measurement of a worker, of what it has and as far as it was not taken in before.

        Args:
            worker_id: Who measured.
            facts: What that is.
            measured: All that it knows of one variant on one compute unit by now.
        """
        if all(offer.digest != measured.digest for offer in facts.offers):
            return
        use = (measured.digest, measured.compute_unit)
        key = (facts.chip, facts.gpu_cores, *use)
        if measured.peak_memory_bytes > 0:
            place = (facts.runtime, *use)
            self.memory[place] = max(self.memory.get(place, 0), measured.peak_memory_bytes)
        before = self.said.get((worker_id, *use), Measurement(*use))
        self.said[worker_id, *use] = measured
        if measured.load_seconds not in (0.0, before.load_seconds):
            self.warm_loads.take(key, measured.load_seconds)
        first = measured.first_load_seconds
        if first > 0 and not math.isclose(first, before.first_load_seconds):
            self.first_loads.take(key, first)
        timed = (measured.seconds_per_step, measured.fixed_seconds)
        if measured.seconds_per_step > 0 and timed != (before.seconds_per_step, before.fixed_seconds):
            self.learn(worker_id, facts, Sample(*use, 1, sum(timed), measured.seconds_per_step), is_calibration=True)

    def learn(self, worker_id: str, facts: WorkerFacts, sample: Sample, *, is_calibration: bool = False) -> bool:
        """Takes one image's render time into account, if it was of a variant that its worker still has.

        Args:
            worker_id: Who rendered it.
            facts: What that is.
            sample: What it took.
            is_calibration: Whether it is no image, but the median of several steps.

        Returns:
            Whether it is the first of its variant on such machines, so that what was planned with the prior is far off.
        """
        offer = next((offer for offer in facts.offers if offer.digest == sample.digest), None)
        if offer is None:
            return False
        unit = sample.compute_unit
        pace = self.paces.setdefault(worker_id, Pace(PACE_VARIANCE))
        key = (facts.chip, facts.gpu_cores, offer.digest, unit)
        weight = self.models.setdefault((offer.model, offer.width, offer.height), Weight())
        step = sample.denoise_seconds / sample.steps
        if step > 0:
            self.fixed.take(key, max(0.0, sample.seconds / step - sample.steps))
        else:
            step = sample.seconds / (sample.steps + self._fixed(key))
        seen = math.log(max(step, 1e-6))
        variant = self.variants.get(key)
        if variant is None:
            variance = PACE_VARIANCE + NOISE_VARIANCE if is_calibration else CHIP_VARIANCE
            self.variants[key] = Price(variance, seen - pace.mean, SEVERAL if is_calibration else 1)
            prior = math.log(prior_seconds(facts, unit, offer))
            weight.take(seen - pace.mean - prior)
            return True
        believed = variant.mean
        _follow(variant, pace, seen)
        weight.correct(variant.mean - believed)
        return False

    def estimate(self, facts: WorkerFacts, offer: ModelOffer, unit: ComputeUnit, pace: float = 0.0) -> Estimate:
        """What an image is thought to take on machines of this kind whose pace is `pace` (a logarithm)."""
        key = (facts.chip, facts.gpu_cores, offer.digest, unit)
        variant = self.variants.get(key)
        if variant is not None:
            step, variance = math.exp(variant.mean + pace), PACE_VARIANCE + NOISE_VARIANCE
        else:
            weight = self.models.get((offer.model, offer.width, offer.height))
            prior = prior_seconds(facts, unit, offer)
            step = prior * math.exp((weight.mean if weight else 0.0) + pace)
            variance = CHIP_VARIANCE + (0.0 if weight else MODEL_VARIANCE)
        return Estimate(step, step * self._fixed(key), math.sqrt(variance))

    def is_measured(self, facts: WorkerFacts, offer: ModelOffer, unit: ComputeUnit) -> bool:
        """Whether machines with this chip rendered with this variant on this compute unit before."""
        return (facts.chip, facts.gpu_cores, offer.digest, unit) in self.variants

    def load_seconds(self, facts: WorkerFacts, offer: ModelOffer, unit: ComputeUnit) -> float:
        """What loading takes on such a machine, compilation included if it has not loaded the variant before."""
        key = (facts.chip, facts.gpu_cores, offer.digest, unit)
        warm, first = self.warm_loads.get(key), self.first_loads.get(key)
        if facts.measured(offer.digest, unit).was_loaded:
            # The first load is no shorter than those that follow; what is known of one bounds the other.
            return warm if warm is not None else min(LOAD_SECONDS[unit], first or math.inf)
        if first is None:
            return (LOAD_SECONDS[unit] if warm is None else warm) + COMPILE_SECONDS[unit]
        return min(first, LONGEST_FIRST_LOAD) if self.first_loads.is_single(key) else first

    def peak_memory(self, runtime: str, digest: str, unit: ComputeUnit) -> int:
        """Bytes that a variant needs with a runtime; as much as on any unit of it where only another was measured."""
        known = self.memory.get((runtime, digest, unit))
        if known is not None:
            return known
        return max((peak for place, peak in self.memory.items() if place[:2] == (runtime, digest)), default=0)

    def pace(self, worker_id: str) -> float:
        """A worker's pace, in whole buckets: the logarithm of how much slower it is than its like."""
        known = self.paces.get(worker_id)
        return 0.0 if known is None else round(known.mean / PACE_BUCKET) * PACE_BUCKET

    def relative_speed(self, worker_id: str) -> float:
        """A worker's speed over that of its like: 1 is as fast, 0.5 takes twice as long; 1 before its first image."""
        known = self.paces.get(worker_id)
        return 1.0 if known is None else math.exp(-known.mean)

    def _fixed(self, key: VariantKey) -> float:
        seen = self.fixed.get(key)
        return FIXED_STEPS if seen is None else seen


def _follow(variant: Price, pace: Pace, seen: float) -> None:
    """Moves what is believed of a variant and of a machine's pace towards what was seen of both in one image."""
    pace.variance += DRIFT_VARIANCE
    is_young = variant.count < SEVERAL
    variant.count += 1
    error = seen - variant.mean - pace.mean
    total = variant.variance + pace.variance + NOISE_VARIANCE
    limit = SURPRISE * math.sqrt(total)
    if abs(error) <= limit:
        pace.surprise = 0
    elif pace.surprise == (sign := 1 if error > 0 else -1):
        pace.surprise = 0
        (variant if is_young else pace).variance += error * error
        total += error * error
    else:
        pace.surprise = sign
        error = sign * limit
    for belief in (variant, pace):
        belief.move(error, total)
