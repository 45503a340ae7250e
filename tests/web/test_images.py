"""Images over HTTP: whose they are, thumbnails, the gallery, and the command that renders one again."""

import asyncio
import hashlib
import io
import shlex
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from farm.access.tokens import Role
from farm.cli.main import main
from farm.client import Client
from farm.web import thumbnails
from farm.web.thumbnails import SIDE, Thumbnails
from tests.running_farm import RunningFarm, running_farm
from tests.waiting import PATIENCE


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFarm]:
    with running_farm(tmp_path_factory.mktemp("farm") / "state", page="127.0.0.1:0") as running:
        yield running


@pytest.fixture(scope="module")
def job(farm: RunningFarm) -> str:
    """A job of ten images of anna's, that is done."""
    token = farm.access.tokens.create(Role.SUBMIT, "anna")[1]
    with Client(farm.address, token=token) as client:
        done = client.submit([f"a red circle, number {n}" for n in range(9)] + ["A Blue star; it's"], seed=7)
        done.wait()
    return str(done.name).removeprefix("jobs/")


def web(farm: RunningFarm, role: Role = Role.ADMIN, name: str = "root") -> httpx.Client:
    token = farm.access.tokens.create(role, name)[1]
    return httpx.Client(base_url=farm.page, headers={"Authorization": f"Bearer {token}"}, timeout=PATIENCE)


def test_the_file_that_is_served_is_the_one_that_was_committed(farm: RunningFarm, job: str) -> None:
    with web(farm) as client:
        known = client.get(f"/images/{job}/3").json()
        served = client.get(f"/images/{job}/3/{known['attempt_number']}.png")
    assert hashlib.sha256(served.content).hexdigest() == known["sha256"]
    assert "immutable" in served.headers["cache-control"]
    assert (known["model"], known["seed"], known["chip"]) == ("shapes", 10, "null renderer")


def test_others_find_neither_images_nor_thumbnails_nor_the_gallery_of_a_job(farm: RunningFarm, job: str) -> None:
    with web(farm, Role.SUBMIT, "ben") as ben:
        paths = (f"/images/{job}/3", f"/images/{job}/3/1.png", f"/thumbnails/{job}/3/1")
        assert {ben.get(path).status_code for path in paths} == {404}
        assert ben.get("/gallery", params={"job": job}).json() == {"total": 0, "images": []}
    with web(farm, Role.WORKER, "studio-1") as worker:
        assert {worker.get(path).status_code for path in ("/gallery", *paths)} == {403}


@pytest.mark.parametrize("path", ["/images/../0/1.png", "/images/%2e%2e/0/1.png", "/thumbnails/none/0/1"])
def test_a_path_that_is_no_job_leads_nowhere(farm: RunningFarm, path: str) -> None:
    with web(farm) as client:
        assert client.get(path).status_code == 404


def test_the_gallery_gives_any_part_of_a_filtered_list(farm: RunningFarm, job: str) -> None:
    with web(farm) as client:

        def asked(**query: str | int) -> tuple[int, list[str]]:
            answer = client.get("/gallery", params={"job": job, **query}).json()
            return answer["total"], [image["prompt"] for image in answer["images"]]

        total, everything = asked(first=0, count=10)
        assert (total, len(everything)) == (10, 10)
        assert asked(first=4, count=3) == (10, everything[4:7])
        assert asked(first=-2, count=2) == (10, everything[-2:])
        assert asked(first=0, count=0) == (10, [])
        assert asked(text="blue STAR; it's", first=0) == (1, ["A Blue star; it's"])
        assert asked(text="100%_", first=0) == (0, [])
        assert asked(model="shapes", worker="local", **{"class": "CPU"})[0] == 10
        assert asked(**{"class": "GPU"})[0] == 0
        assert client.get("/gallery", params={"class": "TPU"}).status_code == 400
        assert client.get("/gallery", params={"first": "x"}).status_code == 400


def test_the_gallery_grows_and_shrinks_with_the_farm(farm: RunningFarm) -> None:
    with web(farm) as client, Client(farm.address) as submitter:

        def total() -> int:
            return int(client.get("/gallery", params={"count": 0}).json()["total"])

        before = total()
        done = submitter.submit(["a", "b"])
        done.wait()
        assert total() == before + 2
        assert client.post("/api/JobService/DeleteJob", json={"name": done.name}).status_code == 200
        assert total() == before


def test_the_command_of_an_image_renders_it_again(
    farm: RunningFarm, job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with web(farm) as client:
        known = client.get(f"/images/{job}/9").json()
    program, *arguments = shlex.split(known["command"])
    assert program == "farm"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FARM_ADDRESS", farm.address)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert not ended.value.code
    (again,) = (tmp_path / "out").glob("*/*0.png")
    assert hashlib.sha256(again.read_bytes()).hexdigest() == known["sha256"]


def picture(path: Path, side: int) -> Path:
    Image.effect_noise((side, side // 2), 50).convert("RGB").save(path, "PNG")
    return path


async def test_a_thumbnail_is_small_and_made_once_for_all_who_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = picture(tmp_path / "large.png", 1024)
    made: list[Path] = []
    make = thumbnails._made
    monkeypatch.setattr(thumbnails, "_made", lambda path: made.append(path) or make(path))  # type: ignore[func-returns-value]
    kept = Thumbnails()
    first, *others = await asyncio.gather(*(kept.of(path) for _ in range(5)))
    assert await kept.of(path) == first
    assert others == [first] * 4
    assert made == [path]
    assert Image.open(io.BytesIO(first)).size == (SIDE, SIDE // 2)
    kept.close()


async def test_a_small_image_is_its_own_thumbnail(tmp_path: Path) -> None:
    path = picture(tmp_path / "small.png", SIDE)
    kept = Thumbnails()
    assert await kept.of(path) == path.read_bytes()
    kept.close()


async def test_thumbnails_take_no_more_memory_than_they_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnails, "MAX_BYTES", 60_000)
    kept = Thumbnails()
    paths = [picture(tmp_path / f"{number}.png", 512) for number in range(6)]
    for path in paths:
        await kept.of(path)
    assert sum(map(len, kept._kept.values())) == kept._bytes <= 60_000
    assert list(kept._kept)[-1] == paths[-1]
    kept.close()


async def test_a_file_that_is_no_picture_is_told_and_asked_again_later(tmp_path: Path) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(b"no picture")
    kept = Thumbnails()
    with pytest.raises(OSError, match="cannot identify"):
        await kept.of(path)
    picture(path, 512)
    assert await kept.of(path)
    kept.close()
