import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardtune.builder.listing import FileTable, Walk
from shardtune.builder.listing import scan as scan_with
from shardtune.errors import DataError
from shardtune.images.ignored import Ignored
from tests.listings import listing_of


def tree(directory: Path, *paths: str) -> Path:
    """Files of these relative paths, the first of 1 byte, the second of 2, and so on; their times in seconds are the same."""
    for size, path in enumerate(paths, start=1):
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(b"x" * size)
        os.utime(directory / path, (size, size))
    return directory


def scan(directory: Path, folders: Sequence[str | None]) -> FileTable:
    return scan_with(directory, folders, Walk([directory], Ignored()))


def found(listing: FileTable) -> dict[str, tuple[int, int, int]]:
    """Label, size, and time in seconds of each path."""
    columns = zip(listing.labels.tolist(), listing.sizes.tolist(), (listing.mtimes // 10**9).tolist(), strict=True)
    listed = {listing.path(index): values for index, values in enumerate(columns)}
    assert len(listed) == len(listing)
    return listed


def test_files_are_listed_with_label_size_and_time(tmp_path: Path) -> None:
    tree(tmp_path, "a/1.jpg", "b/two words.JPG", "b/sub/Gänseblümchen", "b/sub/sub/notes.txt", "c/unlisted.jpg", "stray.jpg")
    assert found(scan(tmp_path, ["b", "a"])) == {
        "a/1.jpg": (2, 1, 1),
        "b/two words.JPG": (1, 2, 2),
        "b/sub/Gänseblümchen": (1, 3, 3),
        "b/sub/sub/notes.txt": (1, 4, 4),
    }


def test_hidden_entries_are_left_out(tmp_path: Path) -> None:
    tree(tmp_path, "a/.DS_Store", "a/.ipynb_checkpoints/1-checkpoint.jpg", "a/1.jpg")
    assert found(scan(tmp_path, ["a"])) == {"a/1.jpg": (1, 3, 3)}


def test_links_are_followed_and_those_that_lead_nowhere_are_listed(tmp_path: Path) -> None:
    tree(tmp_path, "elsewhere/1.jpg", "a/2.jpg")
    (tmp_path / "a" / "link.jpg").symlink_to("../elsewhere/1.jpg")
    (tmp_path / "a" / "folder").symlink_to("../elsewhere")
    (tmp_path / "a" / "dangling.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "a" / "itself.jpg").symlink_to("itself.jpg")
    listed = found(scan(tmp_path, ["a"]))
    assert listed["a/link.jpg"] == listed["a/folder/1.jpg"] == (1, 1, 1)
    assert listed.keys() == {"a/2.jpg", "a/link.jpg", "a/folder/1.jpg", "a/dangling.jpg", "a/itself.jpg"}


def test_a_link_to_a_folder_above_is_not_followed(tmp_path: Path) -> None:
    tree(tmp_path, "a/sub/1.jpg")
    (tmp_path / "a" / "sub" / "up").symlink_to("..")
    (tmp_path / "a" / "sub" / "here").symlink_to(".")
    assert found(scan(tmp_path, ["a"])).keys() == {"a/sub/1.jpg"}


def test_a_folder_that_several_ways_lead_to_is_entered_once(tmp_path: Path) -> None:
    tree(tmp_path, "elsewhere/1.jpg", "a/z/real/2.jpg", "a/3.jpg")
    for link, target in {"b": "z/real", "c": "../elsewhere", "d": "../elsewhere", "z/y": "../../elsewhere"}.items():
        (tmp_path / "a" / link).symlink_to(target)
    assert found(scan(tmp_path, ["a"])).keys() == {"a/3.jpg", "a/c/1.jpg", "a/z/real/2.jpg"}  # without a link, or the first


def test_links_that_fan_out_do_not_multiply_files(tmp_path: Path) -> None:
    tree(tmp_path, *(f"a/{number}/{number}.jpg" for number in range(14)))
    for number in range(13):
        for way in ("left", "right"):
            (tmp_path / "a" / str(number) / way).symlink_to(f"../{number + 1}")
    assert len(scan(tmp_path, ["a"])) == 14


@pytest.mark.parametrize("target", ["..", "../..", "../../..", "/"])
def test_a_link_to_the_root_or_above_is_not_followed(tmp_path: Path, target: str) -> None:
    root = tree(tmp_path / "x" / "images", "a/1.jpg", "b/2.jpg")
    (root / "a" / "all").symlink_to(target)
    assert {path: label for path, (label, _, _) in found(scan(root, ["a", "b"])).items()} == {"a/1.jpg": 1, "b/2.jpg": 2}


@pytest.mark.parametrize(
    ("link", "target", "paths"),
    [("a/more", "../b", "a/more and .*/b"), ("b/more", "../a", "a and .*/b/more"), ("c", "a", "a and .*/c")],
)
def test_a_folder_of_two_classes_is_an_error(tmp_path: Path, link: str, target: str, paths: str) -> None:
    tree(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / link).symlink_to(target)
    with pytest.raises(DataError, match=rf"^{tmp_path}/{paths} are the same folder, in two classes or splits\. Remove"):
        scan(tmp_path, ["a", "b", "c"] if link == "c" else ["a", "b"])


def test_a_folder_of_two_splits_is_an_error(tmp_path: Path) -> None:
    tree(tmp_path, "train/a/1.jpg", "validation/b/1.jpg")
    (tmp_path / "validation" / "a").symlink_to("../train/a")
    roots = [tmp_path / "train", tmp_path / "validation"]
    walk = Walk(roots, Ignored())
    scan_with(roots[0], ["a"], walk)
    with pytest.raises(DataError, match=f"^{roots[0] / 'a'} and {roots[1] / 'a'} are the same folder"):
        scan_with(roots[1], ["a"], walk)


def test_a_folder_is_known_by_its_path_where_hosts_number_files_differently(tmp_path: Path) -> None:
    tree(tmp_path, "a/sub/1.jpg", "b/2.jpg")
    (tmp_path / "b" / "more").symlink_to("../a/sub")
    walks = [Walk([tmp_path], Ignored()) for _ in range(2)]
    scan_with(tmp_path, ["a"], walks[0])
    shutil.copytree(tmp_path / "a" / "sub", tmp_path / "copy")
    shutil.rmtree(tmp_path / "a" / "sub")
    (tmp_path / "copy").rename(tmp_path / "a" / "sub")
    scan_with(tmp_path, ["b"], walks[1])
    assert len(walks[0].folders.keys() & walks[1].folders.keys()) == 1


def test_class_folders_and_files_may_be_links(tmp_path: Path) -> None:
    tree(tmp_path, "store/n01/1.jpg", "store/n02/2.jpg", "images/c/3.jpg")
    (tmp_path / "images" / "a").symlink_to("../store/n01")
    (tmp_path / "images" / "b").symlink_to("../store/n02")
    (tmp_path / "images" / "c" / "4.jpg").symlink_to("../../store/n01/1.jpg")  # of another class: subsets are made so
    (tmp_path / "images" / "c" / "5.jpg").hardlink_to(tmp_path / "store" / "n02" / "2.jpg")
    listed = found(scan(tmp_path / "images", ["a", "b", "c"]))
    assert {path: label for path, (label, _, _) in listed.items()} == {
        "a/1.jpg": 1, "b/2.jpg": 2, "c/3.jpg": 3, "c/4.jpg": 3, "c/5.jpg": 3,
    }  # fmt: skip


def test_what_file_managers_leave_and_what_is_named_is_left_out_and_counted(tmp_path: Path) -> None:
    tree(tmp_path, "a/1.jpg", "a/THUMBS.DB", "a/.DS_Store", "a/sub/Desktop.ini", "a/lost+found/2.jpg", "a/sub/__MACOSX/._3.jpg")
    tree(tmp_path, "a/notes.txt", "a/old/4.jpg", "a/sub/old/5.jpg", "a/Notes.TXT.jpg", "a/thumbs.db.jpg")
    ignored = Ignored(("*.txt", "a/old"))
    listed = found(scan_with(tmp_path, ["a"], Walk([tmp_path], ignored)))
    assert listed.keys() == {"a/1.jpg", "a/sub/old/5.jpg", "a/Notes.TXT.jpg", "a/thumbs.db.jpg"}
    assert ignored.counts == {
        "Thumbs.db": 1, ".*": 1, "desktop.ini": 1, "lost+found": 1, "__MACOSX": 1, "*.txt": 1, "a/old": 1,
    }  # fmt: skip


def test_a_folder_named_like_an_image_is_listed_and_not_entered(tmp_path: Path) -> None:
    tree(tmp_path, "a/folder.JPEG/1.jpg", "a/2.jpg")
    assert found(scan(tmp_path, ["a"])).keys() == {"a/folder.JPEG", "a/2.jpg"}


def test_a_class_without_files_is_an_error(tmp_path: Path) -> None:
    tree(tmp_path, "a/1.jpg", "b/.hidden.jpg")
    with pytest.raises(DataError, match=rf"The class folder {tmp_path / 'b'} holds no images\. Add images, or remove"):
        scan(tmp_path, ["a", "b"])


def test_the_error_of_the_first_class_is_told(tmp_path: Path) -> None:
    tree(tmp_path, "a/.hidden.jpg", "b/sub/1.jpg")
    (tmp_path / "c").symlink_to("b/sub")
    with pytest.raises(DataError, match=rf"The class folder {tmp_path / 'a'} holds no images\."):
        scan(tmp_path, ["a", "b", "c"])


def test_links_are_listed_while_others_are_still_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, "elsewhere/1.jpg", "a/1.jpg")
    for number in range(1000):
        (tmp_path / "a" / f"{number}-link.jpg").symlink_to("../elsewhere/1.jpg")
    looked = []
    monkeypatch.setattr("shardtune.builder.listing._status", lambda entry: looked.append(entry) or entry.stat())
    seen = []
    table = scan_with(tmp_path, ["a"], Walk([tmp_path], Ignored()), heartbeat=lambda: seen.append(len(looked)))
    assert len(table) == 1001
    assert seen[0] < 1000


@given(st.data())
def test_any_files_can_be_taken_in_any_order(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.text(st.characters(codec="utf-8"), max_size=5), max_size=8))
    listing = listing_of(names, labels=range(len(names)), sizes=range(100, 100 + len(names)))
    indices = data.draw(st.lists(st.integers(0, len(names) - 1), max_size=8)) if names else []
    taken = listing.take(np.array(indices, np.int64))
    assert [taken.path(position) for position in range(len(taken))] == [names[index] for index in indices]
    assert taken.labels.tolist() == indices
    assert taken.sizes.tolist() == [100 + index for index in indices]


def test_tables_are_joined_in_their_order_and_not_kept_twice() -> None:
    tables = [listing_of(names, labels=labels) for names, labels in ((["a", "bc"], [1, 2]), ([], []), (["d"], [3]))]
    joined = FileTable.concatenate(tables)
    assert [(joined.path(index), joined.labels[index]) for index in range(len(joined))] == [("a", 1), ("bc", 2), ("d", 3)]
    assert not tables
