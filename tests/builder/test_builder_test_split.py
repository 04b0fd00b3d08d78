"""The test split: given, held out, read again."""

import json
from pathlib import Path
from typing import Any

import pytest

from shardtune.dataset.columns import load_record_index
from shardtune.dataset.manifest import MANIFEST_NAME, Manifest
from shardtune.dataset.splits import Split
from shardtune.errors import DataError
from shardtune.input.reader import RecordReader
from shardtune.inspect.config import InspectConfig, VerifyConfig
from shardtune.inspect.summary import inspect
from shardtune.inspect.verify import verify
from shardtune.runtime.world import World
from tests.builder.builds import made, stored
from tests.pictures import plant
from tests.records import contents


def paths(directory: Path) -> dict[str, set[str]]:
    return {split: {each["image/path"].decode() for each in examples} for split, examples in stored(directory).items()}


def test_the_images_for_validation_are_the_same_with_a_test_split(images: Path, tmp_path: Path) -> None:
    made(images, tmp_path / "two", validation_fraction=1 / 3)
    manifest = made(images, tmp_path / "three", validation_fraction=1 / 3, test_fraction=1 / 6, test_shards=2)
    assert manifest.class_counts == {"train": [3, 3, 3], "validation": [2, 2, 2], "test": [1, 1, 1]}
    before, now = paths(tmp_path / "two"), paths(tmp_path / "three")
    assert before["validation"] == now["validation"]
    assert before["train"] == now["train"] | now["test"]
    assert not now["train"] & now["test"]
    shards = [path.name for path in sorted((tmp_path / "three").glob("test-*"))]
    assert shards == ["test-00000-of-00002", "test-00001-of-00002"]
    assert manifest.provenance["test_fraction"] == 1 / 6


def test_a_given_test_split_is_stored_verified_and_read(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, data = plant(tmp_path / "given", per_class=3, seed=5), tmp_path / "data"
    made(images, data, test_directory=given, test_shards=2)
    manifest = Manifest.load(data)
    assert manifest.class_counts == {"train": [6, 6, 6], "validation": [0, 0, 0], "test": [3, 3, 3]}
    assert json.loads((data / MANIFEST_NAME).read_text())["schema_version"] == 3
    assert paths(data)["test"] == {str(path.relative_to(given)) for path in given.rglob("*.jpg")}
    records = load_record_index(data, manifest)["test"]
    assert len(RecordReader(data, manifest, "test", records)) == 9
    verify(VerifyConfig(data), World())
    inspect(InspectConfig(data, tmp_path / "contact.png"), World())
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["test", "9", "2"] in [line[:3] for line in lines]
    assert ["1", "blue", "6", "0", "3"] in lines
    shard = next(data.glob("test-00001*"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match=f"{shard.name}: record"):
        verify(VerifyConfig(data), World())


def test_a_data_set_without_a_test_split_is_as_before_there_were_any(images: Path, tmp_path: Path) -> None:
    made(images, tmp_path / "data", validation_fraction=0.2)
    value = json.loads((tmp_path / "data" / MANIFEST_NAME).read_text())
    assert (value["schema_version"], list(value["splits"])) == (2, ["train", "validation"])
    assert not {name for name in value["provenance"] if "test" in name or "group" in name}
    assert len(load_record_index(tmp_path / "data", Manifest.load(tmp_path / "data"))["test"]) == 0


def test_an_identical_image_stays_in_the_test_split(images: Path, tmp_path: Path) -> None:
    given = plant(tmp_path / "given", per_class=2, seed=5)
    (given / "red" / "twin.jpg").write_bytes((images / "red" / "red-02.jpg").read_bytes())
    manifest = made(images, tmp_path / "data", test_directory=given, duplicates="skip")
    assert manifest.class_counts == {"train": [6, 6, 5], "validation": [0, 0, 0], "test": [2, 2, 3]}


def test_more_test_images_never_leave_a_class_without_one_to_train_with(images: Path, tmp_path: Path) -> None:
    manifest = made(images, tmp_path / "data", validation_fraction=0.5, test_fraction=0.49)
    assert manifest.class_counts == {"train": [1, 1, 1], "validation": [3, 3, 3], "test": [2, 2, 2]}


@pytest.mark.parametrize("options", [{}, {"validation_fraction": 0.2, "test_fraction": 0.2}])
def test_a_finished_build_has_nothing_to_do(images: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    made(images, tmp_path / "data", **options)
    before = contents(tmp_path / "data")
    made(images, tmp_path / "data", **options)
    assert contents(tmp_path / "data") == before
    with pytest.raises(DataError, match=r"holds a build of other input .*test_fraction"):
        made(images, tmp_path / "data", **{**options, "test_fraction": 0.3})


@pytest.mark.parametrize("options", [{}, {"group_by": r"-(\w+)\.jpg"}])
@pytest.mark.parametrize(("given", "other"), [("validation", "test"), ("test", "validation")])
def test_what_is_identical_to_an_image_of_a_given_split_is_not_held_out(
    tmp_path: Path, options: dict[str, str], given: Split, other: Split
) -> None:
    images, folder = plant(tmp_path / "images", per_class=10), tmp_path / "given"
    twins = {"red/red-01.jpg", "green/green-01.jpg", *(f"blue/blue-0{number}.jpg" for number in (1, 3, 5, 7))}
    for path in twins:
        twin = folder / path.replace("-", "-x")
        twin.parent.mkdir(parents=True, exist_ok=True)
        twin.write_bytes((images / path).read_bytes())
    made(images, tmp_path / "data", **{f"{given}_directory": folder, f"{other}_fraction": 0.9}, **options)
    found = paths(tmp_path / "data")[other]
    assert len(found) > 12
    assert not found & twins
