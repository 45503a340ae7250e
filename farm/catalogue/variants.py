"""Finds the forms of a model in its folder: which packages there are, what each is, and what belongs together."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from farm.catalogue.contents import Contents, Interface
from farm.catalogue.layout import SUFFIXES, TOKENIZER_FILES, promised_attention, read_path
from farm.catalogue.manifest import VariantManifest
from farm.catalogue.roles import KINDS, ROLES, is_sdxl, role_of, text_width
from farm.domain import AttentionVariant
from farm.errors import PackageError
from farm.mil.compiled import is_compiled

ReadContents = Callable[[Path], Contents]

LATENT_CELL = 8
"""Pixels along the side of one latent in all of Stable Diffusion's autoencoders, for those that do not say it."""

_LITTER = ("__MACOSX",)
"""Folders that archivers leave behind; what the Finder leaves starts with a dot."""

_CHUNKS = (("unet", "unet_chunk1", "unet_chunk2"), ("refiner", "refiner_chunk1", "refiner_chunk2"))

_UNSUPPORTED = {
    "mmdit": "it is a Stable Diffusion 3 (a multi-modal diffusion transformer)",
    "control_unet": "its only UNet is one for ControlNet",
}
"""What a model may be instead of one that can be rendered with, by the component that shows it."""


_ALIKE = {("refiner", "unet"), ("unet", "unet_chunk1"), ("refiner", "unet_chunk1")}
"""Roles that packages may seem to have, and names that go with them: a first half may hand over one value only."""

_LEFT_OUT = ("controlnet", *_UNSUPPORTED)
"""Components that may lie beside a pipeline's, and that no pipeline of the farm uses."""


@dataclass(frozen=True, slots=True)
class Part:
    """A function of a package, as a component.

    Attributes:
        package: The package.
        function: Name of the function; None for the default one.
        interface: What it takes and gives.
        precision: How its weights are stored.
    """

    package: Path
    function: str | None
    interface: Interface
    precision: str


@dataclass(frozen=True, slots=True)
class VariantFolder:
    """One form of a model, as its packages have it.

    Attributes:
        attention: How its attention is written.
        width: Width in pixels of the images it makes.
        height: Height in pixels of the images it makes.
        parts: Its components by name.
        tokenizer: Folder that holds vocab.json and merges.txt.
    """

    attention: AttentionVariant
    width: int
    height: int
    parts: Mapping[str, Part]
    tokenizer: Path

    @property
    def unet(self) -> Part:
        """The UNet, or the first half of it."""
        return self.parts.get("unet") or self.parts["unet_chunk1"]

    @property
    def is_compiled(self) -> bool:
        """Whether a package of it is compiled."""
        return any(is_compiled(part.package) for part in self.parts.values())


@dataclass(slots=True)
class _Set:
    """Packages that belong together: every function of each, by component, the default one first."""

    place: str
    promised: AttentionVariant | None
    parts: dict[str, list[Part]] = field(default_factory=dict)


def find_variants(folder: Path, listed: Sequence[VariantManifest], read: ReadContents) -> tuple[VariantFolder, ...]:
    """Recognises what lies in a model's folder.

    Args:
        folder: The folder.
        listed: The forms that the model's manifest lists; if there are none, they are looked for.
        read: Reads what a package holds.

    Raises:
        PackageError: There is nothing that makes a picture, or a form lacks something or contradicts itself.
    """
    packages, tokenizers = _look_around(folder)
    sets = [_listed_set(folder, variant, read) for variant in listed] or _sets(folder, packages, read)
    pipelines = [found for found in sets if _is_pipeline(found)]
    if not pipelines:
        raise _nothing_in(folder, packages, sets)
    variants: list[VariantFolder] = []
    for position, found in enumerate(pipelines):
        place = listed[position].tokenizer if listed else None
        tokenizer = folder / place if place is not None else _nearest(folder, found.place, tokenizers)
        variants += _variants_of(folder, found, tokenizer)
    _check_kin(folder, variants)
    return _without_compiled_twins(folder, variants)


