"""What an image costs on a worker, and how sure that is.

Logarithms of the seconds of a step are sums. Where a variant was never measured on a chip, they are the chip's
published prior plus what its model was found to weigh on other chips (SDXL is heavier than its pixels say): the first
image of a new model on any Mac teaches what it costs on all of them. Once it was measured there, by calibration or by
an image, that figure stands instead, plus the pace of the one machine, and every further image moves both, each by its
share of the uncertainty (a Kalman filter that neglects their correlation).

A machine's pace is allowed to drift: one that slows by heat is priced as it is now. A single image that is far off
hardly counts; a second one in a row is a change, and is believed at once. A change is the machine's own; but while few
images of a variant were seen on its chip, the first ones are taken for the exceptions.
"""

import math
from dataclasses import dataclass, field

from farm.domain import ComputeUnit, Measurement, ModelOffer, WorkerFacts
from farm.scheduler.chips import LOAD_SECONDS, prior_seconds

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
    """What one image took: `steps` evaluations of the UNet in `seconds`, from its start to its decoded pixels."""

    digest: str
    compute_unit: ComputeUnit
    steps: int
    seconds: float


ModelKey = tuple[str, int, int]
VariantKey = tuple[str, int, str, ComputeUnit]


@dataclass(slots=True)
class Rates:
    """All that was learned of speed.

    Attributes:
        models: By model, width and height: how much heavier than the prior.
        variants: By chip, GPU cores, digest and compute unit, where measured: seconds of a step at pace 0.
        paces: By worker: how much slower than others of its chip.
        fixed_parts: Measured by chip, GPU cores, digest and compute unit: what an image takes beside its steps, in
            steps.
        fixed_steps: The same by digest and compute unit, for chips where it was not measured.
        loads: Measured by chip, GPU cores, digest and compute unit: seconds to load.
        peaks: Measured by digest and compute unit: bytes of memory in use at most.
        told: By worker, digest and compute unit: seconds of the newest calibration that was taken in. A worker says it
            again whenever it joins, and it is no fresh sample then.
    """

    models: dict[ModelKey, Weight] = field(default_factory=dict)
    variants: dict[VariantKey, Price] = field(default_factory=dict)
    paces: dict[str, Pace] = field(default_factory=dict)
    fixed_parts: dict[VariantKey, float] = field(default_factory=dict)
    fixed_steps: dict[tuple[str, ComputeUnit], float] = field(default_factory=dict)
    loads: dict[VariantKey, float] = field(default_factory=dict)
    peaks: dict[tuple[str, ComputeUnit], int] = field(default_factory=dict)
    told: dict[tuple[str, str, ComputeUnit], float] = field(default_factory=dict)

    def calibrate(self, worker_id: str, facts: WorkerFacts) -> None:
        """Takes in all that a worker says it has measured."""
        for measured in facts.measurements:
            self.measure(worker_id, facts, measured)

    def measure(self, worker_id: str, facts: WorkerFacts, measured: Measurement) -> None:
        """Takes in one measurement of a worker, if it is of a variant that it has and was not taken in before."""
        if all(offer.digest != measured.digest for offer in facts.offers):
            return
        place = (measured.digest, measured.compute_unit)
        self.peaks[place] = max(self.peaks.get(place, 0), measured.peak_memory_bytes)
        seconds = measured.fixed_seconds + measured.seconds_per_step
        if measured.seconds_per_step <= 0 or self.told.get((worker_id, *place)) == seconds:
            return
        self.told[worker_id, *place] = seconds
        key = (facts.chip, facts.gpu_cores, *place)
        self.fixed_parts[key] = self.fixed_steps[place] = measured.fixed_seconds / measured.seconds_per_step
        self.loads[key] = measured.load_seconds
        self.learn(worker_id, facts, Sample(*place, 1, seconds), is_calibration=True)

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
        seen = math.log(max(sample.seconds, 1e-6) / (sample.steps + self._fixed(key)))
        variant = self.variants.get(key)
        if variant is None:
            variance = PACE_VARIANCE + NOISE_VARIANCE if is_calibration else CHIP_VARIANCE
            self.variants[key] = Price(variance, seen - pace.mean, SEVERAL if is_calibration else 1)
            prior = math.log(prior_seconds(facts, unit, offer))
            self.models.setdefault((offer.model, offer.width, offer.height), Weight()).take(seen - pace.mean - prior)
            return True
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
        """What loading takes on machines of this kind."""
        return self.loads.get((facts.chip, facts.gpu_cores, offer.digest, unit), LOAD_SECONDS[unit])

    def peak_memory(self, digest: str, unit: ComputeUnit) -> int:
        """Bytes that a variant needs on a compute unit; as much as on any other where only that was measured."""
        elsewhere = max((peak for (other, _), peak in self.peaks.items() if other == digest), default=0)
        return self.peaks.get((digest, unit), elsewhere)

    def pace(self, worker_id: str) -> float:
        """A worker's pace, in whole buckets: the logarithm of how much slower it is than its like."""
        known = self.paces.get(worker_id)
        return 0.0 if known is None else round(known.mean / PACE_BUCKET) * PACE_BUCKET

    def relative_speed(self, worker_id: str) -> float:
        """A worker's speed over that of its like: 1 is as fast, 0.5 takes twice as long; 1 before its first image."""
        known = self.paces.get(worker_id)
        return 1.0 if known is None else math.exp(-known.mean)

    def _fixed(self, key: VariantKey) -> float:
        return self.fixed_parts.get(key, self.fixed_steps.get(key[2:], FIXED_STEPS))
