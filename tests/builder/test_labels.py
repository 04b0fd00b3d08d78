import re
from pathlib import Path

import pytest

from shardtune.builder.labels import check_class_folders, class_folders, read_labels, read_words
from shardtune.errors import DataError
from shardtune.images.ignored import Ignored


def folders(directory: Path, *names: str) -> Path:
    for name in names:
        (directory / name).mkdir(parents=True)
    return directory


def test_classes_are_the_visible_folders_sorted(tmp_path: Path) -> None:
    folders(tmp_path, "red", "blue", "Zinnie", "Gänseblümchen", "two words", ".cache")
    (tmp_path / "a-file.txt").write_text("no class")
    assert list(class_folders(tmp_path, Ignored())) == ["Gänseblümchen", "Zinnie", "blue", "red", "two words"]


def test_no_classes_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"image directory {tmp_path / 'nowhere'} does not exist"):
        class_folders(tmp_path / "nowhere", Ignored())
    folders(tmp_path, ".hidden")
    with pytest.raises(DataError, match=f"{tmp_path} has no sub-folders"):
        class_folders(tmp_path, Ignored())


@pytest.mark.parametrize("name", [b"two\nlines", "two\u2028lines".encode(), b"latin-1-\xe9"])
def test_a_class_name_is_one_line_of_text(tmp_path: Path, name: bytes) -> None:
    (Path(str(tmp_path)) / name.decode("utf-8", "surrogateescape")).mkdir()
    with pytest.raises(DataError, match=r"whose names are not one line of UTF-8: .*Rename these"):
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


WORDS = ["b", "a, an a"]


@pytest.mark.parametrize(
    "content",
    [
        "n1\tb\nn2\ta, an a\n",
        "n0\tno class\nn2\ta, an a\nn1\tb",  # another order, and classes that are not asked for
        "\ufeffn1\tb\r\nn2\ta, an a\r\n",
        "\n n1 \t b \n\t\nn2\t a, an a\n\n",
    ],
)
def test_words_are_found_by_their_synset(tmp_path: Path, content: str) -> None:
    path = tmp_path / "metadata.txt"
    path.write_bytes(content.encode())
    assert read_words(path, ["n1", "n2"]) == WORDS
    assert read_words(path, ["n2", "n1"]) == WORDS[::-1]


def test_words_are_kept_as_they_are_and_classes_compared_in_composed_form(tmp_path: Path) -> None:
    for name in ("ro\u0308t", "r\u00f6t"):  # other letters, and other spaces than that at the ends of lines
        (tmp_path / "metadata.txt").write_text(f"{name[0]}o\u0308t\tro\u0308t\u2028 red\n", encoding="utf-8")
        assert read_words(tmp_path / "metadata.txt", ["r\u00f6t"]) == ["ro\u0308t\u2028 red"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "metadata.txt has no words for 2 of 2 classes (first 'n1'). Add a line"),
        (b"\n\n", "metadata.txt has no words for 2 of 2 classes (first 'n1'). Add a line"),
        (b"n1\tb\nn3\tc\n", "metadata.txt has no words for 1 of 2 classes (first 'n2'). Add a line"),
        (b"n1\tb\nn2 a\n", "Line 2 of the metadata file {path} is not a synset, a tab and its words: 'n2 a'. Correct"),
        (b"n1\tb\nn2    a\n", "Line 2 of the metadata file {path} is not a synset, a tab and its words: 'n2    a'."),
        (b"\nn1\t\n", "Line 2 of the metadata file {path} is not a synset, a tab and its words: 'n1\\t'. Correct"),
        (b"\tb\n", "Line 1 of the metadata file {path} is not a synset, a tab and its words: '\\tb'. Correct"),
        (b"n1\tb\tc\n", "Line 1 of the metadata file {path} is not a synset, a tab and its words: 'n1\\tb\\tc'. Correct"),
        (b"n1\tb\nn2\ta\nn1\tb\n", "The metadata file {path} has 'n1' twice. Remove"),
        (b"n1\tb\nn2\ta\nn9\tb\nn9\tc\n", "The metadata file {path} has 'n9' twice. Remove"),
        (b"n1\tcaf\xe9\nn2\ta\n", "The metadata file {path} cannot be read: 'utf-8' codec can't decode"),
        (None, "The metadata file {path} cannot be read: [Errno 2] No such file"),
    ],
)
def test_a_metadata_file_that_is_wrong(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "metadata.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(message.format(path=path))):
        read_words(path, ["n1", "n2"])


def test_a_labels_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels\.txt cannot be read"):
        read_labels(tmp_path / "labels.txt")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "b", "c"], r"has no folder for c\. Rename"),
        (["a"], r"has folders that are no class: b\. Rename"),
        (["a", "c", "d"], r"has no folder for c, d and has folders that are no class: b\. Rename"),
    ],
)
def test_folders_and_labels_that_differ(tmp_path: Path, labels: list[str], message: str) -> None:
    check_class_folders(["b", "a"], ["a", "b"], tmp_path, ignore_unlisted=False)
    with pytest.raises(DataError, match=message):
        check_class_folders(labels, ["a", "b"], tmp_path, ignore_unlisted=False)


def test_folders_may_be_fewer_or_more_where_that_is_allowed(tmp_path: Path) -> None:
    check_class_folders(["a", "b", "c"], ["a", "b"], tmp_path, ignore_unlisted=False, allow_missing=True)
    check_class_folders(["a"], ["a", "b"], tmp_path, ignore_unlisted=True)
    with pytest.raises(DataError, match=r"has folders that are no class: b\. Rename"):
        check_class_folders(["a", "c"], ["a", "b"], tmp_path, ignore_unlisted=False, allow_missing=True)


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
    with pytest.raises(DataError, match=r"two folders for the class Gänse: 'Ga\\u0308nse' and 'G\\xe4nse'\. Rename one"):
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
    message = rf"{tmp_path} holds 2 image\(s\) outside of class folders \(first 1\.JPG\)\. .*"
    with pytest.raises(DataError, match=rf"{message} give --train_directory {tmp_path.parent}\."):
        class_folders(tmp_path, Ignored())
    assert list(class_folders(tmp_path, Ignored(["?.JPG", "2.png"]))) == ["a"]
