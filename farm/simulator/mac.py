"""A Mac that takes its time: what it holds, what it is doing, and until when."""

from collections import deque
from dataclasses import dataclass, field

from farm.domain import AttemptKey, Resident, WorkerFacts


@dataclass(slots=True)
class Held:
    """An attempt that a Mac holds.

    Attributes:
        key: The attempt.
        needs: What must be loaded to render it.
        seconds: What an image takes on a Mac of factor 1, when nothing slows it.
        step_seconds: What a step of it takes.
        denoising: Part of an image's time that its steps take.
        load_seconds: What loading it takes.
        compile_seconds: By how much the first load takes longer.
        images: Those that are still to be rendered, in order.
    """

    key: AttemptKey
    needs: Resident
    seconds: float
    step_seconds: float
    denoising: float
    load_seconds: float
    compile_seconds: float
    images: deque[int]


@dataclass(slots=True)
class Mac:
    """One simulated Mac.

    Attributes:
        number: Its place in the fleet.
        worker_id: Its name in the farm.
        facts: What it says of itself.
        factor: How much slower it is than the table says.
        room: How many variants it keeps loaded at most.
        slowness: By how much it is slowed now, as by heat.
        is_away: Whether it is silent.
        is_garbage: Whether what it renders is refused.
        held: What it holds; the first is what it works on.
        loaded: What is loaded, the newest last.
        compiled: What was loaded before.
        task: What it is doing: "load", "image" or "stop"; None while it waits.
        since: When that began.
        due: When that ends.
        epoch: Grows when what was due is not any more.
        busy_seconds: Time spent on images that were committed.
        image_count: Images it had committed.
    """

    number: int
    worker_id: str
    facts: WorkerFacts
    factor: float
    room: int
    slowness: float = 1.0
    is_away: bool = True
    is_garbage: bool = False
    held: deque[Held] = field(default_factory=deque)
    loaded: dict[Resident, None] = field(default_factory=dict)
    compiled: set[Resident] = field(default_factory=set)
    task: str | None = None
    since: float = 0.0
    due: float = 0.0
    epoch: int = 0
    busy_seconds: float = 0.0
    image_count: int = 0

    def take(self, now: float, noise: float) -> bool:
        """Begins the next thing, if it waits and there is one; says whether it did.

        Args:
            now: The time.
            noise: By how much the image, if it is one, takes longer than usual.
        """
        if self.task is not None or not self.held:
            return False
        held = self.held[0]
        if held.needs in self.loaded:
            self._begin("image", now, held.seconds * self.factor * self.slowness * noise)
        else:
            compiling = 0.0 if held.needs in self.compiled else held.compile_seconds
            self._begin("load", now, held.load_seconds + compiling)
        return True

    def _begin(self, task: str, now: float, seconds: float) -> None:
        self.task, self.since, self.due = task, now, now + seconds
        self.epoch += 1

    def finish_load(self) -> tuple[Resident, ...]:
        """Ends a load; gives what is resident now, always in the same order."""
        needs = self.held[0].needs
        self.compiled.add(needs)
        self.loaded[needs] = None
        while len(self.loaded) > self.room:
            del self.loaded[next(iter(self.loaded))]
        self.task = None
        return tuple(sorted(self.loaded, key=lambda one: (one.digest, one.compute_unit.value)))

    def finish_image(self) -> int:
        """Ends an image; gives its index."""
        self.task = None
        return self.held[0].images.popleft()

    def slow(self, now: float, slowness: float) -> None:
        """Slows it, or lets it go at its own speed again; what it is doing takes longer or shorter from now on."""
        if self.task == "image":
            self.due = now + (self.due - now) * slowness / self.slowness
            self.epoch += 1
        self.slowness = slowness

    def cancel(self, now: float, key: AttemptKey) -> bool:
        """Gives an attempt up; if it is being rendered, at the next step. Says whether something new is due."""
        if not self.held or all(held.key != key for held in self.held):
            return False
        current = self.held[0]
        if current.key != key or self.task != "image":
            self.held = deque(held for held in self.held if held.key != key)
            return self._stop(now, 0.0) if current.key == key and self.task is not None else False
        self.held.popleft()
        return self._stop(now, current.step_seconds * self.factor * self.slowness)

    def _stop(self, now: float, seconds: float) -> bool:
        self._begin("stop", now, seconds)
        return True

    def vanish(self) -> None:
        """Forgets all that it did: it is off, or its renderer died."""
        self.held.clear()
        self.loaded.clear()
        self.task = None
        self.epoch += 1
