"""The screen of `farm top`: it asks the farm once a second, shows what came, and passes on what its user decides."""

import asyncio
import contextlib
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import ClassVar, TypeVar

from rich.console import Group
from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.css.query import NoMatches
from textual.notifications import SeverityLevel
from textual.widgets import DataTable, Footer, Sparkline, Static

from farm.cli.outcome import state_word
from farm.cli.output import count_images, make_table, short_id
from farm.cli.terminal.dialogs import Help, Question
from farm.cli.terminal.picture import (
    EXPLANATION_COLUMNS,
    JOB_COLUMNS,
    WORKER_COLUMNS,
    Picture,
    Throughput,
    explanation_rows,
    headline,
    job_row,
    job_title,
    look,
    throughputs,
    worker_lines,
    worker_row,
)
from farm.cli.wording import worker_state_word
from farm.client import AsyncClient, AsyncJob
from farm.domain import ChipClass
from farm.errors import FarmError, UnreachableError
from farm.v1 import worker_pb2

T = TypeVar("T")

LOOK_SECONDS = 1.0

ANSWER_SECONDS = 10.0
"""A farm that takes longer to answer is shown as one that is away."""

HISTORY = 600
"""Looks that the lines of throughput remember."""

TOLD_ENDS = 3
"""Jobs that ended at the same time and are told one by one; more would hide the screen."""

NOTHING_LIVE = 'No job is live. Submit one: farm submit -p "a red circle on a white background"'

JOB_ACTIONS: dict[str, Callable[[AsyncJob], Awaitable[AsyncJob]]] = {
    "pause": AsyncJob.pause,
    "resume": AsyncJob.resume,
    "cancel": AsyncJob.cancel,
}


