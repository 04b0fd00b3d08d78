import os
from pathlib import Path

from shardtune.builder.listing import Walk, scan
from shardtune.builder.sources import Kept, SourceReader
from shardtune.images.ignored import Ignored
from shardtune.images.source import RejectedError


def test_what_was_read_before_is_used_while_the_file_is_as_it_was_listed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    paths = [f"a/{name}" for name in ("same", "longer", "later", "removed", "not-kept")]
    for path in paths:
        (tmp_path / path).write_bytes(b"old")
    table = scan(tmp_path, ["a"], Walk([tmp_path], Ignored()))
    kept: Kept = {(tmp_path, path): b"kep" for path in paths[:4]}
    for path in paths[1:3]:
        status = (tmp_path / path).stat()
        (tmp_path / path).write_bytes(b"longer" if path == "a/longer" else b"new")
        os.utime(tmp_path / path, ns=(0, status.st_mtime_ns + (path == "a/later")))
    (tmp_path / "a" / "removed").unlink()
    found = dict[str, bytes | str]()
    with SourceReader([(tmp_path, table)], kept) as sources:
        for index in range(len(table)):
            try:
                found[table.path(index)] = sources.read(tmp_path, table.path(index))
            except RejectedError as error:
                found[table.path(index)] = error.detail
    assert found == {
        "a/same": b"kep", "a/longer": b"longer", "a/later": b"new", "a/removed": "no such file", "a/not-kept": b"old",
    }  # fmt: skip
