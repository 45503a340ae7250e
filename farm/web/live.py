"""The page's live view by server-sent events: the whole picture first, then what changes, at an even pace.

A picture is made once for all who may see the same, and only while somebody looks. Whoever reads too slowly, or comes
back after the connection was lost, gets the whole picture again; nothing is kept for anybody.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import msgspec

from farm.access.tokens import Role, Token
from farm.api.permissions import PERMISSIONS
from farm.coordinator.coordinator import Coordinator
from farm.coordinator.views import JobView
from farm.domain import FINAL_STATES
from farm.errors import JobNotFoundError
from farm.web.history import History
from farm.web.picture import LIVE_JOBS, NOTHING, Audience, Picture, changes, paint

log = logging.getLogger(__name__)

PACE_SECONDS = 0.5
"""The page is told at most so often, however much happens."""

PING_SECONDS = 15.0
"""A connection on which nothing happens is told that nothing changed, so that neither end takes it for dead."""

ENDED_JOBS = 12
BACKLOG = 8
"""Frames that wait for a slow reader; with more, it gets the whole picture again."""

MAX_OWNERS = 10_000


def audience_of(caller: Token) -> Audience:
    """What a caller may see: as in the API."""
    if caller.role is Role.ADMIN:
        return Audience(sees_all=True)
    may_see_jobs = caller.role in PERMISSIONS["farm.v1.JobService"]["ListJobs"]
    return Audience(caller.display_name if may_see_jobs else None)


class Owners:
    """Whose a job is, remembered for the last jobs that were asked for; a job that is gone is nobody's."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._known: OrderedDict[str, str] = OrderedDict()

    async def owner(self, job_id: str) -> str | None:
        """The submitter of a job; None if there is no such job."""
        if job_id not in self._known:
            try:
                self._known[job_id] = (await self._coordinator.job(job_id)).submitter
            except JobNotFoundError:
                return None
            if len(self._known) > MAX_OWNERS:
                self._known.popitem(last=False)
        return self._known[job_id]


@dataclass(eq=False, slots=True)
class _Room:
    """Those who see the same: their picture, the queue of each, and the ended jobs that they are shown."""

    picture: Picture = field(default_factory=lambda: NOTHING)
    readers: set["asyncio.Queue[bytes]"] = field(default_factory=set)
    ended: list[JobView] = field(default_factory=list)
    job_changes: int = -1


class Live:
    """Paints pictures for all who look.

    Args:
        coordinator: What they look at.
        history: Its past.
        owners: Whose jobs are whose.
    """

    def __init__(self, coordinator: Coordinator, history: History, owners: Owners) -> None:
        self._coordinator = coordinator
        self._history = history
        self._owners = owners
        self._rooms: dict[Audience, _Room] = {}
        self._painting = asyncio.Lock()
        self._stopped = False

    async def run(self) -> None:
        """Tells those who look what changes, until cancelled."""
        while True:
            await self._history.touched.wait()
            self._history.touched.clear()
            try:
                await self._paint()
            except Exception:  # the page must not stay frozen for one picture that could not be painted
                log.exception("web.picture_not_painted")
            await asyncio.sleep(PACE_SECONDS)

    def stop(self) -> None:
        """Ends every stream."""
        self._stopped = True
        for room in self._rooms.values():
            for reader in room.readers:
                _offer(reader, b"")

    async def watch(self, who: Audience) -> AsyncIterator[bytes]:
        """Frames for one reader, until they leave or the server stops."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(BACKLOG)
        room = self._rooms.setdefault(who, _Room())
        room.readers.add(queue)
        try:
            await self._paint()
            while not queue.empty():
                queue.get_nowait()
            yield _frame("picture", room.picture, self._coordinator.now())
            while not self._stopped:
                try:
                    async with asyncio.timeout(PING_SECONDS):
                        frame = await queue.get()
                except TimeoutError:
                    frame = _frame("change", NOTHING, self._coordinator.now())
                if frame:
                    yield frame
        finally:
            room.readers.discard(queue)
            if not room.readers and self._rooms.get(who) is room:
                del self._rooms[who]

    async def _paint(self) -> None:
        """Brings every picture up to date, and tells its readers what changed."""
        async with self._painting:
            if not self._rooms:
                return
            view = await self._coordinator.farm(LIVE_JOBS, {who.owner for who in self._rooms if who.owner is not None})
            history = self._history
            named = {job_id for job_id, _ in history.bars} | {job.job_id for job in view.jobs}
            named |= {shot.job_id for shot in (*history.latest.values(), *history.recent)}
            named |= {progress.job_id for progress in view.rendering.values()}
            owners = {job_id: await self._owners.owner(job_id) or "" for job_id in named}
            for who, room in list(self._rooms.items()):
                await self._refresh_ended(who, room)
                picture = paint(view, room.ended, history, owners, who)
                changed = changes(room.picture, picture)
                room.picture = picture
                if changed:
                    self._tell(room, changed)

    def _tell(self, room: _Room, changed: Picture) -> None:
        now = self._coordinator.now()
        frame = _frame("change", changed, now)
        for reader in room.readers:
            if reader.full():
                while not reader.empty():
                    reader.get_nowait()
                _offer(reader, _frame("picture", room.picture, now))
            else:
                _offer(reader, frame)

    async def _refresh_ended(self, who: Audience, room: _Room) -> None:
        """Reads the jobs that have ended, if one has since."""
        if room.job_changes != self._history.job_changes:
            room.job_changes = self._history.job_changes
            is_shown = who.sees_all or who.owner is not None
            room.ended = await self._coordinator.jobs(FINAL_STATES, who.owner, None, ENDED_JOBS) if is_shown else []


def _offer(reader: "asyncio.Queue[bytes]", frame: bytes) -> None:
    if not reader.full():
        reader.put_nowait(frame)


def _frame(event: str, picture: Picture, now: float) -> bytes:
    """A server-sent event. JSON has no line breaks of its own, so that one line of data holds it."""
    return b"event: %s\ndata: %s\n\n" % (event.encode(), msgspec.json.encode({"now": now, "picture": picture}))
