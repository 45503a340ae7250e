"""The page as its users see it: a real farm, in a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from farm.access.tokens import Role
from farm.cli.local_fleet import free_ray_address
from farm.client import Client
from tests.running_farm import RunningFarm, running_farm
from tests.web.browsers import chromium, complaints_of, needs_chromium, new_page

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFarm]:
    state = tmp_path_factory.mktemp("farm") / "state"
    with running_farm(state, page="127.0.0.1:0", seconds_per_image=0.05) as running:
        yield running


@pytest.fixture(scope="module")
def browser(farm: RunningFarm) -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of which nothing may complain."""
    opened = new_page(browser)
    complaints = complaints_of(opened)
    yield opened
    opened.context.close()
    assert complaints == []


def enter(page: Page, farm: RunningFarm, role: Role = Role.ADMIN, name: str = "root") -> None:
    """Opens the farm's page with a link that logs in."""
    page.goto(f"{farm.page}#token={farm.access.tokens.create(role, name)[1]}")
    expect(page.locator(".live.on")).to_be_visible()


def visit(page: Page, view: str) -> None:
    page.get_by_role("link", name=view, exact=True).first.click()


def submit(page: Page, *prompts: str, name: str) -> None:
    visit(page, "New batch")
    page.get_by_label("Prompts").fill("\n".join(prompts))
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()


def finished(page: Page) -> None:
    expect(page.locator(".panel[data-state=SUCCEEDED]")).to_be_visible()


def test_somebody_without_a_token_is_told_how_to_get_in(browser: Browser, farm: RunningFarm) -> None:
    page = new_page(browser)  # the answer 401 is a complaint of the browser's
    page.goto(farm.page)
    page.get_by_label("Your token").fill("farm_wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("does not know this token")
    page.get_by_label("Your token").fill(farm.access.tokens.create(Role.SUBMIT, "carla")[1])
    page.get_by_role("button", name="Log in").click()
    expect(page.locator(".who")).to_have_text("carlasubmit")
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Your token")).to_be_visible()
    page.context.close()


def test_a_batch_is_submitted_watched_and_its_images_opened(page: Page, farm: RunningFarm) -> None:
    enter(page, farm)
    assert "token" not in page.url
    submit(page, "a red circle", "a blue star", "a green ring", name="three shapes")
    finished(page)
    expect(page.locator(".gallery .cell img")).to_have_count(3)
    page.locator(".gallery .cell").first.click()
    about = page.locator("dialog .about")
    expect(about.get_by_role("heading", name="a green ring")).to_be_visible()
    for known in ("Seed", "Sampler", "Model", "Rendered by", "SHA-256", "Versions"):
        expect(about.get_by_text(known, exact=True)).to_be_visible()
    expect(about.locator(".command")).to_contain_text("farm submit --prompt='a green ring' --model=shapes --seed=")
    assert page.locator("dialog figure img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 64
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    visit(page, "Farm")
    expect(page.locator(".strip .shot")).not_to_have_count(0)
    expect(page.locator(".mac")).to_contain_text("null renderer")


def test_what_is_wrong_with_a_batch_is_said_where_it_was_written(browser: Browser, farm: RunningFarm) -> None:
    page = new_page(browser)  # the answer 400 is a complaint of the browser's
    enter(page, farm)
    visit(page, "New batch")
    page.get_by_label("Prompts").fill("a red circle")
    page.get_by_text("More").click()
    page.get_by_label("Width").fill("4096")
    page.get_by_role("button", name="What would it take?").click()
    expect(page.get_by_role("alert")).to_contain_text("width")
    page.context.close()


def test_a_batch_whose_answer_was_lost_is_one_job_when_it_is_submitted_again(
    browser: Browser, farm: RunningFarm
) -> None:
    def lose_the_answer(route: Route) -> None:
        route.fetch()
        route.abort()

    page = new_page(browser)  # what was aborted is a complaint of the browser's
    enter(page, farm)
    page.route("**/SubmitJob", lose_the_answer, times=1)
    visit(page, "New batch")
    page.get_by_label("Prompts").fill("a red ring")
    page.get_by_label("Name").fill("only once")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("heading", name="only once")).to_be_visible()
    visit(page, "Jobs")
    expect(page.locator(".job", has_text="only once")).to_have_count(1)
    page.context.close()


def test_a_view_that_was_opened_while_the_farm_did_not_answer_goes_on_when_it_does(
    browser: Browser, farm: RunningFarm
) -> None:
    page = new_page(browser)  # what was aborted is a complaint of the browser's
    page.clock.install()
    enter(page, farm)
    page.route("**/ListModels", lambda route: route.abort(), times=1)
    visit(page, "New batch")
    expect(page.locator(".notice.error")).to_contain_text("does not answer")
    with Client(farm.address) as client:  # the live view tells of it
        submitted = client.submit(["a red circle"], display_name="from elsewhere")
    expect(page.get_by_label("Model")).to_have_value("shapes")
    page.route("**/live", lambda route: route.abort())  # else the job would be known from there
    page.route("**/GetJob", lambda route: route.abort(), times=1)
    page.goto(f"{farm.page}#/{submitted.name}")
    with page.expect_event("requestfailed", lambda request: request.url.endswith("GetJob")):
        page.reload()
    page.clock.fast_forward(6_000)
    expect(page.get_by_role("heading", name="from elsewhere")).to_be_visible()
    page.context.close()


def test_a_job_is_paused_resumed_and_cancelled(page: Page, farm: RunningFarm) -> None:
    enter(page, farm)
    submit(page, *(f"a red circle {n}" for n in range(1000)), name="long")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".panel[data-state=PAUSED]")).to_contain_text("paused on request")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".panel[data-state=RUNNING]")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel the job").click()
    expect(page.locator(".panel[data-state=CANCELLED]")).to_be_visible()


