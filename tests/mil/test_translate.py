from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from coremltools.converters.mil import Builder as mb  # noqa: N813 - coremltools' own name for it

from farm.errors import UnsupportedOperationsError
from farm.mil.translate import translate
from farm.runtime.portable import PortableModel, load
from tests.mil.cases import Array, convert
from tests.mil.packages import read_program, save_linear


def save(path: Path, body: Any, inputs: dict[str, Array], *, opset: str = "iOS17") -> Path:
    convert(body, inputs, opset=opset).save(str(path))
    return path


def test_everything_that_has_no_translation_is_named_at_once(tmp_path: Path) -> None:
    def body(x: Any) -> list[Any]:
        noise = mb.random_normal(shape=[2, 3, 4], seed=1)
        again = mb.random_normal(shape=[2, 3, 4], seed=2)
        lstm, _, _ = mb.lstm(
            x=x,
            initial_h=np.zeros((3, 2), np.float32),
            initial_c=np.zeros((3, 2), np.float32),
            weight_ih=np.zeros((8, 4), np.float32),
            weight_hh=np.zeros((8, 2), np.float32),
        )
        turned = mb.reverse_sequence(x=x, lengths=[1, 2, 1, 2], seq_axis=1, batch_axis=2)
        return [mb.add(x=noise, y=again), lstm, turned]

    package = save(tmp_path / "many.mlpackage", body, {"x": np.zeros((2, 3, 4), np.float32)})
    with pytest.raises(UnsupportedOperationsError) as caught:
        load(package)
    message = str(caught.value)
    assert "lstm: recurrent cells are not translated" in message
    assert "random_normal: Core ML's random numbers cannot be reproduced elsewhere (2 times)" in message
    assert "reverse_sequence: sequences along axis 1 in batches along 2" in message
    assert "add:" not in message


def test_a_parameter_that_must_be_known_but_is_computed_is_named(tmp_path: Path) -> None:
    def body(x: Any, n: Any) -> Any:
        return mb.pad(x=x, pad=n, mode="constant")

    inputs = {"x": np.zeros((2, 3), np.float32), "n": np.zeros(4, np.int32)}
    with pytest.raises(UnsupportedOperationsError, match="pad: a parameter that must be constant is computed"):
        load(save(tmp_path / "computed.mlpackage", body, inputs))


def test_shapes_that_are_worked_out_from_known_shapes_become_constants(tmp_path: Path) -> None:
    def body(x: Any) -> Any:
        rows = mb.slice_by_index(x=mb.shape(x=x), begin=[0], end=[1])
        doubled = mb.mul(x=rows, y=2)
        return mb.reshape(x=x, shape=mb.concat(values=[doubled, [-1]], axis=0))

    package = save(tmp_path / "folded.mlpackage", body, {"x": np.zeros((2, 6), np.float32)})
    model = onnx.load_model_from_string(translate(read_program(package)).model)
    assert [node.op_type for node in model.graph.node] == ["Reshape"]


def test_large_constants_stay_outside_the_model(tmp_path: Path) -> None:
    package = save_linear(tmp_path / "large.mlpackage", weight=np.ones((200, 100), np.float32))
    translation = translate(read_program(package))
    assert [array.shape for array in translation.initializers.values()] == [(200, 100)]
    assert len(translation.model) < 2000


@pytest.mark.parametrize("fp16", [False, True], ids=["fp32", "fp16"])
def test_a_big_model_computes_with_weights_that_stay_in_the_mapped_file(tmp_path: Path, fp16: bool) -> None:
    weights = [np.random.default_rng(i).standard_normal((300, 300)).astype(np.float32) / 17 for i in (1, 2)]
    kernel = np.random.default_rng(3).standard_normal((200, 1, 20, 15)).astype(np.float32) / 17

    def body(x: Any) -> Any:
        mixed = mb.linear(x=mb.linear(x=x, weight=weights[0]), weight=weights[1], bias=np.ones(300, np.float32))
        return mb.conv(x=mb.reshape(x=mixed, shape=[4, 1, 20, 15]), weight=kernel)

    x = np.random.default_rng(4).standard_normal((4, 300)).astype(np.float32)
    convert(body, {"x": x}, fp16=fp16).save(str(tmp_path / "big.mlpackage"))
    program = read_program(tmp_path / "big.mlpackage")
    mapped, copied = translate(program, mapped_from=200_000), translate(program)
    assert sorted(array.shape for array in mapped.weights.values()) == [(200, 1, 20, 15), (300, 300), (300, 300)]
    assert not any(array.flags.owndata or array.flags.writeable for array in mapped.weights.values())
    assert not copied.weights
    results = [next(iter(PortableModel(program.path, t, 1).predict({"x": x}).values())) for t in (mapped, copied)]
    np.testing.assert_allclose(results[0], results[1], rtol=1e-4, atol=1e-4)


def test_an_input_may_be_an_output_and_so_may_a_constant(tmp_path: Path) -> None:
    def body(x: Any) -> list[Any]:
        return [mb.identity(x=x, name="same"), mb.identity(x=np.array([1.0, 2.0], np.float32), name="known")]

    x = np.array([3.0, 4.0, 5.0], np.float32)
    outputs = load(save(tmp_path / "trivial.mlpackage", body, {"x": x})).predict({"x": x})
    assert outputs["same"].tolist() == [3.0, 4.0, 5.0]
    assert outputs["known"].tolist() == [1.0, 2.0]


