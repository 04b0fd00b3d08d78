import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardtune.build.listing import Listing, scan
from shardtune.errors import DataError
from tests.listings import listing_of


def tree(directory: Path, *paths: str) -> Path:
    """Files of these relative paths, the first of 1 byte, the second of 2, and so on; their times in seconds are the same."""
    for size, path in enumerate(paths, start=1):
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(b"x" * size)
        os.utime(directory / path, (size, size))
    return directory


def found(listing: Listing) -> dict[str, tuple[int, int, int]]:
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


def test_a_folder_named_like_an_image_is_listed_and_not_entered(tmp_path: Path) -> None:
    tree(tmp_path, "a/folder.JPEG/1.jpg", "a/2.jpg")
    assert found(scan(tmp_path, ["a"])).keys() == {"a/folder.JPEG", "a/2.jpg"}


def test_a_class_without_files_is_an_error(tmp_path: Path) -> None:
    tree(tmp_path, "a/1.jpg", "b/.hidden.jpg")
    with pytest.raises(DataError, match=f"but {tmp_path / 'b'} is empty: add images or remove it"):
        scan(tmp_path, ["a", "b"])


@given(st.data())
def test_any_files_can_be_taken_in_any_order(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.text(st.characters(codec="utf-8"), max_size=5), max_size=8))
    listing = listing_of(names, labels=range(len(names)), sizes=range(100, 100 + len(names)))
    indices = data.draw(st.lists(st.integers(0, len(names) - 1), max_size=8)) if names else []
    taken = listing.take(np.array(indices, np.int64))
    assert [taken.path(position) for position in range(len(taken))] == [names[index] for index in indices]
    assert taken.labels.tolist() == indices
    assert taken.sizes.tolist() == [100 + index for index in indices]