class Top(App[FarmError]):
    """The screen. Its result is the failure that ended it, if one did.

    Args:
        client: The farm.
        first: What was seen of it before the screen was opened.
    """

    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "steer_job('pause')", "Pause"),
        Binding("r", "steer_job('resume')", "Resume"),
        Binding("c", "steer_job('cancel')", "Cancel"),
        Binding("d", "drain", "Drain"),
        Binding("u", "resume_worker", "Resume worker"),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q,ctrl+c", "quit", "Quit", key_display="q"),
    ]
    CSS = """
    #status { height: 1; text-style: bold; text-wrap: nowrap; text-overflow: ellipsis; }
    #status.away { text-style: bold reverse; }
    #jobs, #workers, #details { height: 1fr; min-height: 4; }
    #details { border-top: solid $foreground; border-title-color: $foreground; border-title-style: bold; }
    #workers { border-top: solid $foreground; }
    DataTable > .datatable--cursor { color: $foreground; background: $background; text-style: reverse; }
    DataTable:blur > .datatable--cursor { text-style: underline; }
    .throughput { height: 1; }
    .throughput Static { width: 42; }
    .throughput Sparkline { width: 1fr; height: 1; }
    ModalScreen { align: center middle; }
    .dialog { width: 78; max-width: 100%; height: auto; max-height: 90%; border: round $foreground; padding: 0 1; }
    """

    def __init__(self, client: AsyncClient, first: Picture) -> None:
        super().__init__()
        self.theme = "ansi-dark"  # the terminal's own colours, be they dark or light
        self._client = client
        self._picture = first
        self._looks = asyncio.Event()
        self._history: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=HISTORY))

    def compose(self) -> ComposeResult:
        """The parts of the screen, from top to bottom."""
        yield Static(id="status", markup=False)
        yield DataTable(id="jobs", cursor_type="row")
        with VerticalScroll(id="details", can_focus=False):
            yield Static(id="text", markup=False)
        yield DataTable(id="workers", cursor_type="row")
        for chip_class in ChipClass:
            with Horizontal(id=f"class-{chip_class.value}", classes="throughput"):
                yield Static(markup=False)
                yield Sparkline(summary_function=max)
        yield Footer()

    def on_mount(self) -> None:
        """Shows what is known, and goes on looking."""
        for table, columns in (("jobs", JOB_COLUMNS), ("workers", WORKER_COLUMNS)):
            for column in columns:
                self._table(table).add_column(column, key=column)
        self._show(self._picture)
        self._follow()

    @work
    async def _follow(self) -> None:
        with contextlib.suppress(NoMatches):  # a screen that is taken down loses its parts before this ends
            while True:
                await self._look()

    async def _look(self) -> None:
        self._looks.clear()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                picture = await look(self._client, self._selected("jobs"))
        except (UnreachableError, TimeoutError):
            self._show_away()
        except FarmError as failure:
            self.exit(failure)
        else:
            self._tell_ends([job for name, job in self._picture.jobs.items() if name not in picture.jobs])
            self._show(picture)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await self._looks.wait()

    @work
    async def _tell_ends(self, gone: Sequence[AsyncJob]) -> None:
        """Tells how jobs ended that are no longer listed."""
        for job in gone[:TOLD_ENDS]:
            if await self._asked(job.refresh()):
                done = f"{job.message.succeeded_count} of {count_images(job.message.image_count)}"
                self._tell(f"{job_title(job)} {state_word(job)}: {done}")

    def on_data_table_row_highlighted(self) -> None:
        """Another line was chosen: shows what belongs to it, and asks for what is not known of it yet."""
        self._show_details()
        self._looks.set()

    def on_descendant_focus(self) -> None:
        """The other table is in use: what stands between them belongs to its line."""
        self._show_details()

    @work
    async def action_steer_job(self, verb: str) -> None:
        """Pauses, resumes or cancels the selected job."""
        job = self._picture.jobs.get(self._selected("jobs"))
        if job is None:
            self._tell("No job is selected.", "warning")
            return
        question = f"Cancel {job_title(job)}? Finished images are kept; the rest is not rendered."
        if verb == "cancel" and not await self._is_sure(question):
            return
        if await self._asked(JOB_ACTIONS[verb](job)):
            self._tell(f"{job_title(job)}: {state_word(job)}")
            self._looks.set()

    @work
    async def action_drain(self) -> None:
        """Drains the selected worker, if its user is sure."""
        name = self._selected("workers")
        question = f"Drain {short_id(name)}? It finishes what it has and takes nothing new until it is resumed."
        if name and await self._is_sure(question):
            await self._steer_worker(self._client.drain(name))

    @work
    async def action_resume_worker(self) -> None:
        """Lets the selected worker take work again."""
        if name := self._selected("workers"):
            await self._steer_worker(self._client.resume_worker(name))

    def action_help(self) -> None:
        """Says what can be seen and done."""
        self.push_screen(Help())

    async def _is_sure(self, question: str) -> bool:
        return await self.push_screen_wait(Question(question))

    async def _steer_worker(self, call: Awaitable[worker_pb2.Worker]) -> None:
        if worker := await self._asked(call):
            self._tell(f"{short_id(worker.name)} is {worker_state_word(worker)}")
            self._looks.set()

    async def _asked(self, call: Awaitable[T]) -> T | None:
        """What the farm answers; None if it refuses, which is told."""
        try:
            return await call
        except FarmError as failure:
            self._tell(failure.message, "error")
            return None

    def _tell(self, text: str, severity: SeverityLevel = "information") -> None:
        self.notify(text, severity=severity, markup=False)

    def _table(self, name: str) -> "DataTable[Text]":
        return self.query_one(f"#{name}", DataTable)

    def _selected(self, name: str) -> str:
        """Name of the job or worker whose line is chosen in a table; empty if it has none."""
        table = self._table(name)
        if not table.is_valid_row_index(table.cursor_row):
            return ""
        return table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value or ""

    def _show(self, picture: Picture) -> None:
        self._picture = picture
        status = self.query_one("#status", Static)
        status.set_class(False, "away")
        status.update(f"{self._client.address} · {headline(picture)}")
        now = time.time()
        _fill(self._table("jobs"), {name: job_row(job, now) for name, job in picture.jobs.items()})
        workers = {name: worker_row(worker, picture.jobs) for name, worker in picture.workers.items()}
        _fill(self._table("workers"), workers)
        self._show_throughput({one.chip_class: one for one in throughputs(list(picture.workers.values()))})
        self._show_details()

    def _show_away(self) -> None:
        """Says that what stands there is old."""
        status = self.query_one("#status", Static)
        status.set_class(True, "away")
        status.update(f"{self._client.address} · does not answer; reconnecting ... What is shown is from before.")

    def _show_throughput(self, told: Mapping[str, Throughput]) -> None:
        for chip_class in ChipClass:
            line = self.query_one(f"#class-{chip_class.value}")
            line.display = chip_class.value in told
            if line.display:
                now = told[chip_class.value]
                past = self._history[chip_class.value]
                past.append(now.images_per_hour)
                line.query_one(Static).update(str(now))
                line.query_one(Sparkline).data = list(past)

    def _show_details(self) -> None:
        """Between the tables: the explanation of the selected job, or all about the selected worker."""
        details, text = self.query_one("#details"), self.query_one("#text", Static)
        if self._table("workers").has_focus and (worker := self._picture.workers.get(self._selected("workers"))):
            details.border_title = worker.name
            text.update(worker_lines(worker))
            return
        job = self._picture.jobs.get(self._selected("jobs"))
        details.border_title = job.name if job else "no job"
        if job is None:
            text.update(NOTHING_LIVE)
        elif job.name == self._picture.explained:
            why = self._picture.explanation
            text.update(Group(Text(why.summary), make_table(EXPLANATION_COLUMNS, explanation_rows(why))))
        else:
            text.update("...")


def _fill(table: "DataTable[Text]", rows: Mapping[str, Sequence[str]]) -> None:
    """Makes a table show these rows, by key; only what differs is drawn anew, and the chosen line stays chosen."""
    if [key.value for key in table.rows] == list(rows):
        for name, row in rows.items():
            for column, old, new in zip(table.columns, table.get_row(name), row, strict=True):
                if old.plain != new:
                    # The table measures a whole column for each cell that may have become narrower.
                    table.update_cell(name, column, Text(new), update_width=len(old) != len(new))
        return
    cursor = table.cursor_row
    chosen = table.coordinate_to_cell_key(table.cursor_coordinate).row_key if table.is_valid_row_index(cursor) else None
    table.clear()
    for name, row in rows.items():
        table.add_row(*map(Text, row), key=name)
    places = {name: place for place, name in enumerate(rows)}
    at = places.get(chosen.value or "", cursor) if chosen else 0
    table.move_cursor(row=min(at, max(0, len(rows) - 1)), animate=False)
