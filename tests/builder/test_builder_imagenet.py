"""A tree of synsets with the files of build_imagenet_data.py of research/inception."""

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from shardtune.dataset.example import Feature
from shardtune.dataset.index import open_data_set
from shardtune.dataset.manifest import LABELS_NAME
from shardtune.dataset.splits import SPLITS
from shardtune.errors import DataError
from shardtune.input.reader import RecordReader
from shardtune.inspect.config import InspectConfig, VerifyConfig
from shardtune.inspect.summary import contact_sheet, inspect
from shardtune.inspect.verify import verify
from shardtune.runtime.world import World
from tests.builder.builds import made
from tests.input.batches import trained_on
from tests.records import by_tensorflow, contents, fields, records
from tests.synsets import BOXES, CMYK, PNG, WORDS, SynsetTree, plant_synsets

SYNSETS = list(WORDS)
SIDES = ("xmin", "ymin", "xmax", "ymax")
PARSED = {  # by parse_example_proto of its image_processing.py
    "image/encoded": tf.io.FixedLenFeature([], tf.string, ""),
    "image/class/label": tf.io.FixedLenFeature([1], tf.int64, -1),
    "image/class/text": tf.io.FixedLenFeature([], tf.string, ""),
    **{f"image/object/bbox/{side}": tf.io.VarLenFeature(tf.float32) for side in SIDES},
}


@pytest.fixture
def tree(tmp_path: Path) -> SynsetTree:
    return plant_synsets(tmp_path / "imagenet")


def expected_features(path: str, jpeg: bytes) -> dict[str, Feature]:
    """What _convert_to_example of the script stored, but no bounding boxes where it stored empty lists, and image/path."""
    synset, name = path.split("/")
    label, objects = SYNSETS.index(synset) + 1, dict[str, Feature]()
    if path in BOXES:
        boxes = sorted(BOXES[path])
        objects = {f"image/object/bbox/{side}": [box[i] for box in boxes] for i, side in enumerate(SIDES)}
        objects["image/object/bbox/label"] = [label] * len(boxes)
    return {
        "image/height": [48],
        "image/width": [64],
        "image/colorspace": [b"RGB"],
        "image/channels": [3],
        "image/class/label": [label],
        "image/class/synset": [synset.encode()],
        "image/class/text": [WORDS[synset].encode()],
        "image/format": [b"JPEG"],
        "image/filename": [name.encode()],
        "image/encoded": [jpeg],
        "image/path": [path.encode()],
        **objects,
    }


def test_a_tree_of_synsets_becomes_the_examples_of_2016(tree: SynsetTree, tmp_path: Path) -> None:
    manifest = made(tree.images, tmp_path / "data", **tree.options)
    seen = set()
    for split in SPLITS:
        for record in records(tmp_path / "data", split):
            features = dict(tf.train.Example.FromString(record).features.feature)
            path, jpeg = features["image/path"].bytes_list.value[0].decode(), features["image/encoded"].bytes_list.value[0]
            expected = expected_features(path, jpeg)
            assert features == dict(by_tensorflow(expected).features.feature)
            parsed = tf.io.parse_single_example(record, PARSED)
            for name, value in parsed.items():
                values = value.values if isinstance(value, tf.SparseTensor) else tf.reshape(value, [-1])
                np.testing.assert_array_equal(values.numpy(), np.array(expected.get(name, []), values.numpy().dtype))
            source = (tree.directory / split / path).read_bytes()
            assert (jpeg == source) == (path not in (PNG, CMYK))
            stored, original = (Image.open(io.BytesIO(data)) for data in (jpeg, source))
            assert (stored.format, stored.mode, tf.io.decode_jpeg(jpeg).shape) == ("JPEG", "RGB", (48, 64, 3))
            difference = np.asarray(stored, int) - np.asarray(original.convert("RGB"), int)
            assert np.abs(difference).mean() < 4
            seen.add((split, path))
    assert seen == {(split, str(path.relative_to(tree.directory / split))) for split in SPLITS for path in images(tree, split)}
    assert manifest.provenance["reencoded"] == {"cmyk": 1, "png": 1}
    assert manifest.provenance["boxes"] == {"given": 4, "stored": 4, "moved": 0, "repeated": 0, "rejected": 0}
    assert (manifest.labels, manifest.words) == (SYNSETS, list(WORDS.values()))  # two classes are called crane
    assert (tmp_path / "data" / LABELS_NAME).read_text().splitlines() == SYNSETS


def images(tree: SynsetTree, split: str) -> list[Path]:
    return sorted((tree.directory / split).glob("*/*.JPEG"))


