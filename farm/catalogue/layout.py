"""How published model folders are laid out: one table of patterns over the paths of the packages in them.

A layout only proposes which component a package is and what belongs together; what the package says of itself
(`farm.catalogue.roles`) has the last word.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from farm.domain import AttentionVariant

TOKENIZER_FILES = ("vocab.json", "merges.txt")

SUFFIXES = (".mlpackage", ".mlmodelc")

SWIFT_NAMES = {
    "TextEncoder": "text_encoder",
    "TextEncoder2": "text_encoder_2",
    "Unet": "unet",
    "UnetChunk1": "unet_chunk1",
    "UnetChunk2": "unet_chunk2",
    "UnetRefiner": "refiner",
    "UnetRefinerChunk1": "refiner_chunk1",
    "UnetRefinerChunk2": "refiner_chunk2",
    "ControlledUnet": "control_unet",
    "ControlledUnetChunk1": "control_unet_chunk1",
    "ControlledUnetChunk2": "control_unet_chunk2",
    "MultiModalDiffusionTransformer": "mmdit",
    "VAEDecoder": "vae_decoder",
    "VAEEncoder": "vae_encoder",
    "SafetyChecker": "safety_checker",
}
"""Names of Apple's Swift package, which Mochi and Hugging Face's app take over, and the components they stand for."""

PYTHON_NAMES = {name.replace("control_", "control-"): name for name in SWIFT_NAMES.values()}
"""Names of Apple's converter, and the components they stand for."""


def _any_of(names: Iterable[str]) -> str:
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))


_PLACE = r"(?:(?P<place>.*)/)?"
_SUFFIX = rf"(?:{_any_of(SUFFIXES)})"


@dataclass(frozen=True, slots=True)
class Layout:
    """One way in which packages are named.

    Attributes:
        name: What people call it.
        example: A path as it is published.
        path: Matches a package's path relative to the model's folder. Its groups are `place`, the folder of all
            packages that belong together, and, unless the packages alone say it, `component`.
        components: What the words that `component` matches stand for.
    """

    name: str
    example: str
    path: re.Pattern[str]
    components: Mapping[str, str]


LAYOUTS = (
    Layout(
        name="the names of Apple's converter, with or without their prefix",
        example="split_einsum/packages/Stable_Diffusion_version_runwayml_stable-diffusion-v1-5_unet.mlpackage",
        path=re.compile(rf"{_PLACE}(?:[^/]*_)?(?P<component>{_any_of(PYTHON_NAMES)}){_SUFFIX}"),
        components=PYTHON_NAMES,
    ),
    Layout(
        name="the names of Apple's Swift package, also behind a prefix; Mochi Diffusion's folders",
        example="original/compiled/UnetChunk1.mlmodelc",
        path=re.compile(rf"{_PLACE}[^/]*?(?P<component>{_any_of(SWIFT_NAMES)}){_SUFFIX}"),
        components=SWIFT_NAMES,
    ),
    Layout(
        name="a folder for each component, as in diffusers",
        example="unet/coreml_model.mlpackage",
        path=re.compile(rf"{_PLACE}(?P<component>{_any_of(PYTHON_NAMES)})/[^/]+{_SUFFIX}"),
        components=PYTHON_NAMES,
    ),
    Layout(
        name="any names, where the inputs and outputs of the packages tell them apart",
        example="export/denoiser.mlpackage",
        path=re.compile(rf"{_PLACE}[^/]+{_SUFFIX}"),
        components={},
    ),
)

_ATTENTION = re.compile(
    r"(?:^|[/_])(?P<attention>original|split_einsum|split_einsum_v2)(?:_compiled|_packages)?(?=/|$)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Named:
    """What the path of a package says of it.

    Attributes:
        layout: The layout that it is named by.
        place: Path of the folder of all packages that belong together; "" for the model's own.
        component: The component that its name stands for; None where its name says nothing.
    """

    layout: Layout
    place: str
    component: str | None


def read_path(path: str) -> Named:
    """Reads the path of a package, relative to its model's folder and with forward slashes."""
    return next(_readings(path))


def _readings(path: str) -> Iterator[Named]:
    for layout in LAYOUTS:
        match = layout.path.fullmatch(path)
        if match:
            word = match.groupdict().get("component")
            yield Named(layout, match["place"] or "", layout.components[word] if word else None)


def promised_attention(place: str) -> AttentionVariant | None:
    """The form of attention that the folders of a place promise, for example "split_einsum/packages"; the innermost."""
    found = list(_ATTENTION.finditer(place))
    return AttentionVariant(found[-1]["attention"].upper()) if found else None
