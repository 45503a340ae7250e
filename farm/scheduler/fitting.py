"""Whether a machine can render a kind of job, with what, and what is missing where none can."""

import enum
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from farm.domain import FAVOURED, PROPER_VARIANTS, ComputeUnit, ModelOffer, Pin, WorkerFacts
from farm.scheduler.cost import Rates
from farm.scheduler.plan import Way

DOUBT = 1.5
"""A compute unit that was not measured must be thought so many times quicker than one that was, to be tried instead."""


MEMORY_PART = 0.75
"""Part of a machine's memory that a model may take: about what Metal recommends to keep in use on Macs of 16 and 24 GB
(`recommendedMaxWorkingSetSize`). The rest is the system's, and a model that takes more swaps."""


class Misfit(enum.Enum):
    """Why a machine can never render a kind of job as it is."""

    PINNED_AWAY = "PINNED_AWAY"
    LACKS_MODEL = "LACKS_MODEL"
    LACKS_SIZE = "LACKS_SIZE"
    LACKS_VARIANT = "LACKS_VARIANT"
    LACKS_MEMORY = "LACKS_MEMORY"


@dataclass(frozen=True, slots=True)
class Unfit:
    """Why a machine cannot, for programs and for people."""

    misfit: Misfit
    detail: str


class Demand(Protocol):
    """What must be known of a job to tell where it fits."""

    @property
    def model(self) -> str:
        """Name of the model."""

    @property
    def width(self) -> int:
        """Width in pixels."""

    @property
    def height(self) -> int:
        """Height in pixels."""

    @property
    def steps(self) -> int:
        """How often the UNet is evaluated for an image."""

    @property
    def pin(self) -> Pin:
        """Where it may run."""


def fit(rates: Rates, demand: Demand, facts: WorkerFacts) -> Way | Unfit:
    """The quickest way in which a machine can render something, or why it cannot."""
    if (unfit := _pinned_away(demand.pin, facts)) is not None:
        return unfit
    of_model = [offer for offer in facts.offers if offer.model == demand.model]
    if not of_model:
        return Unfit(Misfit.LACKS_MODEL, f"does not have the model {demand.model}")
    of_size = [offer for offer in of_model if (offer.width, offer.height) == (demand.width, demand.height)]
    if not of_size:
        return Unfit(Misfit.LACKS_SIZE, f"has {demand.model}, but not for {demand.width}x{demand.height}")
    allowed = list(_allowed(demand.pin, facts, of_size))
    if not allowed:
        return Unfit(Misfit.LACKS_VARIANT, _no_variant(demand, facts, of_size))
    failures = {(one.digest, one.compute_unit): one.failure for one in facts.measurements if one.failure}
    working = [(offer, unit) for offer, unit in allowed if (offer.digest, unit) not in failures]
    if not working:
        tried = (
            f"{offer.attention.value} on {unit.value} failed when it was tried: {failures[offer.digest, unit]}"
            for offer, unit in allowed
        )
        return Unfit(Misfit.LACKS_VARIANT, f"has {demand.model}, but cannot render with it: {'; '.join(tried)}")
    room = room_bytes(facts)
    roomy = [(offer, unit) for offer, unit in working if rates.peak_memory(facts.runtime, offer.digest, unit) <= room]
    if not roomy:
        least = min(rates.peak_memory(facts.runtime, offer.digest, unit) for offer, unit in working)
        return Unfit(
            Misfit.LACKS_MEMORY,
            f"has {facts.memory_bytes / 2**30:.0f} GB of memory, of which a model may take {room / 2**30:.1f} GB; "
            f"{demand.model} was measured to need {least / 2**30:.1f} GB",
        )
    return _quickest(rates, demand, facts, _one_a_unit(roomy))


def room_bytes(facts: WorkerFacts) -> float:
    """Bytes that a model may take on a machine; infinite where its memory is not known."""
    return MEMORY_PART * facts.memory_bytes or math.inf


def _allowed(pin: Pin, facts: WorkerFacts, offers: Iterable[ModelOffer]) -> Iterator[tuple[ModelOffer, ComputeUnit]]:
    for offer in offers:
        if pin.attention not in (None, offer.attention) or pin.model_digest not in (None, offer.digest):
            continue
        for unit in facts.compute_units:
            # ALL is for those who ask for it: it never beat the better one of the two where that was published.
            is_wanted = unit is pin.compute_unit if pin.compute_unit else unit is not ComputeUnit.ALL
            if is_wanted and offer.attention in PROPER_VARIANTS[unit]:
                yield offer, unit


