"""`model.toml`: what a model folder says of itself beyond its packages.

    display_name = "Shapes"
    description = "..."

    [defaults]      # fields of domain.ImageSpec
    steps = 20

    [config]        # fields of domain.DiffusionConfig
    scaling_factor = 0.18215

    [checks]        # how far each package lay from its checkpoint when it was converted, relative L2
    original_unet = 0.0004

    [[variants]]    # only for folders in no known layout: every form of the model, with its packages
    attention = "SPLIT_EINSUM"
    tokenizer = "bpe"
    components = { text_encoder = "clip.mlpackage", unet = "net.mlpackage", vae_decoder = "pixels.mlpackage" }
    functions = { unet = "large" }

Every key may be left out; what is not there falls to what the packages tell of the model's family.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, get_args

from farm.domain import AttentionVariant, DiffusionConfig, ImageSpec
from farm.errors import PackageError

FILE_NAME = "model.toml"

STABLE_DIFFUSION_DEFAULTS = ImageSpec(steps=20, guidance_scale=7.5, sampler="dpmpp-2m")

_NUMBER = (int, float)
_ROOT_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "display_name": str,
    "description": str,
    "defaults": dict,
    "config": dict,
    "checks": dict,
    "variants": list,
}
_DEFAULT_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "negative_prompt": str,
    "width": int,
    "height": int,
    "steps": int,
    "guidance_scale": _NUMBER,
    "sampler": str,
}
_CONFIG_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "scaling_factor": _NUMBER,
    "prediction_type": str,
    "beta_start": _NUMBER,
    "beta_end": _NUMBER,
    "beta_schedule": str,
    "train_steps": int,
    "steps_offset": int,
    "timestep_spacing": str,
    "pad_token": str,
    "pad_token_2": str,
    "force_zeros_for_empty_prompt": bool,
    "refiner_start": _NUMBER,
    "noise": str,
    "single_step_at": int,
}
_VARIANT_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "attention": str,
    "tokenizer": str,
    "components": dict,
    "functions": dict,
}
_CHOICES = {
    "attention": tuple(variant.value for variant in AttentionVariant),
    **{
        name: get_args(DiffusionConfig.__annotations__[name])
        for name in ("prediction_type", "beta_schedule", "timestep_spacing", "noise")
    },
}


@dataclass(frozen=True, slots=True)
class VariantManifest:
    """A form of a model, as its manifest lists it. Paths are relative to the model's folder, with forward slashes.

    Attributes:
        components: Path of each package by component.
        functions: Function of each package that holds several, by component, if not the package's default.
        attention: How its attention is written; None leaves it to the packages.
        tokenizer: Folder that holds vocab.json and merges.txt; None looks for it.
    """

    components: Mapping[str, str]
    functions: Mapping[str, str] = field(default_factory=dict)
    attention: AttentionVariant | None = None
    tokenizer: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a model says of itself.

    Attributes:
        display_name: Name for people; empty if it says none.
        description: What it is and who made it.
        defaults: What an image takes where neither it nor its job says anything. Width and height may be left to the
            packages.
        config: What the packages do not say of themselves.
        checks: How far each package's outputs lay from its checkpoint's when it was converted (relative L2 distance),
            by form of attention and component; empty where nobody measured.
        variants: Its forms; empty where the layout of the folder shows them.
    """

    display_name: str = ""
    description: str = ""
    defaults: ImageSpec = field(default_factory=lambda: STABLE_DIFFUSION_DEFAULTS)
    config: DiffusionConfig = field(default_factory=DiffusionConfig)
    checks: Mapping[str, float] = field(default_factory=dict)
    variants: tuple[VariantManifest, ...] = ()


