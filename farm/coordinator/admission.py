"""What a submission must be to be accepted: pure checks that name every field that is wrong, and why.

They hold whichever way a job comes in (gRPC, the web page, a test), so that no worker ever meets a spec that was
never possible.
"""

import math
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol
from urllib.parse import urlsplit

from farm.domain import (
    INIT_IMAGE_SIGNATURES,
    MAX_INIT_IMAGE_BYTES,
    MAX_STEPS,
    MAX_STEPS_OF,
    SAMPLERS,
    SEED_LIMIT,
    ImageSpec,
    JobSpec,
    Model,
)
from farm.errors import InfeasibleJobError, InvalidRequestError
from farm.scheduler.fitting import missing
from farm.scheduler.state import FarmState, kind_of, known_workers

NOTHING_SAID = ImageSpec()
MAX_PROMPT_CHARACTERS = 10_000
MAX_NAME_CHARACTERS = 512
MAX_LABELS = 64
MAX_LABEL_CHARACTERS = 256
MAX_URL_CHARACTERS = 2000
PRIORITIES = range(-100, 101)

MAX_LACKS = 3
"""Workers that are named at most when none can render a job."""


class Models(Protocol):
    """What knows the models: a catalogue."""

    def models(self) -> Sequence[Model]:
        """All of them."""

    def get(self, name: str) -> Model:
        """One of them. Raises `ModelNotFoundError` if there is none of that name."""


def chosen_model(models: Models, name: str) -> Model:
    """The model of that name; an empty one stands for the only one there is. Reads folders.

    Raises:
        ModelNotFoundError: There is none of that name.
        InvalidRequestError: None is named, and there is not exactly one.
    """
    if name:
        return models.get(name)
    there = models.models()
    if len(there) != 1:
        known = ", ".join(model.name for model in there) or "none; add one first"
        raise InvalidRequestError(
            f"The job names no model in spec.model, and there is not exactly one to choose. There are: {known}.",
            {"spec.model": f"is missing; known are {known}"},
        )
    return there[0]


def image_violations(spec: ImageSpec, model: Model, defaults: ImageSpec = NOTHING_SAID) -> Iterator[tuple[str, str]]:
    """Yields (field, what is wrong with it) for each field that `spec` sets wrongly for `model`.

    Args:
        spec: What is said of an image.
        model: What renders it.
        defaults: What fills the fields that `spec` leaves open.
    """
    for name in ("prompt", "negative_prompt"):
        text = getattr(spec, name)
        if text is not None and len(text) > MAX_PROMPT_CHARACTERS:
            yield name, f"has {len(text)} characters; at most {MAX_PROMPT_CHARACTERS} are taken"
        if text is not None and "\0" in text:  # PNG's texts end at one
            yield name, "holds a zero character"
    if spec.seed is not None and not 0 <= spec.seed < SEED_LIMIT:
        yield "seed", f"is {spec.seed}; seeds go from 0 to {SEED_LIMIT - 1}"
    yield from _step_violations(spec, defaults.over(model.defaults))
    if spec.guidance_scale is not None and not (math.isfinite(spec.guidance_scale) and 0 <= spec.guidance_scale <= 100):
        yield "guidance_scale", f"is {spec.guidance_scale}; it must be a number from 0 to 100"
    if spec.sampler is not None and spec.sampler not in SAMPLERS:
        yield "sampler", f'is "{spec.sampler}"; known are {", ".join(SAMPLERS)}'
    if spec.strength is not None and not (math.isfinite(spec.strength) and 0 < spec.strength <= 1):
        yield "strength", f"is {spec.strength}; it must be above 0 and at most 1"
    yield from _picture_violations(spec, model)
    yield from _size_violations(spec, model)


def _picture_violations(spec: ImageSpec, model: Model) -> Iterator[tuple[str, str]]:
    """A picture to start from; whether it is damaged further on shows when it is rendered."""
    if spec.init_image is None:
        return
    if len(spec.init_image) > MAX_INIT_IMAGE_BYTES:
        yield "init_image", f"has {len(spec.init_image)} bytes; at most {MAX_INIT_IMAGE_BYTES} are taken"
    elif not spec.init_image.startswith(tuple(INIT_IMAGE_SIGNATURES)):
        yield "init_image", f"is not a {' or '.join(INIT_IMAGE_SIGNATURES.values())} file"
    if not all("vae_encoder" in variant.components for variant in model.variants):
        yield "init_image", f"cannot be used: {model.name} has no vae_encoder to read it with"


def _step_violations(spec: ImageSpec, defaults: ImageSpec) -> Iterator[tuple[str, str]]:
    """Steps and sampler are judged together, where either of them is set."""
    if spec.steps is None and spec.sampler is None:
        return
    filled = spec.over(defaults)
    most = MAX_STEPS_OF.get(filled.sampler or "", MAX_STEPS)
    if filled.steps is not None and not 1 <= filled.steps <= most:
        with_what = f" with the sampler {filled.sampler}" if filled.sampler in MAX_STEPS_OF else ""
        yield "steps", f"is {filled.steps}; it must be from 1 to {most}{with_what}"


