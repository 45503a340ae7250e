"""Keeps what was learned of speeds and forecasts over a restart: placement and ETAs are as good after it as before.

It is not promised as jobs are: a crash may cost the last half minute of it, and what cannot be read is learned again.
"""

import asyncio
import logging
from dataclasses import dataclass

import msgspec

from farm.coordinator.loop import Loop
from farm.coordinator.storage import Storage
from farm.scheduler.cost import Rates
from farm.scheduler.state import FarmState

log = logging.getLogger(__name__)

PERIOD_SECONDS = 30.0

NAME = "speeds"
"""Under this name the journal keeps it."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What a farm has learned.

    Attributes:
        rates: Speeds.
        errors: How its forecasts fared: `Forecasts.ratios`, for which `ratios` was a flat list in older journals.
    """

    rates: Rates
    errors: tuple[tuple[float, ...], ...] = ()


def encode(state: FarmState) -> bytes:
    """What a state has learned, as bytes."""
    return msgspec.msgpack.encode(Learned(state.rates, tuple(map(tuple, state.forecasts.ratios))))


def decode(body: bytes | None) -> FarmState:
    """A state that has learned that and knows nothing else; nothing at all from what cannot be understood."""
    if body is None:
        return FarmState()
    try:
        known = msgspec.msgpack.decode(body, type=Learned)
    except msgspec.DecodeError as error:
        log.warning("learned.forgotten reason=%r", str(error))
        return FarmState()
    state = FarmState(rates=known.rates)
    for ratios, kept in zip(state.forecasts.ratios, known.errors, strict=False):
        ratios.clear()
        ratios.extend(kept)
    return state


class Keeper:
    """Writes what was learned now and then.

    Args:
        loop: Gives the state.
        storage: Where it is kept.
    """

    def __init__(self, loop: Loop, storage: Storage) -> None:
        self._loop = loop
        self._storage = storage
        self._kept = b""

    async def run(self) -> None:
        """Keeps it until cancelled."""
        while True:
            await asyncio.sleep(PERIOD_SECONDS)
            await self.keep()

    async def keep(self, patience: float | None = None) -> None:
        """Writes what was learned, if that is more than what is written.

        Args:
            patience: Seconds after which it is given up, as on a full disk the loop may stand still; None for never.
        """
        try:
            async with asyncio.timeout(patience):
                await self._keep()
        except Exception as error:  # noqa: BLE001 - what is not promised must not stop the farm
            log.warning("learned.not_kept reason=%r", str(error))

    async def _keep(self) -> None:
        async with self._loop.reading() as (state, _):
            body = encode(state)
        if body == self._kept:
            return
        await self._storage.write(self._storage.journal.keep, NAME, body)
        self._kept = body