def read_manifest(folder: Path, family: Manifest | None = None) -> Manifest:
    """Reads a model folder's manifest.

    Args:
        folder: The model's folder.
        family: What holds where the manifest says nothing, or is not there; `Manifest()` if not given.

    Raises:
        PackageError: It is not TOML, or a key is unknown or of the wrong type. Says all that is wrong at once.
    """
    path, family = folder / FILE_NAME, family or Manifest()
    if not path.exists():
        return family
    try:
        root = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PackageError(
            f"{path} cannot be read ({error}), so the model cannot be used; repair or remove it"
        ) from error
    problems = _problems("", root, _ROOT_TYPES)
    defaults, config, variants = root.pop("defaults", {}), root.pop("config", {}), root.pop("variants", [])
    if isinstance(defaults, dict) and isinstance(config, dict) and isinstance(variants, list):
        problems += _problems("defaults.", defaults, _DEFAULT_TYPES) + config_problems(config)
        problems += _check_problems(root.get("checks", {}))
        problems += [problem for index, each in enumerate(variants) for problem in _variant_problems(index, each)]
    if problems:
        raise PackageError(f"{path} is not a model's manifest: {'; '.join(problems)}. Correct or remove these keys")
    return Manifest(
        **root,
        defaults=ImageSpec(**defaults).over(family.defaults),
        config=replace(family.config, **config),
        variants=tuple(map(_variant, variants)),
    )


def _variant(table: Mapping[str, Any]) -> VariantManifest:
    return VariantManifest(**{**table, "attention": table.get("attention") and AttentionVariant(table["attention"])})


def _variant_problems(index: int, table: object) -> list[str]:
    prefix = f"variants[{index}]."
    if not isinstance(table, dict):
        return [f"{prefix[:-1]} is not a table"]
    problems = _problems(prefix, table, _VARIANT_TYPES)
    if problems:
        return problems
    if not table.get("components"):
        return [f"{prefix}components is missing"]
    paths = {f"components.{name}": path for name, path in table["components"].items()}
    if "tokenizer" in table:
        paths["tokenizer"] = table["tokenizer"]
    problems += [
        f"{prefix}{key} = {path!r} is not a path inside the model's folder"
        for key, path in paths.items()
        if not isinstance(path, str) or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts
    ]
    problems += [
        f"{prefix}functions.{name} is not the name of a function of a component that is listed"
        for name, function in table.get("functions", {}).items()
        if not isinstance(function, str) or name not in table["components"]
    ]
    return problems


def _check_problems(checks: object) -> list[str]:
    table = checks if isinstance(checks, dict) else {}
    return _problems("checks.", table, dict.fromkeys(table, _NUMBER))


def config_problems(config: Mapping[str, Any]) -> list[str]:
    """What is wrong with values that are to become a `DiffusionConfig`, each in a few words."""
    problems = _problems("config.", config, _CONFIG_TYPES)
    if not problems and not 0 <= (config.get("single_step_at") or 0) < config.get("train_steps", 1000):
        problems.append(f"config.single_step_at = {config['single_step_at']} is not a step of training")
    return problems


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes a manifest that `read_manifest` gives back."""
    values = asdict(manifest)
    tables = {name: values.pop(name) for name in ("defaults", "config", "checks")}
    variants = values.pop("variants")
    lines = _toml_lines(values)
    for name, table in tables.items():
        if table:
            lines += ["", f"[{name}]", *_toml_lines(table)]
    for variant in variants:
        lines += ["", "[[variants]]", *_toml_lines(variant)]
    (folder / FILE_NAME).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _toml_lines(table: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {_toml_value(value)}" for key, value in table.items() if value is not None]


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml_value(key)} = {_toml_value(inner)}" for key, inner in value.items()) + "}"
    plain = value.value if isinstance(value, AttentionVariant) else value
    # JSON and TOML write strings and numbers alike, but for the one control character that JSON lets pass.
    return json.dumps(plain, ensure_ascii=False).replace("\x7f", "\\u007f")


def _problems(prefix: str, table: Mapping[str, Any], types: Mapping[str, type | tuple[type, ...]]) -> list[str]:
    problems = [f"{prefix}{key} is not a key (known: {', '.join(types)})" for key in table if key not in types]
    for key in types.keys() & table.keys():
        value = table[key]
        if not isinstance(value, types[key]) or (isinstance(value, bool) and types[key] is not bool):
            problems.append(f"{prefix}{key} = {value!r} is of the wrong type")
        elif key in _CHOICES and value not in _CHOICES[key]:
            problems.append(f"{prefix}{key} = {value!r} is not one of {', '.join(_CHOICES[key])}")
    return sorted(problems)
