"""How long a pipeline process may stay silent before it counts as hung."""

from collections import deque
from dataclasses import dataclass
from statistics import median

from farm.reports import Stage

_STEPS_REMEMBERED = 50


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds that each stage may last. They tell a hang from slowness, so they are generous.

    Attributes:
        start: From the start of the process, or from an assignment to an idle one, to its first word.
        compile: Compiling a model. Device specialisation at the first load was reported to take up to ten minutes.
        load: Loading a model that is compiled.
        encode: Text encoding of an image.
        first_step: A step when none was seen since the model was loaded.
        step_factor: Later steps: this many times the expected one,
        step_floor: but at least this.
        decode: Decoding of an image.
        save: Encoding and delivery of the last images when there is nothing more to render.
        grace: By how much the process outlives its deadline if its host does not end it, which it does unless it is
            dead. The host comes first since it can say why.
    """

    start: float = 120.0
    compile: float = 1800.0
    load: float = 300.0
    encode: float = 120.0
    first_step: float = 300.0
    step_factor: float = 10.0
    step_floor: float = 10.0
    decode: float = 300.0
    save: float = 60.0
    grace: float = 5.0

    def of_stage(self, stage: Stage, expected_step: float | None) -> float:
        """Seconds until the next word once `stage` has begun; `expected_step` is in seconds, None if not known."""
        if stage is not Stage.DENOISE:
            return {
                Stage.COMPILE: self.compile,
                Stage.LOAD: self.load,
                Stage.ENCODE: self.encode,
                Stage.DECODE: self.decode,
                Stage.SAVE: self.save,
            }[stage]
        if expected_step is None:
            return self.first_step
        return max(self.step_floor, self.step_factor * expected_step)


class StepTimes:
    """Learns how long a step takes from the steps that were seen: the median, which no single stall moves."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_STEPS_REMEMBERED)

    def add(self, seconds: float) -> None:
        """Notes a step."""
        self._seconds.append(seconds)

    @property
    def expected(self) -> float | None:
        """Seconds that the next step should take; None before the first."""
        return median(self._seconds) if self._seconds else None
