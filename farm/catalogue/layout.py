"""How published model folders are laid out: one table of patterns over the paths of the packages in them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from farm.domain import AttentionVariant
from farm.errors import PackageError

REQUIRED_COMPONENTS = ("text_encoder", "unet", "vae_decoder")
"""Without these there is no image; a vae_encoder is needed only to start from a picture."""

TOKENIZER_FILES = ("vocab.json", "merges.txt")

_COMPONENTS = "text_encoder|unet|vae_decoder|vae_encoder|safety_checker"


@dataclass(frozen=True, slots=True)
class Layout:
    """One way in which models are published.

    Attributes:
        name: What people call it.
        package: Matches a package's path relative to the model's folder; its groups are `attention` and `component`.
        tokenizers: Folders that may hold vocab.json and merges.txt, the likeliest first.
    """

    name: str
    package: re.Pattern[str]
    tokenizers: tuple[str, ...]


LAYOUTS = (
    Layout(
        name="packages of Apple's converter, a folder for each form of attention",
        package=re.compile(
            r"(?P<attention>original|split_einsum|split_einsum_v2)/packages/"
            rf"Stable_Diffusion_version_.+_(?P<component>{_COMPONENTS})\.mlpackage"
        ),
        tokenizers=(".", "{attention}/packages", "{attention}/compiled", "tokenizer"),
    ),
)


@dataclass(frozen=True, slots=True)
class VariantFolder:
    """Where one form of a model lies.

    Attributes:
        attention: What the folder's name says of its attention.
        components: Folder of each package by component.
        tokenizer: Folder that holds vocab.json and merges.txt.
    """

    attention: AttentionVariant
    components: Mapping[str, Path]
    tokenizer: Path


def find_variants(folder: Path) -> tuple[VariantFolder, ...]:
    """Recognises what lies in a model's folder.

    Raises:
        PackageError: Nothing in it is in a known layout, or a form lacks a component or the tokenizer.
    """
    packages = sorted(path for path in folder.rglob("*.mlpackage") if path.is_dir())
    for layout in LAYOUTS:
        variants = _variants_in(layout, folder, packages)
        if variants:
            return variants
    known = "; ".join(layout.name for layout in LAYOUTS)
    raise PackageError(
        f"{folder} holds no packages in a layout that the farm knows ({known}), so no model can be read from it; "
        "put the packages into such folders, or take the folder away"
    )


def _variants_in(layout: Layout, folder: Path, packages: list[Path]) -> tuple[VariantFolder, ...]:
    by_attention: dict[str, dict[str, Path]] = {}
    for package in packages:
        match = layout.package.fullmatch(package.relative_to(folder).as_posix())
        if match:
            components = by_attention.setdefault(match["attention"], {})
            if match["component"] in components:
                raise PackageError(
                    f"{package.parent} holds more than one {match['component']} package, so it is unclear which model "
                    "is meant; keep one model in a folder"
                )
            components[match["component"]] = package
    return tuple(
        _variant(layout, folder, attention, components) for attention, components in sorted(by_attention.items())
    )


def _variant(layout: Layout, folder: Path, attention: str, components: dict[str, Path]) -> VariantFolder:
    missing = [component for component in REQUIRED_COMPONENTS if component not in components]
    if missing:
        raise PackageError(
            f"{folder / attention} has no package for {', '.join(missing)}, so it cannot make images; "
            "fetch or convert the model again, completely"
        )
    places = [folder / place.format(attention=attention) for place in layout.tokenizers]
    for place in places:
        if all((place / name).is_file() for name in TOKENIZER_FILES):
            return VariantFolder(AttentionVariant(attention.upper()), components, place)
    raise PackageError(
        f"{folder} lacks {' and '.join(TOKENIZER_FILES)}, so prompts cannot be read; copy them from the tokenizer "
        "folder of the model's checkpoint"
    )
