from pathlib import Path

import pytest

from shardtune.builder.ignored import Ignored
from shardtune.builder.labels import class_folders, read_labels, require_same
from shardtune.errors import DataError


def folders(directory: Path, *names: str) -> Path:
    for name in names:
        (directory / name).mkdir(parents=True)
    return directory


def test_classes_are_the_visible_folders_sorted(tmp_path: Path) -> None:
    folders(tmp_path, "red", "blue", "Zinnie", "Gänseblümchen", "two words", ".cache")
    (tmp_path / "a-file.txt").write_text("no class")
    assert list(class_folders(tmp_path, Ignored())) == ["Gänseblümchen", "Zinnie", "blue", "red", "two words"]


def test_no_classes_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"no directory {tmp_path / 'nowhere'}"):
        class_folders(tmp_path / "nowhere", Ignored())
    folders(tmp_path, ".hidden")
    with pytest.raises(DataError, match=f"{tmp_path} has no sub-folders"):
        class_folders(tmp_path, Ignored())


@pytest.mark.parametrize("name", [b"two\nlines", "two\u2028lines".encode(), b"latin-1-\xe9"])
def test_a_class_name_is_one_line_of_text(tmp_path: Path, name: bytes) -> None:
    (Path(str(tmp_path)) / name.decode("utf-8", "surrogateescape")).mkdir()
    with pytest.raises(DataError, match=r"one line of UTF-8, but .*rename these"):
        class_folders(tmp_path, Ignored())


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
    require_same(["b", "a"], ["a", "b"], tmp_path, ignore_unlisted=False)
    with pytest.raises(DataError, match=message):
        require_same(labels, ["a", "b"], tmp_path, ignore_unlisted=False)


def test_folders_may_be_fewer_or_more_where_that_is_allowed(tmp_path: Path) -> None:
    require_same(["a", "b", "c"], ["a", "b"], tmp_path, ignore_unlisted=False, may_lack=True)
    require_same(["a"], ["a", "b"], tmp_path, ignore_unlisted=True)
    with pytest.raises(DataError, match="has b besides: rename"):
        require_same(["a", "c"], ["a", "b"], tmp_path, ignore_unlisted=False, may_lack=True)


def test_a_class_name_is_composed_and_without_spaces_at_its_ends(tmp_path: Path) -> None:
    composed, decomposed = "G\u00e4nse", "Ga\u0308nse"
    folders(tmp_path / "images", decomposed, "a ")
    assert class_folders(tmp_path / "images", Ignored()) == {composed: decomposed, "a": "a "}
    (tmp_path / "labels").write_text(f"a\n{composed}\n")
    assert read_labels(tmp_path / "labels") == ["a", composed]
    (tmp_path / "labels").write_text(f"{decomposed}\n{composed}\n")
    with pytest.raises(DataError, match="twice"):
        read_labels(tmp_path / "labels")
    folders(tmp_path / "images", composed)
    with pytest.raises(DataError, match=r"one folder, but .* has 'Ga\\u0308nse' and 'G\\xe4nse' for Gänse: rename one"):
        class_folders(tmp_path / "images", Ignored())


def test_folders_that_systems_leave_are_no_classes(tmp_path: Path) -> None:
    folders(tmp_path, "a", "lost+found", "__MACOSX", "old")
    assert list(class_folders(tmp_path, Ignored(["old"]))) == ["a"]


def test_images_beside_the_folders_are_an_error(tmp_path: Path) -> None:
    folders(tmp_path, "a")
    (tmp_path / "labels.txt").touch()
    assert list(class_folders(tmp_path, Ignored())) == ["a"]
    for name in ("1.JPG", "2.png"):
        (tmp_path / name).touch()
    with pytest.raises(
        DataError, match=rf"{tmp_path} itself holds 2 \(first 1.JPG\).* give --train_directory {tmp_path.parent}\."
    ):
        class_folders(tmp_path, Ignored())
    assert list(class_folders(tmp_path, Ignored(["?.JPG", "2.png"]))) == ["a"]
