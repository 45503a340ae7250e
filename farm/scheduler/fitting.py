"""Whether a machine can render a kind of job, with what, and what is missing where none can."""

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from farm.domain import AttentionVariant, ComputeUnit, ModelOffer, Pin, WorkerFacts
from farm.scheduler.chips import ENERGY_MARGIN
from farm.scheduler.cost import Rates
from farm.scheduler.plan import Way

RUNS_WELL_ON: dict[ComputeUnit, frozenset[AttentionVariant]] = {
    ComputeUnit.CPU_ONLY: frozenset(AttentionVariant),
    ComputeUnit.CPU_AND_GPU: frozenset(AttentionVariant),
    ComputeUnit.CPU_AND_NE: frozenset({AttentionVariant.SPLIT_EINSUM, AttentionVariant.SPLIT_EINSUM_V2}),
    ComputeUnit.ALL: frozenset(AttentionVariant),
}
"""Attention variants that a compute unit may be given.

ORIGINAL never goes to the Neural Engine: its compiler was reported not to finish (apple/ml-stable-diffusion#271)."""

VARIANT_ORDER = (AttentionVariant.ORIGINAL, AttentionVariant.SPLIT_EINSUM, AttentionVariant.SPLIT_EINSUM_V2)
"""Which variant a compute unit is given, of those that run well on it: ORIGINAL is the quicker one on a GPU or CPU.

It is not tried out which is: a machine that goes from one to the other loads for minutes, and its pictures change."""

DOUBT = 1.5
"""A compute unit that was not measured must be thought so many times quicker than one that was, to be tried instead."""


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
        """Denoising steps."""

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
        return Unfit(
            Misfit.LACKS_VARIANT,
            f"has {demand.model}, but in no variant and on no compute unit that the job allows",
        )
    roomy = [(offer, unit) for offer, unit in allowed if rates.peak_memory(offer.digest, unit) <= facts.memory_bytes]
    if not roomy:
        least = min(rates.peak_memory(offer.digest, unit) for offer, unit in allowed)
        return Unfit(
            Misfit.LACKS_MEMORY,
            f"has {facts.memory_bytes / 2**30:.0f} GB of memory; {demand.model} was measured to need "
            f"{least / 2**30:.1f} GB",
        )
    return _quickest(rates, demand, facts, _one_a_unit(roomy))


def _allowed(pin: Pin, facts: WorkerFacts, offers: Iterable[ModelOffer]) -> Iterator[tuple[ModelOffer, ComputeUnit]]:
    for offer in offers:
        if pin.attention not in (None, offer.attention) or pin.model_digest not in (None, offer.digest):
            continue
        for unit in facts.compute_units:
            if pin.compute_unit in (None, unit) and offer.attention in RUNS_WELL_ON[unit]:
                yield offer, unit


def _one_a_unit(choices: Iterable[tuple[ModelOffer, ComputeUnit]]) -> list[tuple[ModelOffer, ComputeUnit]]:
    best: dict[ComputeUnit, ModelOffer] = {}
    for offer, unit in choices:
        rival = best.setdefault(unit, offer)
        if VARIANT_ORDER.index(offer.attention) < VARIANT_ORDER.index(rival.attention):
            best[unit] = offer
    return [(offer, unit) for unit, offer in best.items()]


def _quickest(rates: Rates, demand: Demand, facts: WorkerFacts, choices: list[tuple[ModelOffer, ComputeUnit]]) -> Way:
    """The least seconds; the Neural Engine is given the doubt while nothing is measured, for its energy."""
    some_measured = any(rates.is_measured(facts, *choice) for choice in choices)

    def handicap(choice: tuple[ModelOffer, ComputeUnit]) -> float:
        offer, unit = choice
        seconds = rates.estimate(facts, offer, unit).seconds(demand.steps)
        if rates.is_measured(facts, offer, unit):
            return seconds
        if some_measured:
            return seconds * DOUBT
        return seconds / ENERGY_MARGIN if unit is ComputeUnit.CPU_AND_NE else seconds

    offer, unit = min(choices, key=handicap)
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