def _look_around(folder: Path) -> tuple[list[Path], list[Path]]:
    """Every package and compiled model below a folder, in a fixed order, and every folder that holds a tokenizer."""
    packages, tokenizers = [], []
    for here, folders, files in os.walk(folder):
        found = sorted(name for name in folders if name.endswith(SUFFIXES))
        packages += [Path(here) / name for name in found]
        folders[:] = sorted(
            name for name in folders if name not in found and name not in _LITTER and not name.startswith(".")
        )
        if set(TOKENIZER_FILES) <= set(files):
            tokenizers.append(Path(here))
    return sorted(packages), sorted(tokenizers)


def _sets(folder: Path, packages: Sequence[Path], read: ReadContents) -> list[_Set]:
    sets: dict[tuple[str, str], _Set] = {}
    for package in packages:
        named = read_path(package.relative_to(folder).as_posix())
        found = sets.setdefault((named.place, package.suffix), _Set(named.place, promised_attention(named.place)))
        for component, parts in _components(package, named.component, read(package)).items():
            if component in found.parts:
                raise PackageError(
                    f"{folder / named.place} holds more than one {component} package "
                    f"({found.parts[component][0].package.name}, {package.name}), so it is unclear which model is "
                    "meant; keep one model in a folder, or list its packages in model.toml",
                    path=str(folder),
                )
            found.parts[component] = parts
    return list(sets.values())


def _is_pipeline(found: _Set) -> bool:
    """Whether packages are meant to make pictures together; those of a ControlNet may lie beside them, for example."""
    has = set(found.parts)
    return bool(has & {"unet", "unet_chunk1"}) or (
        found.promised is not None and bool(has & {"vae_decoder", "unet_chunk2"})
    )


def _listed_set(folder: Path, variant: VariantManifest, read: ReadContents) -> _Set:
    found = _Set(".", variant.attention)
    for component, path in variant.components.items():
        package = folder / path
        if not package.is_dir():
            raise PackageError(
                f"{folder} lists {path} as its {component}, but there is no such package; correct its model.toml",
                path=str(folder),
            )
        contents = read(package)
        function = variant.functions.get(component)
        if function is not None and function not in contents.functions:
            raise PackageError(
                f"{package} has no function {function!r}, which model.toml names; it has "
                f"{', '.join(contents.functions)}",
                path=str(package),
            )
        name = function or next(iter(contents.functions))
        part = Part(package, function, contents.functions[name], contents.precision)
        _check_role(part, component)
        found.parts[component] = [part]
    return found


def _components(package: Path, named: str | None, contents: Contents) -> dict[str, list[Part]]:
    """The functions of a package by component; a package without a known one in it is left out."""
    parts: dict[str, list[Part]] = {}
    for position, (function, interface) in enumerate(contents.functions.items()):
        part = Part(package, function if position else None, interface, contents.precision)
        role = role_of(interface)
        if named is not None and len(contents.functions) == 1:
            _check_role(part, named)
            role = named
        elif named is not None and role == KINDS.get(named, named):
            role = named
        if role is not None:
            parts.setdefault(role, []).append(part)
    return parts


def _check_role(part: Part, component: str) -> None:
    """Compares what a package's name promises with what it takes and gives."""
    role = role_of(part.interface)
    kind = KINDS.get(component, component)
    if role == kind or (role, kind) in _ALIKE:
        return
    needs = next((sorted(known.inputs) for known in ROLES if known.component == kind and known.inputs), [])
    is_what = f"which are those of a {role}" if role else f"where it should take {', '.join(needs) or 'others'}"
    raise PackageError(
        f"{part.package} is named as a {component}, but takes the inputs {', '.join(sorted(part.interface.inputs))}, "
        f"{is_what}. It is misnamed, or of a model that the farm does not know; rename it, or get another.",
        path=str(part.package),
    )


