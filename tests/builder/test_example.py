from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from shardtune.builder.boxes import Box
from shardtune.builder.example import image_example
from shardtune.dataset.example import decode_example
from shardtune.images.stored import StoredImage
from tests.records import by_tensorflow, fields

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
SIDE = st.integers(1, 2**31 - 1)
SHARE = st.floats(0, 1, width=32)
BOX = st.builds(Box, SHARE, SHARE, SHARE, SHARE, st.none() | st.integers(1, 1000), TEXT, st.integers(1))


@given(st.binary(max_size=500), SIDE, SIDE, TEXT, st.integers(1, 100_000), TEXT)
def test_an_example_has_the_nine_fields_a_path_and_tensorflow_s_bytes(
    jpeg: bytes, height: int, width: int, name: str, label: int, text: str
) -> None:
    path = f"{text}/deep/{name}"
    record = image_example(StoredImage(jpeg, height, width, None), path, label, text)
    expected = {
        "image/height": height,
        "image/width": width,
        "image/colorspace": b"RGB",
        "image/channels": 3,
        "image/class/label": label,
        "image/class/text": text.encode(),
        "image/format": b"JPEG",
        "image/filename": name.split("/")[-1].encode(),
        "image/path": path.encode(),
        "image/encoded": jpeg,
    }
    assert fields(record) == expected
    assert record == by_tensorflow({name: [value] for name, value in expected.items()}).SerializeToString(deterministic=True)


def test_words_take_the_place_of_the_name_which_becomes_the_synset() -> None:
    image = StoredImage(b"a jpeg", 30, 40, None)
    record = image_example(image, "n01440764/x.JPEG", 1, "n01440764", "tench, Tinca tinca")
    assert fields(record) == fields(image_example(image, "n01440764/x.JPEG", 1, "n01440764")) | {
        "image/class/text": b"tench, Tinca tinca",
        "image/class/synset": b"n01440764",
    }


@given(st.lists(BOX, min_size=1, max_size=4), st.integers(1, 1000))
def test_boxes_are_five_more_fields(boxes: Sequence[Box], label: int) -> None:
    image = StoredImage(b"a jpeg", 30, 40, None)
    record = image_example(image, "red/x.jpg", label, "red", boxes=boxes)
    features = decode_example(image_example(image, "red/x.jpg", label, "red")) | {
        "image/object/bbox/xmin": [box.xmin for box in boxes],
        "image/object/bbox/xmax": [box.xmax for box in boxes],
        "image/object/bbox/ymin": [box.ymin for box in boxes],
        "image/object/bbox/ymax": [box.ymax for box in boxes],
        "image/object/bbox/label": [label if box.label is None else box.label for box in boxes],
    }
    assert record == by_tensorflow(features).SerializeToString(deterministic=True)