def test_a_model_for_several_shapes_runs_at_each(tmp_path: Path) -> None:
    import coremltools as ct
    import torch

    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.SiLU()).eval()
    shape = ct.Shape((1, 3, ct.RangeDim(4, 32, default=8), ct.RangeDim(4, 32, default=8)))
    model = ct.convert(
        torch.jit.trace(module, torch.zeros(1, 3, 8, 8)),  # type: ignore[no-untyped-call]  # torch leaves it untyped
        inputs=[ct.TensorType(name="x", shape=shape)],
        outputs=[ct.TensorType(name="y")],
        minimum_deployment_target=ct.target.iOS16,
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    )
    model.save(str(tmp_path / "flexible.mlpackage"))
    loaded = load(tmp_path / "flexible.mlpackage")
    for height, width in ((8, 8), (4, 32), (17, 5)):
        x = np.random.default_rng(height).standard_normal((1, 3, height, width)).astype(np.float32)
        with torch.no_grad():
            expected = module(torch.tensor(x)).numpy()
        np.testing.assert_allclose(loaded.predict({"x": x})["y"], expected, rtol=1e-5, atol=1e-6)


def chooses(pred: Any, x: Any) -> list[Any]:
    """Of two branches, one uses what is outside of it, and one gives that as it is."""
    doubled = mb.mul(x=x, y=np.float32(2))
    shape = mb.shape(x=x)
    outputs = mb.cond(
        pred=pred,
        _true_fn=lambda: (mb.add(x=doubled, y=WEIGHTS), mb.slice_by_index(x=shape, begin=[0], end=[1])),
        _false_fn=lambda: (mb.sub(x=x, y=WEIGHTS), mb.slice_by_index(x=shape, begin=[1], end=[2])),
    )
    return [mb.identity(x=output, name=name) for output, name in zip(outputs, ("y", "size"), strict=True)]


WEIGHTS = np.random.default_rng(8).standard_normal((4, 5000)).astype(np.float32)
"""Too large to be in the graph, and large enough to be mapped."""


@pytest.mark.parametrize(("mapped_from", "fp16"), [(1 << 27, False), (0, True)])
def test_of_two_branches_the_one_runs_that_the_model_chooses(tmp_path: Path, mapped_from: int, fp16: bool) -> None:
    def body(x: Any) -> list[Any]:
        return chooses(mb.greater(x=mb.reduce_max(x=x), y=np.float32(0)), x)

    package = tmp_path / "cond.mlpackage"
    convert(body, {"x": np.zeros((4, 5000), np.float32)}, fp16=fp16).save(str(package))
    program = read_program(package)
    model = PortableModel(program.path, translate(program, mapped_from=mapped_from), threads=1)
    x = np.ones((4, 5000), np.float32)
    positive, negative = (model.predict({"x": sign * x}) for sign in (1, -1))
    weights = WEIGHTS.astype(np.float16) if fp16 else WEIGHTS
    np.testing.assert_allclose(positive["y"], 2 * x + weights, rtol=1e-6)
    np.testing.assert_allclose(negative["y"], -x - weights, rtol=1e-6)
    assert [positive["size"].tolist(), negative["size"].tolist()] == [[4], [5000]]


def test_a_choice_that_is_made_already_is_kept(tmp_path: Path) -> None:
    def body(x: Any) -> list[Any]:
        return chooses(np.bool_(False), x)

    x = np.ones((4, 5000), np.float32)
    results = load(save(tmp_path / "constant.mlpackage", body, {"x": x}), threads=1).predict({"x": x})
    np.testing.assert_allclose(results["y"], x - WEIGHTS, rtol=1e-6)


def test_what_a_branch_has_no_translation_for_is_named(tmp_path: Path) -> None:
    def body(x: Any) -> Any:
        return mb.cond(
            pred=mb.greater(x=mb.reduce_max(x=x), y=np.float32(0)),
            _true_fn=lambda: mb.add(x=x, y=mb.random_normal(shape=[2, 3], seed=1)),
            _false_fn=lambda: mb.identity(x=x),
        )

    with pytest.raises(UnsupportedOperationsError, match="random_normal: Core ML's random numbers"):
        load(save(tmp_path / "random.mlpackage", body, {"x": np.zeros((2, 3), np.float32)}))


def test_a_model_that_keeps_a_state_is_refused_with_that_reason(tmp_path: Path) -> None:
    import coremltools as ct
    from coremltools.converters.mil.mil import types

    specs = [mb.StateTensorSpec((2,), dtype=types.fp16), mb.TensorSpec((2,), dtype=types.fp16)]

    @mb.program(input_specs=specs, opset_version=ct.target.iOS18)
    def program(memory: Any, x: Any) -> Any:
        return mb.coreml_update_state(state=memory, value=x)

    package = tmp_path / "state.mlpackage"
    target = ct.target.iOS18
    ct.convert(program, minimum_deployment_target=target, skip_model_load=True).save(str(package))
    with pytest.raises(UnsupportedOperationsError, match="state 'memory': models that keep state between predictions"):
        load(package)