def _variants_of(folder: Path, found: _Set, tokenizer: Path | None) -> Iterator[VariantFolder]:
    """The forms in a set: one, or one for each size where a UNet has functions of several."""
    for whole, *chunks in _CHUNKS:
        if whole in found.parts:  # one prediction a step, where phones must make do with two halves
            for chunk in chunks:
                found.parts.pop(chunk, None)
    _check_complete(folder, found)
    if tokenizer is None:
        raise PackageError(
            f"{folder} lacks {' and '.join(TOKENIZER_FILES)}, so prompts cannot be read; copy them from the tokenizer "
            "folder of the model's checkpoint",
            path=str(folder),
        )
    sizes: set[tuple[int, ...]] = set()
    for unet in found.parts.get("unet") or found.parts["unet_chunk1"]:
        latents = _latents(unet)
        if latents in sizes:
            continue  # another function of the same size makes other pictures: a matter for the manifest
        parts = {
            name: _matching(choice, unet, latents) for name, choice in found.parts.items() if name not in _LEFT_OUT
        }
        if sizes and _latent_size(parts["vae_decoder"], "z") not in ((), latents):
            continue
        sizes.add(latents)
        _check_agreement(folder, parts, latents)
        width, height = _pixels(parts, latents)
        yield VariantFolder(_attention(parts, found.promised), width, height, parts, tokenizer)


def _matching(choice: Sequence[Part], unet: Part, latents: tuple[int, ...]) -> Part:
    """The function of a component that goes with a UNet's: for its latents first, then of its name."""
    return max(choice, key=lambda part: (_latent_size(part, "z") in ((), latents), part.function == unet.function))


def _check_complete(folder: Path, found: _Set) -> None:
    required = {
        "text_encoder": ("text_encoder", "text_encoder_2"),
        "unet": ("unet", "unet_chunk2"),
        "vae_decoder": ("vae_decoder",),
    }
    missing = [name for name, either in required.items() if not any(each in found.parts for each in either)]
    if missing:
        raise PackageError(
            f"{folder / found.place} has no package for {', '.join(missing)}, so it cannot make images; "
            "fetch or convert the model again, completely",
            path=str(folder),
        )


def _check_agreement(folder: Path, parts: Mapping[str, Part], latents: tuple[int, ...]) -> None:
    """Compares the packages with one another: shapes tell parts of different models."""
    decoded = _latent_size(parts["vae_decoder"], "z")
    if decoded not in ((), latents):
        raise PackageError(
            f"{folder}: the unet makes latents of {latents}, its vae_decoder takes {decoded}. They are parts of "
            "different models or sizes; fetch or convert the model again.",
            path=str(folder),
        )
    widths = [
        shape[-1]
        for name in ("text_encoder", "text_encoder_2")
        if name in parts
        for output, shape in parts[name].interface.outputs.items()
        if len(shape) == 3
    ]
    takes = text_width((parts.get("unet") or parts["unet_chunk1"]).interface.inputs)
    if widths and takes and takes not in (sum(widths), *widths):
        raise PackageError(
            f"{folder}: the text encoder gives {' and '.join(map(str, widths))} channels, its unet takes {takes}. They "
            "are parts of different models; fetch or convert the model again.",
            path=str(folder),
        )


def _attention(parts: Mapping[str, Part], promised: AttentionVariant | None) -> AttentionVariant:
    """What the UNet's operations say of its attention; the folder's name decides where they leave it open."""
    halves = [parts[name] for name in ("unet", "unet_chunk1", "unet_chunk2") if name in parts]
    counts = [half.interface.einsums for half in halves]
    unet = halves[0]
    possible = Interface(
        inputs={},
        outputs={},
        einsums=sum(count or 0 for count in counts) if None not in counts else None,
        queries=tuple(length for half in halves for length in half.interface.queries),
    ).attentions
    if promised is None or promised in possible:
        return promised or possible[0]
    if AttentionVariant.ORIGINAL in (promised, possible[0]):
        holds = "no einsum" if possible[0] is AttentionVariant.ORIGINAL else "einsums"
        raise PackageError(
            f"{unet.package} is in a folder for {promised.value} attention, but holds {holds}: "
            "it would be placed on the wrong chips; move it to the folder of its own kind",
            path=str(unet.package),
        )
    return possible[0]


