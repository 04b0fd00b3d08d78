import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shardtune.config import Augmentation
from shardtune.input.augment import central_crop, central_crop_of_decoded, training_image
from tests.pictures import encoded, picture

JPEG = encoded(picture(np.random.default_rng(9), 60, 44), quality=95)
RANDOM: tuple[Augmentation, ...] = ("light", "inception")
NO_BOXES = np.zeros((0, 4), np.float32)
SIZE = 24


def seen(
    augmentation: Augmentation, seed: tuple[int, int], jpeg: bytes = JPEG, boxes: npt.NDArray[np.float32] = NO_BOXES
) -> npt.NDArray[np.float32]:
    image: npt.NDArray[np.float32]
    image = training_image(tf.constant(jpeg), tf.constant(boxes), SIZE, augmentation, tf.constant(seed, tf.int64)).numpy()
    return image


def halves(left: str, right: str) -> bytes:
    """A picture of two colours, with their border where JPEG has one too."""
    image = Image.new("RGB", (64, 64), right)
    image.paste(left, (0, 0, 32, 64))
    return encoded(image, quality=100, subsampling=0)


@pytest.mark.parametrize("augmentation", RANDOM)
@given(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**63 - 1)))
@settings(max_examples=15)
def test_an_image_is_a_function_of_its_seed(augmentation: Augmentation, seed: tuple[int, int]) -> None:
    first = seen(augmentation, seed)
    tf.random.uniform([])  # the state of the global generators is not its business
    assert first.tobytes() == seen(augmentation, seed).tobytes()
    assert first.shape == (SIZE, SIZE, 3)
    assert first.dtype == np.float32
    assert -1 <= first.min() <= first.max() <= 1


@pytest.mark.parametrize("augmentation", RANDOM)
def test_other_seeds_give_other_images(augmentation: Augmentation) -> None:
    images = {seen(augmentation, (epoch, example)).tobytes() for epoch in range(4) for example in range(4)}
    assert len(images) == 16


@pytest.mark.parametrize("augmentation", RANDOM)
def test_an_image_is_the_same_in_eager_mode_and_in_a_pipeline(augmentation: Augmentation) -> None:
    seeds = [[0, 5], [1, 5], [2**40, 3]]
    images = tf.data.Dataset.from_tensor_slices(tf.constant(seeds, tf.int64)).map(
        lambda seed: training_image(tf.constant(JPEG), tf.constant(NO_BOXES), SIZE, augmentation, seed)
    )
    for seed, image in zip(seeds, images, strict=True):
        assert np.allclose(image, seen(augmentation, (seed[0], seed[1])), atol=1e-5)


@pytest.mark.parametrize("augmentation", RANDOM)
@pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 3), (1, 200), (300, 1)])
def test_the_smallest_images_can_be_augmented(width: int, height: int, augmentation: Augmentation) -> None:
    jpeg = encoded(Image.new("RGB", (width, height), "white"))
    assert seen(augmentation, (0, 0), jpeg).shape == (SIZE, SIZE, 3)
    assert np.allclose(central_crop(tf.constant(jpeg), SIZE), 1.0)


@pytest.mark.parametrize("augmentation", RANDOM)
def test_about_half_of_the_images_are_flipped(augmentation: Augmentation) -> None:
    jpeg = halves("black", "white")
    rising = [np.sign(np.diff(seen(augmentation, (0, example), jpeg).mean((0, 2))).sum()) for example in range(60)]
    assert 15 < rising.count(1) < 45
    assert 10 < rising.count(-1) < 45


def test_light_changes_colour_mildly() -> None:
    gray = encoded(Image.new("RGB", (40, 40), (128, 128, 128)))
    colours = np.array([seen("light", (1, example), gray)[0, 0] for example in range(60)])
    assert np.abs(colours).max() < 0.1 + 16 / 127.5 + 0.02
    assert colours.std(0).min() > 0.03
    assert np.ptp(colours, axis=1).max() > 0.05  # not the same for each channel


def test_inception_draws_among_ways_to_resize_and_orders_of_colour_changes() -> None:
    jpeg = halves("black", "white")
    colours = [len(np.unique(seen("inception", (2, example), jpeg).reshape(-1, 3), axis=0)) for example in range(60)]
    sharp = sum(count <= 2 for count in colours)  # nearest neighbour, or a crop of one half
    assert 15 <= sharp <= 45
    # Contrast keeps the mean of what it is given, and hue changes it: the order shows in the mean of a two-coloured image.
    images = [seen("inception", (3, example), halves("red", "blue")) for example in range(60)]
    assert len({image.mean((0, 1)).tobytes() for image in images}) == 60


def test_inception_looks_where_the_boxes_are() -> None:
    image = Image.new("RGB", (320, 320), "black")
    image.paste("white", (0, 0, 80, 80))
    jpeg = encoded(image, quality=100)
    box = np.array([[0.0, 0.0, 0.25, 0.25]], np.float32)

    def contrasts(boxes: npt.NDArray[np.float32]) -> list[float]:
        return [float(np.ptp(seen("inception", (4, example), jpeg, boxes))) for example in range(60)]

    assert min(contrasts(box)) > 0.1
    assert min(contrasts(NO_BOXES)) < 0.02
    both = np.concatenate([box, [[0.75, 0.75, 1.0, 1.0]]]).astype(np.float32)  # one of them is chosen
    assert min(contrasts(both)) < 0.02
    assert contrasts(both) != contrasts(NO_BOXES)


def test_central_is_the_middle_without_change() -> None:
    image = Image.new("RGB", (64, 64), "black")  # a frame of 4 pixels around white: 1/16 of the side, cut off at each edge
    image.paste("white", (4, 4, 60, 60))
    jpeg = tf.constant(encoded(image, quality=100, subsampling=0))
    assert central_crop(jpeg, 56).shape == (56, 56, 3)
    assert float(tf.reduce_min(central_crop(jpeg, 56))) > 0.9
    assert float(tf.reduce_max(central_crop(jpeg, 56))) == 1.0


@given(st.integers(1, 90), st.integers(1, 90))
@settings(max_examples=20)
def test_central_takes_what_the_reference_takes(width: int, height: int) -> None:
    jpeg = tf.constant(encoded(picture(np.random.default_rng(width), width, height), subsampling=0))
    expected = tf.image.resize(tf.image.central_crop(tf.io.decode_jpeg(jpeg, channels=3), 0.875), (8, 8))
    assert np.allclose(central_crop(jpeg, 8) * 127.5 + 127.5, expected, atol=1e-3)


@pytest.mark.parametrize("kind", ["alone", "in a graph"])
def test_the_central_crop_of_pixels_has_the_bits_of_that_of_the_jpeg(kind: str) -> None:
    jpeg = tf.constant(encoded(picture(np.random.default_rng(3), 90, 61), subsampling=0))
    crops = tf.function(central_crop, autograph=False) if kind == "in a graph" else central_crop
    pixels = tf.cast(tf.io.decode_jpeg(jpeg), tf.float32)
    assert np.array_equal(central_crop_of_decoded(pixels[tf.newaxis], SIZE)[0], crops(jpeg, SIZE))


def test_none_is_the_central_crop() -> None:
    assert np.array_equal(seen("none", (1, 2)), central_crop(tf.constant(JPEG), SIZE))
    assert not np.array_equal(seen("light", (1, 2)), central_crop(tf.constant(JPEG), SIZE))
