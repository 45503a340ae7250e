import numpy as np
import pytest
import torch

from farm.diffusion.noise import RANDOM_SOURCES, NumpyRandomSource, NvidiaRandomSource, TorchRandomSource, philox


def test_numpy_noise_ends_as_core_mls_test_vector_does() -> None:
    last = NumpyRandomSource(12345).normal((10_000,))[-5:]

    np.testing.assert_allclose(last, [-0.86285345, 2.15229409, -0.00670556, -1.21472309, 0.65498866], rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 4, 8, 8), (1, 4, 64, 48), (1, 3, 5, 7), (17,)])
@pytest.mark.parametrize("seed", [0, 12345, 2**32 - 1])
def test_torch_noise_is_torchs_own_draw_after_draw(shape: tuple[int, ...], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    source = TorchRandomSource(seed)

    for _ in range(3):
        np.testing.assert_allclose(source.normal(shape), torch.randn(shape, generator=generator).numpy(), atol=1e-6)


def test_torch_noise_refuses_the_few_numbers_that_torch_draws_otherwise() -> None:
    with pytest.raises(ValueError, match="fewer than 16"):
        TorchRandomSource(0).normal((15,))


def test_nvidia_noise_is_what_a_gpu_draws_after_seed_0() -> None:
    drawn = NvidiaRandomSource(0).normal((3, 4))

    published = [
        [-0.92466259, -0.42534415, -2.6438457, 0.14518388],
        [-0.12086647, -0.57972564, -0.62285122, -0.32838709],
        [-1.07454231, -0.36314407, -1.67105067, 2.26550497],
    ]
    np.testing.assert_allclose(drawn, published, atol=1e-6)


def test_nvidia_noise_goes_on_with_a_second_draw() -> None:
    source = NvidiaRandomSource(0)

    assert not np.allclose(source.normal((64,)), source.normal((64,)))


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        (0x00000000, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        (0xFFFFFFFF, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    ],
)
def test_philox_gives_its_authors_known_answers(word: int, answer: list[int]) -> None:
    assert philox(np.full((4, 1), word, np.uint64), (word, word)).ravel().tolist() == answer


@pytest.mark.parametrize("name", RANDOM_SOURCES)
def test_every_source_gives_standard_normal_float32_that_its_seed_decides(name: str) -> None:
    make = RANDOM_SOURCES[name]

    drawn = make(7).normal((200, 200))

    assert drawn.dtype == np.float32
    assert abs(float(drawn.mean())) < 0.02
    assert abs(float(drawn.std()) - 1) < 0.02
    np.testing.assert_array_equal(drawn, make(7).normal((200, 200)))
    assert not np.allclose(drawn, make(8).normal((200, 200)))