def _latents(unet: Part) -> tuple[int, ...]:
    """Height and width of a UNet's latents."""
    shape = unet.interface.inputs.get("sample", ())
    if len(shape) != 4 or min(shape) < 1:
        raise PackageError(
            f"{unet.package} declares latents of shape {shape} where (batch, channels, height, width) is "
            "meant; convert it with a fixed size",
            path=str(unet.package),
        )
    return shape[2:]


def _latent_size(part: Part, name: str) -> tuple[int, ...]:
    shape = part.interface.inputs.get(name, ())
    return shape[2:] if len(shape) == 4 else ()


def _pixels(parts: Mapping[str, Part], latents: tuple[int, ...]) -> tuple[int, int]:
    """Width and height of the images: as the autoencoder declares them, or else what the latents come to."""
    shapes = [parts["vae_decoder"].interface.outputs.get("image", ())]
    if "vae_encoder" in parts:
        shapes.append(parts["vae_encoder"].interface.inputs.get("x", ()))
    height, width = next(
        (shape[2:] for shape in shapes if len(shape) == 4 and min(shape) > 0), [side * LATENT_CELL for side in latents]
    )
    return width, height


def _nearest(folder: Path, place: str, tokenizers: Sequence[Path]) -> Path | None:
    """The tokenizer that shares the most folders with a place, the first of several (tokenizer before tokenizer_2)."""

    def shared(tokenizer: Path) -> int:
        common = os.path.commonpath([folder / place, tokenizer])
        return len(PurePosixPath(common).parts)

    return max(tokenizers, key=shared, default=None)


def _check_kin(folder: Path, variants: Sequence[VariantFolder]) -> None:
    """Forms of one model may differ in much, but not in what their UNets are told of the prompt."""
    inputs = {variant.unet.package: variant.unet.interface.inputs for variant in variants}
    kinds = {(is_sdxl(each), text_width(each)): package for package, each in inputs.items()}
    if len(kinds) > 1:
        raise PackageError(
            f"{folder} holds models of different kinds ({' and '.join(map(str, kinds.values()))}); keep each in a "
            "folder of its own",
            path=str(folder),
        )


def _without_compiled_twins(folder: Path, variants: Sequence[VariantFolder]) -> tuple[VariantFolder, ...]:
    """One of each form: packages run everywhere, so compiled models count where there are no packages of the form."""
    by_form: dict[tuple[object, ...], VariantFolder] = {}
    for variant in sorted(variants, key=lambda variant: variant.is_compiled):
        form = (variant.attention, variant.width, variant.height, variant.unet.precision)
        rival = by_form.setdefault(form, variant)
        if rival is not variant and rival.is_compiled == variant.is_compiled:
            raise PackageError(
                f"{folder} holds two models of one form ({rival.unet.package} and {variant.unet.package}), so it is "
                "unclear which is meant; keep each in a folder of its own",
                path=str(folder),
            )
    order = list(AttentionVariant)
    return tuple(sorted(by_form.values(), key=lambda variant: (order.index(variant.attention), -variant.width)))


def _nothing_in(folder: Path, packages: Sequence[Path], sets: Sequence[_Set]) -> PackageError:
    parts = {component for found in sets for component in found.parts}
    known = next((what for component, what in _UNSUPPORTED.items() if component in parts), None)
    if known:
        return PackageError(
            f"{folder} cannot be rendered with: {known}, which the farm does not know", path=str(folder)
        )
    if parts:
        return PackageError(
            f"{folder} has no package for unet, so it cannot make images; fetch or convert the model again, completely",
            path=str(folder),
        )
    holds = f"{len(packages)} packages, but none that it knows" if packages else "no packages in a layout that it knows"
    return PackageError(
        f"{folder} holds {holds}, so the farm can read no model from it; put the packages of a Core ML Stable "
        "Diffusion into it (docs/models.md shows the layouts), or remove the folder",
        path=str(folder),
    )
