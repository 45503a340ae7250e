"""webuiapi, a client of AUTOMATIC1111's interface, makes images with a farm."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import webuiapi
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from farm.access.tokens import Role
from farm.catalogue.catalogue import BUNDLED
from farm.client import Client
from farm.domain import SAMPLERS
from farm.errors import InvalidRequestError
from farm.web.automatic1111_images import sampler
from tests.running_farm import RunningFarm, running_farm
from tests.waiting import PATIENCE, until
from tests.web.jobs import until_cancelled

SMALL = {"width": 64, "height": 64, "steps": 3}


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFarm]:
    with running_farm(tmp_path_factory.mktemp("farm") / "state", page="127.0.0.1:0") as running:
        yield running


@pytest.fixture(scope="module")
def slow_farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFarm]:
    with running_farm(tmp_path_factory.mktemp("slow") / "state", page="127.0.0.1:0", seconds_per_image=20) as running:
        yield running


def webui(farm: RunningFarm, name: str = "anna") -> Any:
    secret = farm.access.tokens.create(Role.SUBMIT, name)[1]
    place = urlsplit(farm.page)
    return webuiapi.WebUIApi(host=place.hostname, port=place.port, username="anybody", password=secret)


def test_images_come_with_what_the_webui_says_of_them(farm: RunningFarm) -> None:
    result = webui(farm).txt2img(
        prompt="a red circle",
        negative_prompt="a ring",
        seed=7,
        cfg_scale=2.5,
        sampler_name="DPM++ 2M",
        scheduler="karras",
        batch_size=2,
        n_iter=2,
        **SMALL,
    )

    assert [image.size for image in result.images] == [(64, 64)] * 4
    assert result.info["all_seeds"] == [7, 8, 9, 10]
    assert result.info["infotexts"] == [image.info["parameters"] for image in result.images]
    settings = "Steps: 3, Sampler: DPM++ 2M Karras, CFG scale: 2.5, Seed: 7, Size: 64x64"
    assert result.info["infotexts"][0].startswith(f"a red circle\nNegative prompt: a ring\n{settings}")
    assert (result.info["sampler_name"], result.info["sd_model_name"]) == ("DPM++ 2M Karras", "shapes")
    assert result.parameters["cfg_scale"] == 2.5
    with Client(farm.address) as client:
        job = client.job(result.info["extra_generation_params"]["Job"]).message
    assert (job.submitter, dict(job.spec.labels)) == ("anna", {"source": "a1111"})


def test_a_seed_of_minus_one_is_any(farm: RunningFarm) -> None:
    seeds = {webui(farm).txt2img(prompt="a", seed=-1, **SMALL).info["seed"] for _ in range(2)}

    assert len(seeds) == 2
    assert -1 not in seeds


def test_what_can_be_chosen_is_listed(farm: RunningFarm) -> None:
    asked = webui(farm)

    assert asked.util_get_model_names() == [asked.get_options()["sd_model_checkpoint"]]
    assert {one["name"] for one in asked.get_samplers()} == set(SAMPLERS.values())
    assert "karras" in {one["name"] for one in asked.get_schedulers()}
    assert asked.get_scripts() == {"txt2img": [], "img2img": []}
    assert (asked.get_loras(), asked.get_upscalers(), asked.get_sd_vae(), asked.get_cmd_flags()) == ([], [], [], {})
    assert asked.refresh_checkpoints() is None


def test_a_model_is_chosen_for_ones_own_next_requests(farm: RunningFarm) -> None:
    asked = webui(farm)

    asked.util_set_model("shapes")

    assert asked.util_get_current_model().startswith("shapes [")
    assert asked.txt2img(prompt="a", **SMALL).info["sd_model_name"] == "shapes"
    assert asked.set_options({"sd_model_checkpoint": "nothing"})["error"] == "MODEL_NOT_FOUND"
    assert "samples_format" in asked.set_options({"samples_format": "jpg"})["detail"]
    assert asked.set_options({"samples_format": "png"}) is None


def test_an_image_starts_from_a_picture(farm: RunningFarm) -> None:
    result = webui(farm).img2img(images=[Image.new("RGB", (96, 32))], prompt="a", denoising_strength=0.6, **SMALL)

    assert result.image.size == (64, 64)
    assert "Denoising strength: 0.6" in result.info["infotexts"][0]
    assert result.info["denoising_strength"] == 0.6


def test_a_model_that_cannot_start_from_a_picture_says_so(tmp_path: Path) -> None:
    shutil.copytree(BUNDLED, tmp_path / "models", ignore=shutil.ignore_patterns("*vae_encoder*"))
    with (
        running_farm(tmp_path / "state", page="127.0.0.1:0", models=tmp_path / "models") as farm,
        pytest.raises(RuntimeError, match=r"init_images cannot be used: shapes has no vae_encoder") as raised,
    ):
        webui(farm).img2img(images=[Image.new("RGB", (64, 64))], prompt="a", **SMALL)

    assert raised.value.args[0] == 400


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"sampler_name": "DPM adaptive"}, "sampler_name"),
        ({"scheduler": "turbo"}, "scheduler"),
        ({"sampler_name": "Euler a", "scheduler": "karras"}, "scheduler"),
        ({"width": 512}, "width"),
        ({"cfg_scale": 1000}, "cfg_scale"),
        ({"steps": "many"}, "steps"),
        ({"enable_hr": True}, "enable_hr"),
        ({"subseed_strength": 0.5}, "subseed_strength"),
        ({"script_name": "x/y plot"}, "script_name"),
        ({"override_settings": {"sd_model_checkpoint": "other"}}, "other"),
        ({"batch_size": 8, "n_iter": 100}, "batch_size"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_what_is_wrong_or_cannot_be_done_is_said_in_the_interfaces_own_words(
    farm: RunningFarm, wrong: dict[str, Any], named: str
) -> None:
    with pytest.raises(RuntimeError, match=named) as raised:
        webui(farm).txt2img(**{"prompt": "a", **SMALL, **wrong})

    assert raised.value.args[0] in (400, 404)


@pytest.mark.parametrize("pictures", [[], ["no base64!"], ["", ""]])
def test_a_picture_to_start_from_must_be_one(farm: RunningFarm, pictures: list[str]) -> None:
    token = farm.access.tokens.create(Role.SUBMIT, "anna")[1]

    answer = httpx.post(f"{farm.page}sdapi/v1/img2img", json={"init_images": pictures}, auth=("a", token))

    assert answer.status_code == 400
    assert "init_images" in answer.json()["detail"]


def test_who_has_no_token_gets_nothing(farm: RunningFarm) -> None:
    for path in ("sd-models", "progress", "scripts", "options"):
        assert httpx.get(f"{farm.page}sdapi/v1/{path}").status_code == 401
    for path in ("txt2img", "img2img", "interrupt", "options"):
        assert httpx.post(f"{farm.page}sdapi/v1/{path}", json={}, auth=("a", "b")).json()["error"] == "UNAUTHENTICATED"


def test_progress_is_told_to_whose_it_is_until_it_is_interrupted(slow_farm: RunningFarm) -> None:
    anna, ben = webui(slow_farm), webui(slow_farm, "ben")
    assert anna.get_progress()["progress"] == 0
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(anna.txt2img, prompt="a", batch_size=3, **(SMALL | {"steps": 40}))

        until(lambda: anna.get_progress()["state"]["sampling_step"] > 0, "no step was told")
        told = anna.get_progress()

        assert 0 < told["progress"] < 1
        assert (told["state"]["sampling_steps"], told["state"]["job_count"]) == (40, 1)
        assert ben.get_progress()["state"]["job_count"] == 0
        ben.interrupt()
        assert anna.get_progress()["state"]["interrupted"] is False
        anna.interrupt()
        assert waiting.result(timeout=PATIENCE).images == []
    until_cancelled(slow_farm)
    assert anna.get_progress()["state"]["job_count"] == 0


def test_a_client_that_goes_away_takes_its_job_with_it(slow_farm: RunningFarm) -> None:
    token = slow_farm.access.tokens.create(Role.SUBMIT, "anna")[1]

    impatient = httpx.Timeout(PATIENCE, read=0.5)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{slow_farm.page}sdapi/v1/txt2img", json={"prompt": "a"}, auth=("a", token), timeout=impatient)

    until_cancelled(slow_farm)


@given(st.sampled_from(sorted(SAMPLERS)), st.sampled_from(["", "automatic", "Automatic", "uniform"]))
def test_each_sampler_is_found_by_its_name_here_and_there(name: str, scheduler: str) -> None:
    assert sampler(SAMPLERS[name], scheduler) == sampler(SAMPLERS[name].upper(), scheduler) == name
    assert sampler(name, scheduler) == name


@pytest.mark.parametrize(
    ("label", "scheduler", "name"),
    [
        ("", "karras", None),
        ("Euler", "Exponential", "euler-exponential"),
        ("DPM++ 2M SDE Karras", "karras", "dpmpp-2m-sde-karras"),
    ],
)
def test_a_scheduler_spaces_the_noise_levels_of_a_sampler(label: str, scheduler: str, name: str | None) -> None:
    assert sampler(label, scheduler) == name


def test_a_spacing_is_not_said_twice_in_two_ways() -> None:
    with pytest.raises(InvalidRequestError, match="does not go with"):
        sampler("Euler Karras", "exponential")
