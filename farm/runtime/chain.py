"""Several models that make one: what one gives is what a later one takes, by name.

So large UNets come in two halves, as two packages (`UnetChunk1`, `UnetChunk2`) or as one pipeline package. The names of
what is handed over are the converter's ("input_169_cast"); the second half takes some of the first one's inputs again.
"""

from collections.abc import Mapping, Sequence

from farm.errors import FeedError, PackageError
from farm.runtime.base import Array, LoadedModel, TensorSpec


class Chain:
    """Loaded models, run one after the other.

    Attributes:
        inputs: What none of them gives to a later one: the inputs of the whole, by name.
        outputs: The outputs of the whole, by name.

    Args:
        models: The models in their order.
        outputs: Names of the outputs of the whole; those of the last model if not given.

    Raises:
        PackageError: None of them gives one of the outputs, or two take an input of one name in different shapes.
    """

    def __init__(self, models: Sequence[LoadedModel], outputs: Sequence[str] | None = None) -> None:
        self._models = tuple(models)
        given: dict[str, TensorSpec] = {}
        taken: dict[str, TensorSpec] = {}
        for model in self._models:
            outside = {name: spec for name, spec in model.inputs.items() if name not in given}
            differing = [name for name, spec in outside.items() if taken.get(name, spec).shape != spec.shape]
            if differing:
                raise PackageError(
                    f"The halves of a model take {', '.join(differing)} in different shapes, so they are halves of "
                    "different models; fetch or convert the model again"
                )
            taken |= outside
            given |= model.outputs
        names = outputs if outputs is not None else tuple(self._models[-1].outputs)
        if not set(names) <= given.keys():
            raise PackageError(
                f"No part of a pipeline of models gives {', '.join(sorted(set(names) - given.keys()))}; "
                "fetch or convert the model again"
            )
        self.inputs: Mapping[str, TensorSpec] = taken
        self.outputs: Mapping[str, TensorSpec] = {name: given[name] for name in names}

    def predict(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Runs the models once; see `LoadedModel.predict`."""
        if feeds.keys() != self.inputs.keys():
            wrong = sorted(feeds.keys() ^ self.inputs.keys())
            raise FeedError(
                f"The model cannot be fed this: {', '.join(wrong)} is missing or no input of it. It takes: "
                f"{', '.join(self.inputs)}.",
                problems=", ".join(wrong),
            )
        values = dict(feeds)
        for model in self._models:
            values |= model.predict({name: values[name] for name in model.inputs})
        return {name: values[name] for name in self.outputs}
