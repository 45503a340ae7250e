"""Runs packages everywhere: the ML program, translated to ONNX, on onnxruntime's CPU provider in fp32.

It stands in for Core ML where there is none, for tests, for Linux workers and as a reference. It computes what the
package says with more precision than the Neural Engine or the GPU would: fp16 weights are exact in fp32, and results
between operations are not rounded to fp16.
"""

import os
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from farm.domain import ComputeUnit
from farm.errors import PackageError
from farm.runtime.base import Array, LoadedModel, TensorSpec
from farm.runtime.chain import Chain
from farm.runtime.feeds import check_feeds, tensor_specs

if TYPE_CHECKING:
    from farm.mil.translate import Translation


def load(
    path: str | os.PathLike[str],
    compute_unit: ComputeUnit = ComputeUnit.CPU_ONLY,
    function: str | None = None,
    *,
    threads: int | None = None,
) -> LoadedModel:
    """Loads a package.

    Args:
        path: An `.mlpackage` folder or an `.mlmodel` file that holds an ML program, or a pipeline of them.
        compute_unit: Accepted for every unit, since a plan for a Mac may be run here; the CPU computes.
        function: Which function of a package that holds several; the package's default if not given.
        threads: Threads for one operation; by default, as many as there are processors to use.

    Raises:
        PackageError: The package cannot be read or run, or has no such function.
        UnsupportedOperationsError: It uses operations that have no translation; names all of them.
    """
    from farm.mil.program import read_interface, read_programs
    from farm.mil.translate import translate

    del compute_unit
    package = Path(path)
    models = [
        PortableModel(package, translate(each), threads or processors()) for each in read_programs(package, function)
    ]
    if len(models) == 1:
        return models[0]
    _, outputs = read_interface(package)
    return Chain(models, [output.name for output in outputs])


def processors() -> int:
    """Processors that this process may use."""
    if sys.platform == "linux":  # a container may have fewer than the machine
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class PortableRuntime:
    """Loads packages into onnxruntime.

    Args:
        threads: Threads for one operation; by default, as many as there are processors to use.
    """

    name = "portable"
    compiles = False
    compute_units = (ComputeUnit.CPU_ONLY,)

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads

    @property
    def versions(self) -> Mapping[str, str]:
        """Version of each library that can change what `predict` returns."""
        return {library: version(library) for library in ("numpy", "onnx", "onnxruntime")}

    def load(self, package: Path, compute_unit: ComputeUnit, function: str | None = None) -> LoadedModel:
        """Loads a package; see `load` of this module."""
        return load(package, compute_unit, function, threads=self._threads)


class PortableModel:
    """A package that onnxruntime has loaded; made by `load`."""

    def __init__(self, package: Path, translation: "Translation", threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Threads that wait for work would keep a processor busy, which the rest of the farm has better use for: with
        # spinning, an image of the bundled model takes half as much processor time again, and longer on a busy machine.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # its warnings are about optimisations
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in translation.initializers.values()]
        options.add_external_initializers(list(translation.initializers), values)
        try:
            self._session = onnxruntime.InferenceSession(translation.model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no base; a bad program causes any of them
            raise PackageError(
                f"{package} cannot be run: its program is not consistent ({error}). Convert the model again; if that "
                f"does not help, the translation to ONNX is at fault.",
                path=str(package),
            ) from error
        self._weights = translation.weights
        self._package = package
        self._features = {feature.name: feature for feature in translation.inputs}
        self._inputs = tensor_specs(translation.inputs)
        self._outputs = tensor_specs([feature for feature, _ in translation.outputs])
        self._output_names = [name for _, name in translation.outputs]
        given = {given.name: given.type for given in self._session.get_inputs()}
        self._types = {name: _NUMPY_TYPES[given[name]] for name in self._features}

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """Inputs by name."""
        return self._inputs

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """Outputs by name."""
        return self._outputs

    def predict(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Runs the model once; see `LoadedModel.predict`."""
        check_feeds(self._features, feeds)
        arrays = {name: self._array(name, feeds.get(name)) for name in self._features}
        try:
            results = self._session.run(self._output_names, {**arrays, **self._weights})
        except Exception as error:  # onnxruntime's errors share no base; these are positions and shapes that do not fit
            raise PackageError(
                f"{self._package} failed while it ran ({error}). It computes shapes or positions that do not fit: feed "
                f"it something else, or convert the model again.",
                path=str(self._package),
            ) from error
        return dict(zip(self._outputs, results, strict=True))

    def _array(self, name: str, given: Array | None) -> Array:
        feature = self._features[name]
        if given is None:
            return np.full(feature.shape, feature.default, self._types[name])
        return np.ascontiguousarray(given, self._types[name])


_NUMPY_TYPES = {"tensor(float)": np.float32, "tensor(int32)": np.int32, "tensor(bool)": np.bool_}
"""Types that a translated model's inputs have."""
