import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from farm.diffusion.components import TextEncoder, Unet, VaeDecoder
from farm.diffusion.pipeline import Pipeline
from farm.domain import ComputeUnit
from farm.errors import PipelineError
from farm.runtime.base import TensorSpec
from tests.diffusion.models import finish, shapes, spec
from tests.diffusion.torch_runtime import TorchModel, TorchRuntime


def render(runtime: TorchRuntime, **changes: Any) -> np.ndarray[Any, Any]:
    pipeline = Pipeline.load(shapes(), runtime, ComputeUnit.CPU_ONLY)
    _, rendered = finish(pipeline.render(spec(**changes)))
    return rendered.latents


@pytest.mark.parametrize(
    "contract",
    [
        {"batch": 1},
        {"batch": 3},
        {"channels_first": False},
        {"batch": 1, "channels_first": False},
        {"ids_dtype": "int32", "pooled": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_packages_of_every_known_contract_make_the_same_image(contract: Any, guidance_scale: float) -> None:
    expected = render(TorchRuntime(), guidance_scale=guidance_scale)

    latents = render(TorchRuntime(**contract), guidance_scale=guidance_scale)

    np.testing.assert_allclose(latents, expected, atol=1e-4)


@pytest.mark.parametrize(("batch", "guided_calls", "plain_calls"), [(1, 2, 1), (2, 1, 1)])
def test_a_unet_is_called_as_often_as_its_batch_demands(batch: int, guided_calls: int, plain_calls: int) -> None:
    calls = []

    def counted(model: TorchModel) -> TorchModel:
        def run(**feeds: Any) -> Any:
            calls.append(feeds)
            return model.run(**feeds)

        return dataclasses.replace(model, run=run)

    runtime = TorchRuntime(batch=batch, altered={"unet": counted})
    render(runtime, steps=1, guidance_scale=3.0)
    guided = len(calls)
    render(runtime, steps=1, guidance_scale=1.0)

    assert (guided, len(calls) - guided) == (guided_calls, plain_calls)


def test_a_unet_with_whole_timesteps_is_told_rounded_ones() -> None:
    seen = []

    def run(sample: Any, timestep: Any, encoder_hidden_states: Any) -> Any:
        seen.append(timestep.tolist())
        return [sample]

    model = TorchRuntime().load(shapes().components["unet"], ComputeUnit.CPU_ONLY)
    assert isinstance(model, TorchModel)
    whole = {**model.inputs, "timestep": TensorSpec("timestep", (2,), "int32")}
    unet = Unet(dataclasses.replace(model, inputs=whole, run=run))
    unet.condition([{"encoder_hidden_states": np.zeros((77, 96), np.float32)}])

    unet.predict(np.zeros(unet.latent_shape, np.float32), 946.6)

    assert seen == [[947, 947]]


def declared(shape: tuple[int, ...], name: str) -> dict[str, TensorSpec]:
    return {name: TensorSpec(name, shape, "float32")}


HIDDEN = declared((2, 96, 1, 77), "encoder_hidden_states")
TIMESTEP = declared((2,), "timestep")
SAMPLE = declared((2, 4, 8, 8), "sample")
NOISE = declared((), "noise_pred")


@pytest.mark.parametrize(
    ("component", "inputs", "outputs", "complaint"),
    [
        (Unet, SAMPLE | TIMESTEP | HIDDEN | declared((2, 6), "class_labels"), NOISE, "class_labels, enc"),
        (Unet, SAMPLE | TIMESTEP, NOISE, "takes the inputs sample, timestep; this pipeline feeds encoder_hidden"),
        (Unet, SAMPLE | TIMESTEP | declared((2, 77), "encoder_hidden_states"), NOISE, r"\(2, 77\)"),
        (Unet, SAMPLE | TIMESTEP | declared((1, 96, 1, 77), "encoder_hidden_states"), NOISE, r"\(1, 96, 1, 77\)"),
        (Unet, SAMPLE | TIMESTEP | HIDDEN, declared((), "a") | declared((), "b"), "gives a, b"),
        (VaeDecoder, declared((), "z"), declared((), "image"), "z has no fixed shape"),
        (VaeDecoder, declared((1, 4, 0, 8), "z"), declared((), "image"), "z has no fixed shape"),
        (TextEncoder, declared((1, 77), "tokens"), declared((), "last_hidden_state"), "takes the inputs tokens"),
    ],
)
def test_a_package_of_another_kind_is_refused_by_what_it_declares(
    component: Callable[[TorchModel], object], inputs: Any, outputs: Any, complaint: str
) -> None:
    with pytest.raises(PipelineError, match=complaint):
        component(TorchModel(inputs, outputs, list))


def test_a_unet_that_predicts_a_variance_too_is_refused() -> None:
    import torch

    unet = Unet(TorchModel(SAMPLE | TIMESTEP | HIDDEN, NOISE, lambda **_feeds: [torch.zeros(2, 8, 8, 8)]))
    unet.condition([{"encoder_hidden_states": np.zeros((77, 96), np.float32)}])

    with pytest.raises(PipelineError, match=r"gives noise_pred of \(2, 8, 8, 8\)"):
        unet.predict(np.zeros(unet.latent_shape, np.float32), 1.0)


def test_hidden_states_of_another_width_are_refused_with_both_shapes() -> None:
    wide = SAMPLE | TIMESTEP | declared((2, 768, 1, 77), "encoder_hidden_states")
    unet = Unet(TorchModel(wide, NOISE, list))

    with pytest.raises(PipelineError, match=r"\(77, 96\), but the unet takes \(768, 1, 77\)"):
        unet.condition([{"encoder_hidden_states": np.zeros((77, 96), np.float32)}])


def test_a_text_encoder_that_gives_something_else_than_hidden_states_is_refused() -> None:
    import torch

    model = TorchModel(declared((1, 77), "input_ids"), declared((), "pooled"), lambda **_feeds: [torch.zeros(1, 96)])

    with pytest.raises(PipelineError, match=r"gives pooled of shape \(1, 96\)"):
        TextEncoder(model).encode(range(77))