def test_a_worker_is_drained_and_takes_work_again(page: Page, farm: RunningFarm) -> None:
    enter(page, farm)
    page.locator(".mac").click()
    page.get_by_role("button", name="Drain", exact=True).click()
    expect(page.locator(".mac[data-state=DRAINING]")).to_be_visible()
    expect(page.locator("dialog .facts")).to_contain_text("drained by an administrator")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".mac[data-state=ACTIVE]")).to_be_visible()
    expect(page.locator("dialog .stages")).to_be_visible()


def test_submitters_see_their_own_jobs_and_images_and_steer_no_macs(page: Page, farm: RunningFarm) -> None:
    enter(page, farm, Role.SUBMIT, "anna")
    submit(page, "a white cross", name="annas own")
    finished(page)
    visit(page, "Jobs")
    expect(page.locator(".job")).to_have_count(1)
    visit(page, "Gallery")
    expect(page.locator(".cell img")).to_have_count(1)
    visit(page, "Farm")
    page.locator(".mac").click()
    expect(page.get_by_role("link", name="Its images")).to_be_visible()
    expect(page.get_by_role("button", name="Drain", exact=True)).to_have_count(0)


def test_a_workers_token_shows_the_fleet_and_no_jobs(page: Page, farm: RunningFarm) -> None:
    enter(page, farm, Role.WORKER, "studio-1")
    expect(page.locator(".mac")).to_be_visible()
    expect(page.locator("#header nav a")).to_have_text(["Farm", "Timeline"])
    expect(page.locator(".job")).to_have_count(0)
    expect(page.locator(".shot")).to_have_count(0)


def test_the_gallery_finds_images_by_words_of_their_prompts(page: Page, farm: RunningFarm) -> None:
    enter(page, farm)
    submit(page, "a Yellow triangle", "a black square", name="two more")
    finished(page)
    visit(page, "Gallery")
    page.get_by_label("Words of the prompt").fill("yellow tri")
    expect(page.locator(".cell img")).to_have_count(1)
    page.locator(".cell").click()
    expect(page.get_by_role("heading", name="a Yellow triangle")).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_label("Chip class").select_option("GPU")
    expect(page.get_by_text("No image fits these filters.")).to_be_visible()


def test_the_timeline_shows_who_rendered_what(page: Page, farm: RunningFarm) -> None:
    enter(page, farm)
    submit(page, "a red star", name="for the timeline")
    finished(page)
    visit(page, "Timeline")
    expect(page.locator(".gantt .names li")).to_have_text(["local"])
    expect(page.locator(".legend")).to_contain_text("for the timeline")
    expect(page.get_by_role("img", name=re.compile("on 1 Mac"))).to_be_visible()


def test_a_prompt_that_is_markup_stays_text(page: Page, farm: RunningFarm) -> None:
    enter(page, farm)
    submit(page, "<img src=x onerror=alert(1)><b>bold</b>", name="<script>alert(1)</script>")
    finished(page)
    page.locator(".gallery .cell").first.click()
    expect(page.get_by_role("heading", name="<img src=x onerror=alert(1)><b>bold</b>")).to_be_visible()
    assert page.locator("b, img[src=x]").count() == 0


