"""Debian's Chromium, without a screen, for tests and benchmarks of the page."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.waiting import PATIENCE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

MISSING = "Chromium is not installed; on Debian, apt-get install chromium brings it"

QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""No sandbox, since tests may run as root; nothing that asks anything of the network."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser, until the context ends. While it runs, its thread cannot run another event loop."""
    expect.set_options(timeout=PATIENCE * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        try:
            yield browser
        finally:
            browser.close()


def new_page(browser: Browser, *, width: int = 1280, height: int = 860, dark: bool = False) -> Page:
    """An empty page with cookies of its own."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light")
    context.set_default_timeout(PATIENCE * 1000)
    return context.new_page()


def complaints_of(page: Page) -> list[str]:
    """A list to which everything is added that the page's scripts or the browser complain of from now on."""
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("console", lambda message: found.append(message.text) if message.type in ("error", "warning") else None)
    return found


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)
