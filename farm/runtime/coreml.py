"""Runs packages with Core ML, on a Mac.

Core ML compiles a package, then specialises it for the device, which takes minutes for a UNet and is cached by the
full path of the compiled model. So packages are compiled to a place that depends on their contents only, and stay
there. coremltools' bridge holds Python's global lock for a whole load or prediction: use this in a process of its own.
"""

import hashlib
import platform
import shutil
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from farm.domain import ComputeUnit
from farm.errors import PackageError
from farm.installation import cache_folder
from farm.mil.compiled import is_compiled
from farm.mil.features import Feature
from farm.mil.program import read_interface
from farm.runtime.base import Array, TensorSpec
from farm.runtime.feeds import check_feeds, tensor_specs

_APPLE_SILICON = (ComputeUnit.CPU_AND_NE, ComputeUnit.CPU_AND_GPU, ComputeUnit.ALL, ComputeUnit.CPU_ONLY)
_INTEL = (ComputeUnit.CPU_AND_GPU, ComputeUnit.CPU_ONLY)


class CoreMLRuntime:
    """Loads packages into Core ML.

    Args:
        cache: Folder for compiled models; the user's cache folder if not given. It can be deleted at any time, at the
            price of compiling and specialising again.
    """

    name = "coreml"
    compiles = True

    def __init__(self, cache: Path | None = None) -> None:
        self._cache = cache or cache_folder() / "compiled"

    @property
    def compute_units(self) -> tuple[ComputeUnit, ...]:
        """Those that this Mac has, best first; in a virtual machine Core ML leaves out what is not there."""
        return _APPLE_SILICON if platform.machine() == "arm64" else _INTEL

    @property
    def versions(self) -> Mapping[str, str]:
        """Version of each library that can change what `predict` returns; Core ML comes with macOS."""
        return {"coremltools": version("coremltools"), "macos": platform.mac_ver()[0], "numpy": version("numpy")}

    def load(self, package: Path, compute_unit: ComputeUnit, function: str | None = None) -> "CoreMLModel":
        """Loads a package, compiled before if it ever was, and predicts once to have it ready.

        A package is compiled once for all of its functions; an `.mlmodelc` is taken as it is. Naming
        a function needs macOS 15.

        Raises:
            PackageError: Core ML cannot compile, load or run it, or it has no such function.
        """
        import coremltools

        inputs, outputs = read_interface(package, function)
        try:
            # A compiled model is loaded from where it is: Core ML caches what it makes of it by its path.
            compiled = (
                package
                if is_compiled(package)
                else compiled_model(package, self._cache, platform.mac_ver()[0], _compile)
            )
            units = coremltools.ComputeUnit[compute_unit.name]
            loaded = coremltools.models.CompiledMLModel(str(compiled), units, function)
        except Exception as error:  # coremltools raises bare Exception and RuntimeError with Core ML's own words
            raise PackageError(
                f"Core ML cannot load {package} for {compute_unit.name}: {error}. Try another compute unit; if none "
                f"works, convert the model again.",
                path=str(package),
                compute_unit=compute_unit.name,
            ) from error
        model = CoreMLModel(package, loaded, inputs, outputs)
        model.predict({feature.name: np.zeros(feature.shape, feature.dtype) for feature in inputs})
        return model


class CoreMLModel:
    """A package that Core ML has loaded; made by `CoreMLRuntime.load`.

    Core ML was seen to free input arrays about a second after a prediction, on a thread of its own and without Python's
    lock (coremltools pull requests 2827 and 2829). So it is given the same arrays each time, and they live as long as
    the model.
    """

    def __init__(self, package: Path, loaded: Any, inputs: tuple[Feature, ...], outputs: tuple[Feature, ...]) -> None:
        self._package = package
        self._loaded = loaded
        self._features = {feature.name: feature for feature in inputs}
        self._inputs = tensor_specs(inputs)
        self._outputs = tensor_specs(outputs)
        self._buffers: dict[tuple[str, tuple[int, ...]], Array] = {}

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """Inputs by name."""
        return self._inputs

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """Outputs by name."""
        return self._outputs

    def predict(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Runs the model once; see `LoadedModel.predict`.

        Raises:
            PackageError: Core ML fails to run it on this device.
        """
        check_feeds(self._features, feeds)
        try:
            results = self._loaded.predict({name: self._buffered(name, array) for name, array in feeds.items()})
        except RuntimeError as error:
            raise PackageError(
                f"Core ML failed to run {self._package}: {error}. Try another compute unit.", path=str(self._package)
            ) from error
        return {name: np.array(results[name], _buffer_type(self._outputs[name].dtype)) for name in self._outputs}

    def _buffered(self, name: str, array: Array) -> Array:
        key = (name, array.shape)
        if key not in self._buffers:
            self._buffers[key] = np.empty(array.shape, _buffer_type(self._features[name].dtype))
        np.copyto(self._buffers[key], array, casting="unsafe")
        return self._buffers[key]


def _buffer_type(dtype: str) -> type[np.generic]:
    return np.int32 if dtype.startswith("int") else np.float32


def compiled_model(package: Path, cache: Path, system: str, compile_: Callable[[Path, Path], None]) -> Path:
    """Where the compiled form of a package is; compiles it first if it is not there.

    Args:
        package: The package.
        cache: Folder of compiled models.
        system: Version of the system, since each compiles in its own way.
        compile_: Compiles a package to a folder that ends in `.mlmodelc`.
    """
    place = cache / f"{_digest(package, system)}.mlmodelc"
    if place.is_dir():
        return place
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        made = Path(folder) / place.name
        compile_(_without_links(package, Path(folder)), made)
        try:
            made.replace(place)
        except OSError:
            if not place.is_dir():  # another process was faster, which is as good
                raise
    return place


def _without_links(package: Path, folder: Path) -> Path:
    """The package, or a copy of it in a folder if it holds links, with which coremltools was seen to fail.

    Hugging Face's cache is made of links; that failure is issue 1240 of huggingface_hub.
    """
    if not any(path.is_symlink() for path in package.rglob("*")):
        return package
    return Path(shutil.copytree(package, folder / package.name))


def _digest(package: Path, system: str) -> str:
    """A name for the contents of a package: its files' names and bytes, and the system."""
    total = hashlib.sha256(system.encode())
    inside = sorted(path for path in package.rglob("*") if path.is_file() and not path.name.startswith("."))
    for path in inside or [package]:
        with path.open("rb") as file:
            total.update(f"\0{path.relative_to(package)}\0{hashlib.file_digest(file, 'sha256').hexdigest()}".encode())
    return total.hexdigest()


def _compile(package: Path, place: Path) -> None:
    from coremltools.models.utils import compile_model

    made = Path(compile_model(str(package), str(place)))
    if made != place:
        shutil.move(made, place)
