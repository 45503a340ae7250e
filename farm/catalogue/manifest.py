"""`model.toml`: what a model folder says of itself beyond its packages.

    display_name = "Shapes"
    description = "..."
    precision = "float16"

    [defaults]      # fields of domain.ImageSpec
    steps = 20

    [config]        # fields of domain.DiffusionConfig
    scaling_factor = 0.18215

Every key may be left out; what is not there falls to Stable Diffusion 1.x.
"""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

from farm.domain import DiffusionConfig, ImageSpec
from farm.errors import PackageError

FILE_NAME = "model.toml"

STABLE_DIFFUSION_DEFAULTS = ImageSpec(steps=20, guidance_scale=7.5, sampler="dpmpp-2m")

_NUMBER = (int, float)
_ROOT_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "display_name": str,
    "description": str,
    "precision": str,
    "defaults": dict,
    "config": dict,
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
    "pad_token": str,
}
_CHOICES = {
    "precision": ("float16", "float32"),
    "prediction_type": get_args(DiffusionConfig.__annotations__["prediction_type"]),
    "beta_schedule": get_args(DiffusionConfig.__annotations__["beta_schedule"]),
}


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a model says of itself.

    Attributes:
        display_name: Name for people; empty if it says none.
        description: What it is and who made it.
        precision: Precision of its weights, "float16" or "float32".
        defaults: What an image takes where neither it nor its job says anything. Width and height may be left to the
            packages.
        config: What the packages do not say of themselves.
    """

    display_name: str = ""
    description: str = ""
    precision: str = "float16"
    defaults: ImageSpec = field(default_factory=lambda: STABLE_DIFFUSION_DEFAULTS)
    config: DiffusionConfig = field(default_factory=DiffusionConfig)


def read_manifest(folder: Path) -> Manifest:
    """Reads a model folder's manifest; without one everything is as `Manifest()` has it.

    Raises:
        PackageError: It is not TOML, or a key is unknown or of the wrong type. Says all that is wrong at once.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return Manifest()
    try:
        root = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PackageError(
            f"{path} cannot be read ({error}), so the model cannot be used; mend or remove it"
        ) from error
    problems = _problems("", root, _ROOT_TYPES)
    defaults, config = root.pop("defaults", {}), root.pop("config", {})
    if isinstance(defaults, dict) and isinstance(config, dict):
        problems += _problems("defaults.", defaults, _DEFAULT_TYPES) + config_problems(config)
    if problems:
        raise PackageError(f"{path} is not a model's manifest: {'; '.join(problems)}. Mend these keys or remove them")
    return Manifest(
        **root,
        defaults=ImageSpec(**defaults).over(Manifest().defaults),
        config=DiffusionConfig(**config),
    )


def config_problems(config: Mapping[str, Any]) -> list[str]:
    """What is wrong with values that are to become a `DiffusionConfig`, each in a few words."""
    return _problems("config.", config, _CONFIG_TYPES)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes a manifest that `read_manifest` gives back."""
    values = asdict(manifest)
    tables = {name: values.pop(name) for name in ("defaults", "config")}
    lines = _toml_lines(values)
    for name, table in tables.items():
        lines += ["", f"[{name}]", *_toml_lines(table)]
    (folder / FILE_NAME).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _toml_lines(table: Mapping[str, Any]) -> list[str]:
    # JSON and TOML write strings and numbers alike, but for the one control character that JSON lets pass.
    return [
        f"{key} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f")
        for key, value in table.items()
        if value is not None
    ]


def _problems(prefix: str, table: Mapping[str, Any], types: Mapping[str, type | tuple[type, ...]]) -> list[str]:
    problems = [f"{prefix}{key} is not a key (known: {', '.join(types)})" for key in table if key not in types]
    for key in types.keys() & table.keys():
        value = table[key]
        if not isinstance(value, types[key]) or isinstance(value, bool):
            problems.append(f"{prefix}{key} = {value!r} is of the wrong type")
        elif key in _CHOICES and value not in _CHOICES[key]:
            problems.append(f"{prefix}{key} = {value!r} is not one of {', '.join(_CHOICES[key])}")
    return sorted(problems)