def test_the_words_are_shown_and_the_data_set_is_verified_and_read(
    tree: SynsetTree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    manifest = made(tree.images, data, **tree.options)
    inspect(InspectConfig(data, tmp_path / "contact.png"), World())
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for line in ("1 n01440764 tench, Tinca tinca 4 2", "2 n02012849 crane 4 2", "4 n03126707 crane 4 2"):
        assert line in lines
    made(tree.images, tmp_path / "plain", **{**tree.options, "imagenet_metadata_file": None})
    plain, _ = open_data_set(tmp_path / "plain", World())
    assert contact_sheet(data, manifest) != contact_sheet(tmp_path / "plain", plain)  # by its headings alone
    verify(VerifyConfig(data), World())
    manifest, index = open_data_set(data, World())
    reader = RecordReader(data, manifest, "train", index["train"])
    [(_, labels)] = trained_on(reader, 1, size=20, augmentation="inception")  # which reads the boxes
    assert sorted(labels) == sorted([1, 2, 3, 4, 5] * 4)


def test_a_changed_word_is_found_by_verify(tree: SynsetTree, tmp_path: Path) -> None:
    data = tmp_path / "data"
    manifest = made(tree.images, data, **tree.options, train_shards=1)
    for old, new in ((b"guacamole", b"guacamola"), (b"image/class/synset", b"image/class/synapt")):
        path = data / manifest.splits["train"][0].name
        content = path.read_bytes()
        path.write_bytes(content.replace(old, new, 1))
        with pytest.raises(DataError, match=rf"{path.name}: record \d+ at byte \d+ \(image 'n0\d+/"):
            verify(VerifyConfig(data), World())
        path.write_bytes(content)
    (data / "dataset.json").write_text((data / "dataset.json").read_text().replace("guacamole", "guacamola"))
    with pytest.raises(DataError, match="was edited or damaged"):
        verify(VerifyConfig(data), World())


def test_a_changed_metadata_file_is_noticed(tree: SynsetTree, tmp_path: Path) -> None:
    made(tree.images, tmp_path / "data", **tree.options)
    before = contents(tmp_path / "data")
    for options in ({"imagenet_metadata_file": None}, {}):
        with pytest.raises(DataError, match=r"a build of other input \(imagenet_metadata_sha256 was \w+, is \w+\)"):
            made(tree.images, tmp_path / "data", **{**tree.options, **options})
        tree.metadata.write_text(tree.metadata.read_text().replace("guacamole", "avocado"))
    assert contents(tmp_path / "data") == before
    made(tree.images, tmp_path / "data", **tree.options, overwrite=True)
    texts = {tf.train.Example.FromString(r).features.feature["image/class/text"].bytes_list.value[0] for r in train(tmp_path)}
    assert texts == {words.encode() for words in {*WORDS.values(), "avocado"} - {"guacamole"}}


def train(directory: Path) -> list[bytes]:
    return records(directory / "data", "train")


def test_without_the_file_nothing_of_it_is_stored(tree: SynsetTree, tmp_path: Path) -> None:
    manifest = made(tree.images, tmp_path / "data", validation_fraction=0.2)
    example = fields(train(tmp_path)[0])
    assert example["image/class/text"] == example["image/path"].split(b"/")[0]
    assert "image/class/synset" not in example
    assert (manifest.words, manifest.titles) == ([], SYNSETS)
    for name in ("data/dataset.json", "data/.shardtune/recipe.json"):  # so that older data sets are finished and resumed
        assert b"metadata" not in (tmp_path / name).read_bytes()


def test_a_synset_without_words_is_named_before_anything_is_written(tree: SynsetTree, tmp_path: Path) -> None:
    tree.metadata.write_text("".join(f"{name}\t{words}\n" for name, words in WORDS.items() if name != "n03126707"))
    message = rf"{tree.metadata} has no words for 1 of 5 classes \(first 'n03126707'\)\. Add a line"
    with pytest.raises(DataError, match=message):
        made(tree.images, tmp_path / "data", **tree.options)
    assert not (tmp_path / "data").exists()


def test_part_of_imagenet_is_built_with_the_files_of_the_whole(
    tree: SynsetTree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree.options["labels_file"].write_text("n02105855\nn02012849\n")
    with pytest.raises(DataError, match=r"has folders that are no class: n01440764, n03126707, n07583066\."):
        made(tree.images, tmp_path / "data", **tree.options)
    manifest = made(tree.images, tmp_path / "data", **tree.options, ignore_unlisted=True)
    assert manifest.titles == ["n02105855 Shetland sheepdog, Shetland sheep dog, Shetland", "n02012849 crane"]
    assert manifest.provenance["boxes"] == {
        "given": 4, "stored": 1, "moved": 0, "repeated": 0, "rejected": 0, "unlisted": 3
    }  # fmt: skip
    assert "Boxes of images that are not there: 3 of 4 were left out." in capsys.readouterr().out.splitlines()
    tree.options["labels_file"].write_text("n03126707\n")
    manifest = made(tree.images, tmp_path / "other", **tree.options, ignore_unlisted=True, duplicates="skip")
    assert [manifest.provenance["boxes"][name] for name in ("given", "stored", "unlisted")] == [4, 0, 4]
