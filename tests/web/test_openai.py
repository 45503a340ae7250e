"""OpenAI's own client makes images with a farm."""

import base64
import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import openai
import pytest
from PIL import Image

from farm.access.tokens import Role
from farm.client import Client
from tests.running_farm import RunningFarm, running_farm
from tests.waiting import PATIENCE, until
from tests.web.jobs import job_of, until_cancelled

CIRCLE = "a red circle"


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFarm]:
    with running_farm(tmp_path_factory.mktemp("farm") / "state", page="127.0.0.1:0", failures={3: 99}) as running:
        yield running


@pytest.fixture(scope="module")
def slow_farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFarm]:
    with running_farm(tmp_path_factory.mktemp("slow") / "state", page="127.0.0.1:0", seconds_per_image=30) as running:
        yield running


def secret(farm: RunningFarm, name: str = "anna") -> str:
    return farm.access.tokens.create(Role.SUBMIT, name)[1]


def client(farm: RunningFarm, key: str | None = None) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{farm.page}v1", api_key=key or secret(farm), timeout=PATIENCE)


def opened(b64_json: str | None) -> Image.Image:
    assert b64_json
    return Image.open(io.BytesIO(base64.b64decode(b64_json)))


def test_images_are_made_as_asked_for_and_belong_to_the_tokens_owner(farm: RunningFarm) -> None:
    answer = client(farm).images.generate(
        prompt=CIRCLE,
        model="shapes",
        n=2,
        size="64x64",
        user="a customer",
        extra_body={"seed": 7, "steps": 3, "guidance_scale": 2.5, "sampler": "euler", "negative_prompt": "a ring"},
    )

    assert answer.data is not None
    assert abs(answer.created - time.time()) < 60
    parameters = [opened(one.b64_json).info["parameters"] for one in answer.data]
    settings = "Steps: 3, Sampler: Euler, CFG scale: 2.5, Seed: 7"
    assert parameters[0].startswith(f"{CIRCLE}\nNegative prompt: a ring\n{settings}")
    assert "Seed: 8, Size: 64x64" in parameters[1]
    job = job_of(farm, answer)
    assert (job.submitter, job.image_count) == ("anna", 2)
    assert dict(job.spec.labels) == {"source": "openai", "user": "a customer"}


async def test_the_asyncio_client_does_the_same(farm: RunningFarm) -> None:
    async with openai.AsyncOpenAI(base_url=f"{farm.page}v1", api_key=secret(farm), timeout=PATIENCE) as asked:
        answer = await asked.images.generate(prompt=CIRCLE)

    assert answer.data is not None
    assert opened(answer.data[0].b64_json).size == (64, 64)


def test_a_link_gives_the_image_to_whoever_holds_it_and_no_other_image(farm: RunningFarm) -> None:
    answer = client(farm).images.generate(prompt=CIRCLE, response_format="url", n=2)

    assert answer.data is not None
    url = answer.data[0].url
    assert url is not None
    got = httpx.get(url)
    assert (got.status_code, got.headers["content-type"]) == (200, "image/png")
    assert Image.open(io.BytesIO(got.content)).size == (64, 64)
    other = url.replace("/0.png", "/1.png")
    assert httpx.get(other).status_code == 401
    assert httpx.get(f"{farm.page}{urlsplit(url).path[1:]}").status_code == 401


def test_models_are_listed_and_looked_up(farm: RunningFarm) -> None:
    asked = client(farm)

    assert [model.id for model in asked.models.list()] == ["shapes"]
    assert asked.models.retrieve("shapes").owned_by == "farm"
    with pytest.raises(openai.NotFoundError) as raised:
        asked.models.retrieve("dall-e-3")
    assert (raised.value.code, raised.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"size": "512x512"}, "size"),
        ({"size": "large"}, "size"),
        ({"n": 0}, "n"),
        ({"n": 101}, "n"),
        ({"stream": True}, "stream"),
        ({"extra_body": {"steps": "many"}}, "steps"),
        ({"extra_body": {"sampler": "best"}}, "sampler"),
        ({"extra_body": {"guidance": 3}}, "body"),
        ({"extra_query": {"timeout": "soon"}}, "timeout"),
    ],
)
def test_what_is_wrong_is_said_in_openais_form_with_its_parameter(
    farm: RunningFarm, wrong: dict[str, object], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client(farm).images.generate(prompt=CIRCLE, **wrong)  # type: ignore[call-overload]

    error = raised.value
    assert (error.param, error.type, error.code) == (param, "invalid_request_error", "invalid_request")
    assert param in error.message


def test_who_has_no_token_of_the_farms_gets_nothing(farm: RunningFarm) -> None:
    with pytest.raises(openai.AuthenticationError) as raised:
        client(farm, "sk-something-else").images.generate(prompt=CIRCLE)

    assert raised.value.code == "invalid_api_key"


def test_images_that_failed_are_left_out_and_counted(farm: RunningFarm) -> None:
    answer = client(farm).images.generate(prompt=CIRCLE, n=4)

    assert answer.data is not None
    assert len(answer.data) == 3
    assert answer.model_extra is not None
    assert answer.model_extra["failed_count"] == 1


def test_a_client_that_goes_away_takes_its_job_with_it(slow_farm: RunningFarm) -> None:
    asked = client(slow_farm).with_options(timeout=1.5, max_retries=0)

    with pytest.raises(openai.APITimeoutError):
        asked.images.generate(prompt=CIRCLE)

    until_cancelled(slow_farm)


def test_who_waits_too_long_is_told_so_once(slow_farm: RunningFarm) -> None:
    with pytest.raises(openai.InternalServerError, match=r"not ready after 0\.5 s") as raised:
        client(slow_farm, secret(slow_farm, "ben")).images.generate(prompt=CIRCLE, extra_query={"timeout": "0.5"})

    assert raised.value.code == "time_limit_exceeded"
    until_cancelled(slow_farm)
    with Client(slow_farm.address) as own:
        assert len([job for job in own.jobs() if job.message.submitter == "ben"]) == 1


def test_who_waits_while_the_farm_is_stopped_is_told_so(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as thread:
        with running_farm(tmp_path / "state", page="127.0.0.1:0", seconds_per_image=60) as farm:
            asked = client(farm).with_options(max_retries=0)
            waiting = thread.submit(asked.images.generate, prompt=CIRCLE)
            with Client(farm.address) as own:
                until(lambda: any(own.jobs()), "there is no job")
        with pytest.raises(openai.InternalServerError, match="being stopped") as raised:
            waiting.result(timeout=PATIENCE)

    assert raised.value.status_code == 503
    with running_farm(tmp_path / "state") as again:
        until_cancelled(again)
