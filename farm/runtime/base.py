"""What the farm asks of something that runs Core ML packages."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from farm.domain import ComputeUnit

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Declares one input or output of a model.

    Attributes:
        name: Its name in the package.
        shape: Its sizes; empty where the package does not say (ML programs seldom declare their outputs' shapes).
        dtype: "float32", "float16" or "int32", as declared in the package.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str


class LoadedModel(Protocol):
    """A model that is ready to predict. Not for use by two threads at once."""

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """Inputs by name."""

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """Outputs by name."""

    def predict(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Runs the model once.

        Args:
            feeds: One array an input, of the declared shape. Types are converted as `MLModel.predict` does: any float
                or integer type where the values fit the declared one.

        Returns:
            One array an output. Floating-point outputs are float32, as `MLModel.predict` gives them.

        Raises:
            FeedError: Names, shapes or types are not the declared ones. Says all that is wrong at once.
        """


class Runtime(Protocol):
    """Loads packages on this machine."""

    @property
    def name(self) -> str:
        """Either "coreml" or "portable"."""

    @property
    def compiles(self) -> bool:
        """Whether loading a package may compile or specialise it first, which can take many minutes."""

    @property
    def compute_units(self) -> tuple[ComputeUnit, ...]:
        """Those that can be used here, best first."""

    @property
    def versions(self) -> Mapping[str, str]:
        """Version of each library that can change what `predict` returns."""

    def load(self, package: Path, compute_unit: ComputeUnit, function: str | None = None) -> LoadedModel:
        """Loads a package (compiling it first where that is needed and was not done before).

        Args:
            package: The package.
            compute_unit: Who shall compute.
            function: Which function of a package that holds several; the package's default if not given.

        Raises:
            PackageError: The package cannot be read or run, or has no such function; says why and what to do.
        """
