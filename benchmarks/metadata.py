"""How much of an image's metadata other tools read back: sd-parsers and SD Prompt Reader.

An image is encoded for every sampler, with prompts as people write them (several lines, weights, other scripts, names
of settings). A field counts as read if its value is, to the last digit, what was asked for. Prompts that hold the
format's own marks are measured beside them: the text that both tools read cannot tell those from its frame, while the
farm reads them from its own JSON.
"""

import io
import itertools
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from benchmarks.report import report
from farm.diffusion.png import encode_png, read_provenance
from farm.domain import SAMPLERS, SEED_LIMIT, AttentionVariant, ChipClass, ComputeUnit, Provenance, RenderSpec

FIELDS = ("prompt", "negative_prompt", "steps", "sampler", "guidance_scale", "seed", "size", "model")

MODEL = "stable-diffusion-2-1-base"

_PROMPTS = (
    "a large yellow star on a blue background",
    "portrait, (detailed skin:1.2), 85mm, f/1.8\nstudio light",
    "星空の下の灯台, café à Paris, 🌌",
    'a sign that says "Steps: 12, Sampler: none", 4:3',
    "",
)
_NEGATIVE_PROMPTS = ("", "blurry, (watermark:1.4)\nlow contrast")
_NUMBERS = ((20, 7.5, 0), (1, 2.0, SEED_LIMIT - 1), (50, 7.123456789, 1234))  # steps, guidance scale, seed

_MARKED_PROMPTS = ("a\nNegative prompt: b", "a\nSteps: 20, Sampler: b, CFG scale: 9, Seed: 2")

_PROVENANCE = Provenance(
    model=MODEL,
    model_digest="sha256:" + "0123456789abcdef" * 4,
    attention=AttentionVariant.SPLIT_EINSUM,
    runtime="coreml",
    compute_unit=ComputeUnit.CPU_AND_NE,
    chip="Apple M2 Pro",
    chip_class=ChipClass.ANE,
    versions={},
)

Reader = Callable[[bytes], Mapping[str, str]]
"""Takes a PNG, gives each of FIELDS as text; empty where it found none."""


def read_with_sd_parsers(png: bytes) -> Mapping[str, str]:
    """What sd-parsers reads."""
    from sd_parsers import ParserManager

    found = ParserManager().parse(io.BytesIO(png))
    if found is None:
        return {}
    sampler = found.samplers[0]
    return {
        "prompt": found.full_prompt,
        "negative_prompt": found.full_negative_prompt,
        "steps": sampler.parameters.get("steps", ""),
        "sampler": sampler.name,
        "guidance_scale": sampler.parameters.get("cfg_scale", ""),
        "seed": sampler.parameters.get("seed", ""),
        "size": found.metadata.get("Size", ""),
        "model": str(sampler.model or ""),
    }


def read_with_sd_prompt_reader(png: bytes) -> Mapping[str, str]:
    """What SD Prompt Reader reads."""
    from sd_prompt_reader.image_data_reader import ImageDataReader

    found = ImageDataReader(io.BytesIO(png))
    return {
        "prompt": found.positive,
        "negative_prompt": found.negative,
        "steps": found.parameter["steps"],
        "sampler": found.parameter["sampler"],
        "guidance_scale": found.parameter["cfg"],
        "seed": found.parameter["seed"],
        "size": found.parameter["size"],
        "model": found.parameter["model"],
    }


def read_with_the_farm(png: bytes) -> Mapping[str, str]:
    """What the farm reads itself."""
    record = read_provenance(png)
    return asked_for(record.spec, record.provenance.model)


READERS: Mapping[str, Reader] = {
    "sd-parsers": read_with_sd_parsers,
    "sd-prompt-reader": read_with_sd_prompt_reader,
}


def asked_for(spec: RenderSpec, model: str = MODEL) -> Mapping[str, str]:
    """Each of FIELDS as a tool should read it."""
    return {
        "prompt": spec.prompt,
        "negative_prompt": spec.negative_prompt,
        "steps": str(spec.steps),
        "sampler": SAMPLERS[spec.sampler],
        "guidance_scale": str(spec.guidance_scale).removesuffix(".0"),
        "seed": str(spec.seed),
        "size": f"{spec.width}x{spec.height}",
        "model": model,
    }


def specs() -> Iterator[RenderSpec]:
    """What is encoded: every sampler, and every way of writing in turn."""
    texts = itertools.cycle(itertools.product(_PROMPTS, _NEGATIVE_PROMPTS))
    for sampler, (steps, guidance_scale, seed) in itertools.product(SAMPLERS, _NUMBERS):
        prompt, negative_prompt = next(texts)
        yield RenderSpec(prompt, negative_prompt, seed, 512, 768, steps, guidance_scale, sampler)


def marked_specs() -> Iterator[RenderSpec]:
    """Prompts that look like the frame they are put in."""
    for prompt in _MARKED_PROMPTS:
        yield RenderSpec(prompt, "blurry", 1, 512, 768, 20, 7.5, "euler")


def encoded(spec: RenderSpec) -> bytes:
    """An image file of the farm's."""
    return encode_png(np.zeros((spec.height, spec.width, 3), np.uint8), spec, _PROVENANCE)


def wrong_fields(reader: Reader, png: bytes, wanted: Mapping[str, str]) -> list[str]:
    """Fields that a tool does not read as they should be; all of them if it breaks."""
    try:
        found = reader(png)
    except ValueError:  # what sd-parsers meets in a prompt that holds the format's marks
        return list(FIELDS)
    return [field for field in FIELDS if found.get(field) != wanted[field]]


def main() -> None:
    """Prints how many fields of how many images each tool reads."""
    ordinary = [(encoded(spec), asked_for(spec)) for spec in specs()]
    marked = [(encoded(spec), asked_for(spec)) for spec in marked_specs()]
    for name, reader in {**READERS, "the farm": read_with_the_farm}.items():
        for figure, images, goal in (("fields_read", ordinary, 1.0), ("fields_read_of_marked_prompts", marked, None)):
            wrong = sum(len(wrong_fields(reader, png, wanted)) for png, wanted in images)
            report(
                "metadata",
                f"{figure} {name}",
                1 - wrong / (len(images) * len(FIELDS)),
                "fraction",
                goal,
                compared_with=f"what was asked for, {len(FIELDS)} fields of {len(images)} images",
                smaller_is_better=False,
            )


if __name__ == "__main__":
    main()