def _size_violations(spec: ImageSpec, model: Model) -> Iterator[tuple[str, str]]:
    """A Core ML package is converted for one size; another cannot be rendered with it."""
    sizes = sorted({(variant.width, variant.height) for variant in model.variants})
    known = ", ".join(f"{width}x{height}" for width, height in sizes)
    for position, name in enumerate(("width", "height")):
        value = getattr(spec, name)
        if value is not None and value not in {size[position] for size in sizes}:
            yield name, f"is {value}; {model.name} was converted for {known}"


def job_violations(spec: JobSpec, model: Model) -> Iterator[tuple[str, str]]:
    """Yields (field path, what is wrong with it) for each field of a job's spec that is wrong."""
    if spec.priority not in PRIORITIES:
        yield "spec.priority", f"is {spec.priority}; it must be from {PRIORITIES[0]} to {PRIORITIES[-1]}"
    if len(spec.display_name) > MAX_NAME_CHARACTERS:
        yield "spec.display_name", f"has {len(spec.display_name)} characters; at most {MAX_NAME_CHARACTERS} are taken"
    if any(unicodedata.category(character) == "Cc" for character in spec.display_name):
        # It is shown on other people's terminals, which control characters would steer.
        yield "spec.display_name", "holds a control character, such as the end of a line"
    if len(spec.labels) > MAX_LABELS:
        yield "spec.labels", f"has {len(spec.labels)} labels; at most {MAX_LABELS} are taken"
    if any(len(text) > MAX_LABEL_CHARACTERS for label in spec.labels.items() for text in label):
        yield "spec.labels", f"has a key or value of more than {MAX_LABEL_CHARACTERS} characters"
    if problem := _webhook_problem(spec.webhook):
        yield "spec.webhook", problem
    for name, message in image_violations(spec.defaults, model):
        yield f"spec.defaults.{name}", message
    digests = {variant.digest for variant in model.variants}
    if spec.pin.model_digest and spec.pin.model_digest not in digests:
        yield "spec.pin.model_digest", f"is no variant of {model.name}; known are {', '.join(sorted(digests))}"
    if spec.pin.attention and spec.pin.attention not in {variant.attention for variant in model.variants}:
        yield "spec.pin.attention", f"is {spec.pin.attention.value}; {model.name} has no such variant"


def _webhook_problem(url: str) -> str:
    """Why a job's end cannot be told to this URL; empty if it can, or nobody is to be told."""
    if not url:
        return ""
    if len(url) > MAX_URL_CHARACTERS or not url.isascii() or not url.isprintable() or " " in url:
        return f"must be at most {MAX_URL_CHARACTERS} printable ASCII characters without spaces"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return f"is not a URL ({error})"
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        return f'is "{url[:50]}"; it must begin with https://HOST or http://HOST'
    if parts.username is not None or parts.password is not None:
        return "must hold no user name or password; put a secret into its path or query"
    return ""


def entry_violations(
    entries: Iterable[ImageSpec], first_index: int, defaults: ImageSpec, model: Model
) -> Iterator[tuple[str, str]]:
    """Yields (field path, what is wrong with it) over a run of entries, the first of which has `first_index`."""
    for index, entry in enumerate(entries, first_index):
        for name, message in image_violations(entry, model, defaults):
            yield f"entries[{index}].{name}", message
        if entry.prompt is None and defaults.prompt is None:
            yield f"entries[{index}].prompt", "is missing, and the job's defaults have none either"


def _way_out(state: FarmState, spec: JobSpec) -> str:
    if any(offer.model == spec.model for _, facts in known_workers(state) for offer in facts.offers):
        return "change the job, or let a worker join that can"
    return (
        "no worker has it: on a Mac run `farm models pull` or `farm models add` for it, and its worker offers it some "
        "seconds later (a compiled model runs on Macs only)"
    )


def refuse_infeasible(state: FarmState, spec: JobSpec) -> None:
    """Refuses a job that none of the workers that have joined can ever render; while none has, it may wait for one.

    Raises:
        InfeasibleJobError: Names what is missing.
    """
    lacks = missing(state.rates, kind_of(spec), known_workers(state))
    if lacks:
        more = f", and {len(lacks) - MAX_LACKS} more" if len(lacks) > MAX_LACKS else ""
        raise InfeasibleJobError(
            f"No worker of this farm can render the job: {'; '.join(lacks[:MAX_LACKS])}{more}. Nothing was submitted; "
            f"{_way_out(state, spec)}.",
            model=spec.model,
        )
