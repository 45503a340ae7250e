"""What the page costs, with 500 workers and a gallery of 100,000 images, and with 20 viewers of a farm that renders.

Times of the browser's main thread are CPU time of that thread, over all that an update takes: reading the event, the
page's scripts, style, layout and painting. The first paint is a wall-clock time: say how busy the machine was.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from playwright.sync_api import CDPSession, Page

from benchmarks.page.crowd import IMAGES, WORKERS
from benchmarks.page.viewers import viewers
from benchmarks.report import report
from farm.cli.demo import farm_process
from farm.client import Client
from farm.domain import JobState
from tests.web.browsers import chromium, new_page

PAINT_GOAL, UPDATE_GOAL, MEMORY_GOAL, CPU_GOAL = 1.0, 100.0, 100.0, 1.1
WATCHED_SECONDS = 20.0
SETTLE_SECONDS = 1.0
VIEWERS = 20
SCROLLS = 30
BATCH = 40
STATE = f"{WORKERS} workers, {IMAGES} images"


@contextmanager
def crowd(folder: Path) -> Iterator[tuple[psutil.Process, str, str]]:
    """The process of a generated farm, where its page is, and a token."""
    command = [sys.executable, "-m", "benchmarks.page.crowd", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            place = json.loads(process.stdout.readline())
            yield psutil.Process(process.pid), place["page"], place["token"]
        finally:
            process.stdin.close()


def main_thread(session: CDPSession) -> float:
    """Seconds of CPU that the page's main thread has spent on tasks."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration"))


def updates(page: Page) -> int:
    """Updates that the page has shown."""
    return int(page.evaluate("performance.getEntriesByName('farm-update').length"))


def opened(page: Page, url: str) -> tuple[float, float]:
    """Seconds from asking for the page to its first contentful paint, and until every Mac is there."""
    page.goto("about:blank")
    page.goto(url)
    page.locator(".mac").nth(WORKERS - 1).wait_for()
    shown = float(page.evaluate("performance.now()"))
    page.wait_for_timeout(SETTLE_SECONDS * 1000)
    painted = float(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
    return painted / 1000, shown / 1000


def update_cost(page: Page) -> float:
    """Milliseconds of CPU on the main thread an update, over a while."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    spent, shown = main_thread(session), updates(page)
    page.wait_for_timeout(WATCHED_SECONDS * 1000)
    spent, shown = main_thread(session) - spent, updates(page) - shown
    assert shown, "the page has shown no update"
    return 1000 * spent / shown


def measure_browser(repeats: int, folder: Path) -> None:
    """First paint, updates, and what all the looking costs the server in memory."""
    with crowd(folder) as (process, url, token), chromium() as browser:
        before = process.memory_info().rss
        page = new_page(browser)
        page.goto(f"{url}#token={token}")
        page.wait_for_selector(".mac")
        paints, fleets = zip(*(opened(page, url) for _ in range(repeats)), strict=True)
        costs = [update_cost(page) for _ in range(max(1, repeats // 2))]
        with viewers(url, token, VIEWERS):
            page.goto(f"{url}#/gallery")
            page.wait_for_selector(".gallery .cell img")
            for number in range(SCROLLS):
                page.evaluate(f"scrollTo(0, document.body.scrollHeight * {number} / {SCROLLS})")
                page.wait_for_timeout(300)
            page.get_by_label("Words of the prompt").fill("number 7")
            page.wait_for_timeout(2000)
        growth = (process.memory_info().rss - before) / 2**20
    for figure, values, unit, goal in (
        ("first_paint", paints, "s", PAINT_GOAL),
        ("fleet_shown", fleets, "s", None),
        ("update_main_thread", costs, "ms", UPDATE_GOAL),
        ("server_memory_growth", [growth], "MB", MEMORY_GOAL),
    ):
        middle, spread = round(statistics.median(values), 3), round(max(values) - min(values), 3)
        report("page", figure, middle, unit, goal, compared_with=STATE, repeats=len(values), spread=spread)


def cpu_seconds(process: psutil.Process) -> float:
    """CPU that a process and its children have used."""
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return float(sum(one.user + one.system for one in times))


def cpu_per_image(process: psutil.Process, client: Client) -> float:
    """CPU-seconds of the farm for each image of a batch that it renders with the bundled model."""
    spent = cpu_seconds(process)
    job = client.submit([f"a red circle, {number}" for number in range(BATCH)], steps=20)
    assert job.wait() is JobState.SUCCEEDED
    return (cpu_seconds(process) - spent) / BATCH


def measure_viewers(repeats: int, folder: Path) -> None:
    """CPU an image with viewers and without, in turns."""
    folder.mkdir()
    alone, watched = [], []
    with farm_process(folder, null_renderer=False, web_listen="127.0.0.1:0") as farm:
        assert farm.stdout
        place = json.loads(farm.stdout.readline())
        process, token = psutil.Process(farm.pid), (folder / "access" / "token").read_text()
        with Client(place["address"]) as client:
            cpu_per_image(process, client)  # loads the model
            for _ in range(repeats):
                alone.append(cpu_per_image(process, client))
                with viewers(place["page"], token, VIEWERS):
                    watched.append(cpu_per_image(process, client))
    ratios = [one / other for one, other in zip(watched, alone, strict=True)]
    report(
        "page",
        "cpu_per_image_with_viewers",
        round(statistics.median(ratios), 3),
        "times",
        CPU_GOAL,
        compared_with=f"{statistics.median(alone):.3f} CPU-seconds an image without, {VIEWERS} viewers",
        repeats=repeats,
        spread=round(max(ratios) - min(ratios), 3),
    )


def main() -> None:
    """Measures, and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory(prefix="farm-page-") as folder:
        measure_browser(repeats, Path(folder) / "crowd")
        measure_viewers(repeats, Path(folder) / "farm")


if __name__ == "__main__":
    main()