def test_on_a_phone_nothing_is_wider_than_the_screen(browser: Browser, farm: RunningFarm) -> None:
    page = new_page(browser, width=360, height=740, dark=True)
    enter(page, farm)
    for view in ("Farm", "Jobs", "Gallery", "Timeline", "New batch"):
        visit(page, view)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, view
    page.context.close()


CARDS = """async () => {
    const { attention } = await import("/attention.js");
    const worker = (state, since, speed, reason = "") => ({ state, since, speed, reason });
    const job = (name, state, failed, eta) => ({ name, state, failed, eta, created: 0 });
    const picture = {
        workers: new Map([
            ["well", worker("ACTIVE", 0, 0.95)], ["hot", worker("ACTIVE", 0, 0.55)],
            ["asleep", worker("OFFLINE", 99700, 0.5)], ["put away", worker("OFFLINE", 100, 1)],
            ["drained", worker("DRAINING", 0, 1, "on request")],
        ]),
        jobs: new Map([
            ["1", job("goes on", "RUNNING", 0, [1, 2, 3])], ["2", job("for GPUs", "PENDING", 0, null)],
            ["3", job("breaks", "RUNNING", 4, [1, 2, 3])], ["4", job("held", "PAUSED", 0, null)],
        ]),
    };
    const told = [];
    const panel = attention({ picture, now: () => 100000 }, (id) => told.push(id));
    document.body.append(panel.element);
    panel.update();
    const lines = [...panel.element.querySelectorAll("li:not([hidden])")].map((line) => line.innerText.split("\\n"));
    panel.element.querySelector("button").click();
    picture.workers.clear();
    picture.jobs.clear();
    panel.update();
    return [lines, told, panel.element.hidden];
}"""


def test_what_needs_a_look_is_named_and_nothing_is_if_all_is_well(page: Page, farm: RunningFarm) -> None:
    enter(page, farm)
    lines, opened, is_hidden = page.evaluate(CARDS)
    assert [" ".join(filter(None, line)) for line in lines] == [
        "No Mac here can render for GPUs 1 d",
        "Images failed breaks 4",
        "Slow hot 55 %",
        "Silent asleep 5 min",
    ]
    assert opened == ["hot"]
    assert is_hidden


def test_a_reason_that_names_a_job_links_to_it(page: Page, farm: RunningFarm) -> None:
    enter(page, farm)
    pieces = page.evaluate(
        """async () => {
            const { linked } = await import("/job.js");
            const text = "could render it, but job 2026-a1 comes first; job 2026-b2, too";
            const known = new Map([["2026-a1", { name: "<night> shift" }]]);
            return linked(text, known).map((piece) => piece.outerHTML ?? piece);
        }"""
    )
    link = '<a href="#/jobs/2026-a1">&lt;night&gt; shift</a>'
    assert "".join(pieces) == f"could render it, but job {link} comes first; job 2026-b2, too"


def test_a_connection_that_went_silent_is_made_anew(page: Page, farm: RunningFarm) -> None:
    page.add_init_script(
        """window.opened = 0;
        window.EventSource = class extends EventSource { constructor(url) { super(url); window.opened += 1; } };"""
    )
    page.clock.install()
    enter(page, farm)
    assert page.evaluate("window.opened") == 1
    page.clock.fast_forward(50_000)  # the farm has told nothing in this time that the page knows of
    page.wait_for_function("window.opened >= 2")
    expect(page.locator(".live.on")).to_be_visible()


def test_the_page_goes_on_by_itself_when_the_farm_was_restarted(browser: Browser, tmp_path: Path) -> None:
    address = free_ray_address()
    page = new_page(browser)
    with running_farm(tmp_path / "state", page=address) as first:
        enter(page, first)
        submit(page, "a red circle", name="before")
        finished(page)
        visit(page, "Jobs")
    expect(page.locator(".live.on")).to_have_count(0)
    with running_farm(tmp_path / "state", page=address):
        expect(page.locator(".live.on")).to_be_visible()
        expect(page.locator(".job[data-state=SUCCEEDED]")).to_contain_text("before")
        submit(page, "a blue circle", name="after")
        finished(page)
        page.context.close()
