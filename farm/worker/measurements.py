"""What this machine has measured, in a file, so that it is measured once.

A measurement holds for one machine, one build of its system, one runtime, one model variant and one size; when one of
them changes it is not found, and is made again. Where a Mac does not say its build nobody could tell, and
nothing is kept.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from farm.domain import Measurement, Model
from farm.worker.probe import Machine

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a measurement depends on beside the variant and the compute unit.

    Attributes:
        machine: The chip, its cores and the memory, in words.
        system: Operating system with version and build; empty where the build is not known.
        runtime: The runtime.
    """

    machine: str
    system: str
    runtime: str


def circumstances(machine: Machine, runtime: str) -> Circumstances:
    """Those of this machine."""
    memory = f"{machine.memory_bytes / 2**30:.0f} GB"
    cores = sum(level.cores for level in machine.levels)
    return Circumstances(
        machine=", ".join((machine.chip, machine.model, f"{cores} CPU and {machine.gpu_cores} GPU cores", memory)),
        system=machine.os if machine.build else "",
        runtime=runtime,
    )


@dataclass(frozen=True, slots=True)
class _Record:
    circumstances: Circumstances
    width: int
    height: int
    measurement: Measurement


class MeasurementFile:
    """Keeps measurements.

    Args:
        path: The file; made when there is something to keep.
        under: The circumstances in which this process measures.
        models: What it may measure.
    """

    def __init__(self, path: Path, under: Circumstances, models: Iterable[Model]) -> None:
        self._path = path
        self._under = under
        self._sizes = {
            variant.digest: (variant.width, variant.height) for model in models for variant in model.variants
        }
        self._records = _read(path)

    def known(self) -> tuple[Measurement, ...]:
        """What was measured under these circumstances, of variants and sizes that are here."""
        return tuple(record.measurement for record in self._records if self._holds(record))

    def keep(self, measured: Iterable[Measurement]) -> None:
        """Writes all that holds of what is here, in place of what held before; what is not of here stays.

        That it cannot be written is logged: the farm works without, and measures again.
        """
        if not self._under.system:
            return
        others = [record for record in self._records if not self._holds(record)]
        own = [_Record(self._under, *self._sizes[one.digest], one) for one in measured if one.digest in self._sizes]
        self._records = others + own
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            new = self._path.with_suffix(".new")
            new.write_bytes(msgspec.json.format(msgspec.json.encode(self._records)))
            new.replace(self._path)
        except OSError as error:
            _log.warning("measurements.not_kept path=%s reason=%r", self._path, error.strerror)

    def _holds(self, record: _Record) -> bool:
        size = (record.width, record.height)
        return record.circumstances == self._under and self._sizes.get(record.measurement.digest) == size


def _read(path: Path) -> list[_Record]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[_Record])
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        _log.warning("measurements.not_read path=%s reason=%r", path, str(error))
        return []
