"""build --dry_run."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shardtune.builder.config import BuildConfig
from shardtune.builder.preview import preview
from shardtune.dataset.manifest import MANIFEST_NAME
from shardtune.errors import DataError, UsageError
from shardtune.runtime.world import World
from tests.builder.builds import made


def everything(directory: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Inode, time, size and content of all that is below a directory."""
    return {
        str(path): (s.st_ino, s.st_mtime_ns, s.st_size, path.read_bytes() if path.is_file() else b"")
        for path in sorted(directory.rglob("*"))
        for s in [path.lstat()]
    }


def previewed(images: Path, output: Path, **options: Any) -> None:
    shards = {"train_shards": 4, "validation_shards": 2, "test_shards": 1}
    preview(BuildConfig(images, output_directory=output, **{**shards, **options}), World())


def test_a_dry_run_says_what_a_build_would_do_and_writes_nothing(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "red" / "Thumbs.db").write_bytes(b"junk")
    (images / "red" / "twin.jpg").write_bytes((images / "red" / "red-00.jpg").read_bytes())
    before = everything(tmp_path)
    output = tmp_path / "not" / "there"
    options = {"validation_fraction": 1 / 3, "test_fraction": 0.1, "duplicates": "skip"}
    previewed(images, output, **options)
    assert everything(tmp_path) == before
    lines = capsys.readouterr().out.splitlines()
    manifest = made(images, output, **options, train_shards=4, test_shards=1)
    counts = manifest.class_counts
    assert f"Classes: 3, of {min(counts['train'])} to {max(counts['train'])} training images." in lines
    for number, name in enumerate(manifest.labels):
        assert f"  {name}: {', '.join(f'{of[number]} {split}' for split, of in counts.items())}" in lines
    for split, shards in manifest.splits.items():
        sizes = [shard.examples for shard in shards]
        [line] = [line for line in lines if line.startswith(f"The {split} split: {sum(sizes)} images of ")]
        assert f" in {len(sizes)} shards of {min(sizes)} to {max(sizes)}" in line
    assert sum("; 1 more are identical to others and left out." in line for line in lines) == 1
    assert "Ignored: 1 Thumbs.db." in lines
    assert any(line.startswith("Ranks: 1, of 7 to 7 shards and ") for line in lines)
    assert any(line.startswith("Space: about ") and line.endswith(" are free.") for line in lines)
    assert re.fullmatch(r"Longest path: green/green-0\d\.jpg \(18 bytes\); longest class: green\.", lines[-2])
    assert lines[-1] == "Nothing was written, and no image was decoded."


@pytest.mark.parametrize(
    ("finished", "overwrite", "state"),
    [
        (True, False, "a finished data set, which a build of the same input leaves as it is; another needs --overwrite."),
        (True, True, "a finished data set, which is replaced."),
        (False, True, "a build that has not finished: a build of the same input resumes it."),
    ],
)
def test_a_dry_run_leaves_what_is_there_and_says_what_becomes_of_it(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], finished: bool, overwrite: bool, state: str
) -> None:
    data = tmp_path / "data"
    made(images, data, validation_fraction=0.2)
    if not finished:
        (data / MANIFEST_NAME).unlink()
    before = everything(tmp_path)
    capsys.readouterr()
    previewed(images, data, validation_fraction=0.2, train_shards=3, overwrite=overwrite)
    assert everything(tmp_path) == before
    lines = capsys.readouterr().out.splitlines()
    assert not [line for line in lines if line.startswith("digests ")]  # no image is read again
    assert f"{data} holds {state}" in lines
    [space] = [line for line in lines if line.startswith("Space: about ")]
    assert ("about 0 bytes to write" in space) == (state.startswith("a build") or not overwrite)


def test_a_dry_run_finds_what_is_wrong(images: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is too many for the 18 images"):
        previewed(images, tmp_path / "data", validation_examples=17)


def test_a_build_is_no_dry_run(images: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Call preview"):
        made(images, tmp_path / "data", dry_run=True)
    assert not (tmp_path / "data").exists()


def test_too_little_space_is_said(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    previewed(images, tmp_path / "data")
    assert "; 1.0 kB are free. That is not enough." in capsys.readouterr().out


def test_the_command_has_a_dry_run(images: Path, tmp_path: Path) -> None:
    words = ["build", "--dry_run", "--train_directory", str(images), "--output_directory", str(tmp_path / "data")]
    done = subprocess.run([sys.executable, "-m", "shardtune", *words], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("Nothing was written, and no image was decoded.\n")
    assert not (tmp_path / "data").exists()