def _no_variant(demand: Demand, facts: WorkerFacts, offers: Iterable[ModelOffer]) -> str:
    """Why no variant on no compute unit is what a job is pinned to."""
    pin = demand.pin
    forms = ", ".join(dict.fromkeys(offer.attention.value for offer in offers))
    has = f"has {demand.model} as {forms} and renders on {', '.join(unit.value for unit in facts.compute_units)}"
    if pin.compute_unit and pin.attention and pin.attention not in PROPER_VARIANTS[pin.compute_unit]:
        return f"{has}; {pin.attention.value}, which the job is pinned to, never goes to {pin.compute_unit.value}"
    pinned = [*(one.value for one in (pin.attention, pin.compute_unit) if one), *filter(None, (pin.model_digest,))]
    return f"{has}; the job is pinned to {' and '.join(pinned)}" if pinned else f"{has}, which do not go together"


def _one_a_unit(choices: Iterable[tuple[ModelOffer, ComputeUnit]]) -> list[tuple[ModelOffer, ComputeUnit]]:
    """The variant that each unit is given: of the proper attention first, then of the most faithful weights.

    It is not tried out which: a machine that goes from one to the other loads for minutes, and its pictures change.
    """
    best: dict[ComputeUnit, ModelOffer] = {}
    for offer, unit in choices:
        rival, order = best.setdefault(unit, offer), PROPER_VARIANTS[unit]
        ranks = [(order.index(each.attention), _roughness(each.precision)) for each in (offer, rival)]
        if ranks[0] < ranks[1]:
            best[unit] = offer
    return [(offer, unit) for unit, offer in best.items()]


def _roughness(precision: str) -> int:
    """How far weights are from the trained ones; fp16 comes first, as it draws what fp32 does with half the memory."""
    floats = ("float16", "float32")
    if precision in floats:
        return floats.index(precision)
    bits = precision.rpartition("-")[2]
    return 32 - int(bits) if bits.isdecimal() else 32


def _quickest(rates: Rates, demand: Demand, facts: WorkerFacts, choices: list[tuple[ModelOffer, ComputeUnit]]) -> Way:
    """The least seconds; while nothing is measured, the unit that the machine's chip favours."""
    some_measured = any(rates.is_measured(facts, *choice) for choice in choices)

    def rank(choice: tuple[ModelOffer, ComputeUnit]) -> tuple[bool, float]:
        offer, unit = choice
        seconds = rates.estimate(facts, offer, unit).seconds(demand.steps)
        if rates.is_measured(facts, offer, unit):
            return False, seconds
        return not some_measured and unit is not FAVOURED.get(facts.chip_class), seconds * DOUBT

    offer, unit = min(choices, key=rank)
    estimate = rates.estimate(facts, offer, unit)
    return Way(
        offer=offer,
        compute_unit=unit,
        seconds=estimate.seconds(demand.steps),
        load_seconds=rates.load_seconds(facts, offer, unit),
        deviation=estimate.deviation,
    )


def _pinned_away(pin: Pin, facts: WorkerFacts) -> Unfit | None:
    if pin.chip_class not in (None, facts.chip_class):
        return Unfit(
            Misfit.PINNED_AWAY, f"is of class {facts.chip_class.value}; the job is pinned to {pin.chip_class.value}"
        )
    if pin.runtime not in (None, facts.runtime):
        return Unfit(Misfit.PINNED_AWAY, f"renders with {facts.runtime}; the job is pinned to {pin.runtime}")
    for key, value in pin.worker_labels.items():
        if facts.labels.get(key) != value:
            return Unfit(Misfit.PINNED_AWAY, f"has no label {key}={value}, which the job is pinned to")
    return None


def missing(rates: Rates, demand: Demand, workers: Iterable[tuple[str, WorkerFacts]]) -> list[str]:
    """What is missing for a job to run anywhere, a sentence a worker; empty if some worker fits or none is known."""
    lacks = []
    for worker_id, facts in workers:
        way = fit(rates, demand, facts)
        if isinstance(way, Way):
            return []
        lacks.append(f"{worker_id} {way.detail}")
    return lacks
