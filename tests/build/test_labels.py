from pathlib import Path

import pytest

from shardtune.build.labels import class_folders, read_labels, require_same
from shardtune.errors import DataError


def folders(directory: Path, *names: str) -> Path:
    for name in names:
        (directory / name).mkdir(parents=True)
    return directory


def test_classes_are_the_visible_folders_sorted(tmp_path: Path) -> None:
    folders(tmp_path, "red", "blue", "Zinnie", "Gänseblümchen", "two words", ".cache")
    (tmp_path / "a-file.txt").write_text("no class")
    assert class_folders(tmp_path) == ["Gänseblümchen", "Zinnie", "blue", "red", "two words"]


def test_no_classes_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"no directory {tmp_path / 'nowhere'}"):
        class_folders(tmp_path / "nowhere")
    folders(tmp_path, ".hidden")
    with pytest.raises(DataError, match=f"{tmp_path} has no sub-folders"):
        class_folders(tmp_path)


@pytest.mark.parametrize("name", [b"two\nlines", "two\u2028lines".encode(), b"latin-1-\xe9"])
def test_a_class_name_is_one_line_of_text(tmp_path: Path, name: bytes) -> None:
    (Path(str(tmp_path)) / name.decode("utf-8", "surrogateescape")).mkdir()
    with pytest.raises(DataError, match=r"one line of UTF-8, but .*rename it"):
        class_folders(tmp_path)


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("red\nblue\n", ["red", "blue"]),  # the order of the file, not of the alphabet
        ("red\r\nblue", ["red", "blue"]),
        ("\ufeffred\nblue", ["red", "blue"]),  # as Windows begins a text
        ("\n  red \n\n blue\n\n", ["red", "blue"]),
        ("two words\nGänseblümchen\n", ["two words", "Gänseblümchen"]),
    ],
)
def test_a_labels_file_gives_the_order(tmp_path: Path, content: str, names: list[str]) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(content.encode())
    assert read_labels(path) == names


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is empty"), (b" \n\n", "is empty"), (b"a\nb\na\n", "has 'a' twice"), (b"caf\xe9\n", "cannot be read")],
)
def test_a_labels_file_that_is_wrong(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_labels(path)


def test_a_labels_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels\.txt cannot be read"):
        read_labels(tmp_path / "labels.txt")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "b", "c"], "lacks c: rename"),
        (["a"], "has b besides: rename"),
        (["a", "c", "d"], "lacks c, d and has b besides: rename"),
    ],
)
def test_folders_and_labels_that_differ(tmp_path: Path, labels: list[str], message: str) -> None:
    folders(tmp_path, "a", "b")
    require_same(["b", "a"], tmp_path, ignore_unlisted=False)
    with pytest.raises(DataError, match=message):
        require_same(labels, tmp_path, ignore_unlisted=False)


def test_folders_may_be_fewer_or_more_where_that_is_allowed(tmp_path: Path) -> None:
    folders(tmp_path, "a", "b")
    require_same(["a", "b", "c"], tmp_path, ignore_unlisted=False, may_lack=True)
    require_same(["a"], tmp_path, ignore_unlisted=True)
    with pytest.raises(DataError, match="has b besides: rename"):
        require_same(["a", "c"], tmp_path, ignore_unlisted=False, may_lack=True)
