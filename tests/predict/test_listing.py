import io
import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from shardtune.dataset.columns import RECORDS_NAME
from shardtune.dataset.manifest import MANIFEST_NAME
from shardtune.errors import DataError
from shardtune.predict import listing
from shardtune.predict.listing import Item, Listing, list_items
from tests.input.shards import write


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with photos/ in it: images, files that are left out, and links that lead in circles."""
    photos = tmp_path / "photos"
    (photos / "a" / ".git").mkdir(parents=True)
    for name in ("b.jpg", "a/2.png", "a/10.png", ".hidden.jpg", "Thumbs.db", "a/.git/c.jpg"):
        (photos / name).touch()
    (photos / "a" / "up").symlink_to(photos)
    (photos / "c").symlink_to(photos / "a")
    (photos / "nowhere.jpg").symlink_to("nothing")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listed(*paths: str, stdin: bytes = b"") -> list[str]:
    items = list(list_items(paths, "validation", io.BytesIO(stdin)))
    assert all(item.example is None for item in items)
    return [item.path for item in items]


BELOW = ["a/10.png", "a/2.png", "b.jpg", "c/10.png", "c/2.png", "nowhere.jpg"]


@pytest.mark.parametrize("path", ["photos", "photos/", "./photos"])
def test_a_folder_is_all_below_it_in_order_without_hidden_files_and_circles(folder: Path, path: str) -> None:
    assert listed(path) == [f"{path.rstrip('/')}/{name}" for name in BELOW]


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, as root can")
def test_a_folder_that_cannot_be_read_is_given_as_it_is(folder: Path) -> None:
    folder.chmod(0o755)
    (folder / "photos" / "a").chmod(0o700)
    os.seteuid(65534)
    try:
        assert listed("photos") == ["photos/a", "photos/b.jpg", "photos/c", "photos/nowhere.jpg"]
        assert listed("photos/a/2.png", "x" * 5000) == ["photos/a/2.png", "x" * 5000]
    finally:
        os.seteuid(0)


def test_what_is_named_keeps_its_order_and_is_given_as_often_as_it_is_named(folder: Path) -> None:
    assert listed("photos/b.jpg", "photos/a", "photos/b.jpg", "photos/.hidden.jpg") == [
        *("photos/b.jpg", "photos/a/10.png", "photos/a/2.png", "photos/b.jpg", "photos/.hidden.jpg")
    ]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("photos/*/2.png", ["photos/a/2.png", "photos/c/2.png"]),
        ("photos/[ab]*", ["photos/a/10.png", "photos/a/2.png", "photos/b.jpg"]),
        ("photos/none*.jpg", ["photos/none*.jpg"]),
        ("photos/**", [f"photos/{name}" for name in BELOW]),
        ("photos/**/*", [f"photos/{name}" for name in BELOW]),
        ("photos/**/*.png", ["photos/a/10.png", "photos/a/2.png"]),
        ("photos/.hid*", ["photos/.hidden.jpg"]),
        ("photos/**x", ["photos/**x"]),
        ("nothing.jpg", ["nothing.jpg"]),
    ],
)
def test_a_pattern_is_what_it_matches_or_itself(folder: Path, pattern: str, found: list[str]) -> None:
    assert listed(pattern) == found
    assert listed(f"{folder}/{pattern}") == [f"{folder}/{path}" for path in found]


def test_a_pattern_may_begin_above(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "photos" / "a")
    assert listed("../*.jpg") == ["../b.jpg", "../nowhere.jpg"]


def test_a_file_whose_name_is_a_pattern_is_that_file(folder: Path) -> None:
    for name in ("[ab].jpg", "a.jpg"):
        (folder / name).touch()
    assert listed("[ab].jpg") == ["[ab].jpg"]


def test_each_line_of_stdin_is_a_file_whatever_its_name(folder: Path) -> None:
    lines = [b"photos/b.jpg", b"photos", b"*.jpg", b"-", b" \r", b"\xff.jpg"]
    found = listed("photos/b.jpg", "-", "photos/a/2.png", stdin=b"\n".join([*lines, b"", b"last"]))
    assert list(map(os.fsencode, found)) == [b"photos/b.jpg", *lines, b"last", b"photos/a/2.png"]


def test_a_data_directory_is_the_examples_of_its_split(small_data: Path) -> None:
    for subset, count in (("train", 60), ("validation", 21)):
        items = list(list_items([str(small_data)], subset, io.BytesIO()))
        assert items == [Item(str(small_data), number) for number in range(count)]


def test_the_test_split_of_a_data_directory(tmp_path: Path) -> None:
    data = str(write(tmp_path / "data", [2, 1], "test"))
    assert list(list_items([data], "test", io.BytesIO())) == [Item(data, number) for number in range(3)]


def test_a_damaged_data_directory_is_an_error(small_data: Path, tmp_path: Path) -> None:
    (tmp_path / MANIFEST_NAME).write_text("{}")
    assert listed(str(tmp_path)) == [f"{tmp_path}/{MANIFEST_NAME}"]  # that of another program
    (tmp_path / RECORDS_NAME).touch()
    waiting = Listing(list_items(["a.jpg", str(tmp_path)], "train", io.BytesIO()))
    assert waiting.take(10, lambda: None, wait=True) == [Item("a.jpg")]
    for _ in range(2):
        assert waiting.take(10, lambda: None, wait=False) == []  # while a.jpg is predicted
        with pytest.raises(DataError, match="is not a data set manifest"):
            waiting.take(10, lambda: None, wait=True)


def test_shards_of_another_tool_are_no_images(small_data: Path, tmp_path: Path) -> None:
    for shard in small_data.glob("train-*"):
        (tmp_path / shard.name).symlink_to(shard)
    with pytest.raises(DataError, match=r"has shards without a dataset\.json, as another tool leaves them\. Name the images"):
        list(list_items([str(tmp_path)], "train", io.BytesIO()))


def test_items_are_taken_in_order_until_they_end() -> None:
    items = [Item(str(number)) for number in range(25)]
    source, taken = Listing(items), list[Item]()
    while not source.has_ended:
        part = source.take(10, lambda: None, wait=True)
        assert len(part) <= 10
        taken += part
    assert taken == items
    assert source.take(10, lambda: None, wait=True) == []


def test_what_is_there_is_taken_while_more_is_waited_for() -> None:
    more, beats = threading.Event(), list[int]()

    def slow() -> Iterator[Item]:
        yield Item("first")
        more.wait()
        yield Item("second")

    def beat() -> None:
        beats.append(1)
        if len(beats) == 3:
            more.set()

    source = Listing(slow())
    assert source.take(10, beat, wait=True) == [Item("first")]
    assert source.take(10, beat, wait=False) == []
    assert beats == []
    assert source.take(10, beat, wait=True) == [Item("second")]
    assert len(beats) == 3


def test_no_more_is_listed_than_is_soon_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "ITEMS_AHEAD", 100)
    drawn = itertools.count()
    source = Listing(Item(str(next(drawn))) for _ in itertools.count())
    for _ in range(5):
        assert len(source.take(50, lambda: None, wait=True)) == 50
    assert next(drawn) <= 5 * 50 + 100 + 1


def test_a_trickle_is_taken_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "PATIENCE_SECONDS", 0.05)
    ended = threading.Event()

    def trickle() -> Iterator[Item]:
        while not ended.wait(0.02):
            yield Item("another")

    source = Listing(trickle())
    while not (taken := source.take(10**6, lambda: None, wait=True)):
        pass
    ended.set()  # without an end to its patience, take would still be waiting
    assert set(taken) == {Item("another")}
