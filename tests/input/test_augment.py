import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shardtune.input.augment import central, light, training_image
from tests.pictures import encoded, picture

JPEG = encoded(picture(np.random.default_rng(9), 60, 44), quality=95)


def lit(seed: tuple[int, int], jpeg: bytes = JPEG, size: int = 24) -> npt.NDArray[np.float32]:
    image: npt.NDArray[np.float32] = light(tf.constant(jpeg), size, tf.constant(seed, tf.int64)).numpy()
    return image


@given(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**63 - 1)))
@settings(max_examples=20)
def test_light_is_a_function_of_its_seed(seed: tuple[int, int]) -> None:
    first = lit(seed)
    tf.random.uniform([])  # the state of the global generators is not its business
    assert first.tobytes() == lit(seed).tobytes()
    assert first.shape == (24, 24, 3)
    assert first.dtype == np.float32
    assert -1 <= first.min() <= first.max() <= 1


def test_other_seeds_give_other_images() -> None:
    seen = {lit((epoch, example)).tobytes() for epoch in range(4) for example in range(4)}
    assert len(seen) == 16


def test_light_is_the_same_in_eager_mode_and_in_a_pipeline() -> None:
    seeds = [[0, 5], [1, 5], [2**40, 3]]
    images = tf.data.Dataset.from_tensor_slices(tf.constant(seeds, tf.int64)).map(
        lambda seed: light(tf.constant(JPEG), 24, seed)
    )
    for seed, image in zip(seeds, images, strict=True):
        assert np.allclose(image, lit((seed[0], seed[1])), atol=1e-5)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 3), (1, 200), (300, 1)])
def test_the_smallest_images_can_be_augmented(width: int, height: int) -> None:
    jpeg = encoded(Image.new("RGB", (width, height), "white"))
    assert lit((0, 0), jpeg).shape == (24, 24, 3)
    assert np.allclose(central(tf.constant(jpeg), 24), 1.0)


def test_central_is_the_middle_without_change() -> None:
    image = Image.new("RGB", (64, 64), "black")  # a frame of 4 pixels around white: 1/16 of the side, cut off at each edge
    image.paste("white", (4, 4, 60, 60))
    jpeg = tf.constant(encoded(image, quality=100, subsampling=0))
    assert central(jpeg, 56).shape == (56, 56, 3)
    assert float(tf.reduce_min(central(jpeg, 56))) > 0.9
    assert float(tf.reduce_max(central(jpeg, 56))) == 1.0


def test_training_image_obeys_the_flag() -> None:
    seed = tf.constant([1, 2], tf.int64)
    jpeg = tf.constant(JPEG)
    assert np.array_equal(training_image(jpeg, 24, "none", seed), central(jpeg, 24))
    assert np.array_equal(training_image(jpeg, 24, "light", seed), light(jpeg, 24, seed))
    assert not np.array_equal(training_image(jpeg, 24, "light", seed), central(jpeg, 24))
