"""What disturbed builds are held against: the same build, undisturbed."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shardtune.builder.builder import build
from shardtune.builder.config import BuildConfig
from shardtune.builder.receipts import RECEIPTS_NAME, load_receipt
from shardtune.dataset.manifest import MANIFEST_NAME, WORK_NAME, Manifest
from shardtune.runtime.files import sha256_file
from shardtune.runtime.world import World
from tests.records import contents

Identity = tuple[int, int]  # inode and time of writing


@dataclass(frozen=True)
class Reference:
    """What to build, and the files that this gives."""

    images: Path
    options: dict[str, Any]
    files: dict[str, bytes]

    @staticmethod
    def of(images: Path, output: Path, **options: Any) -> "Reference":
        build(BuildConfig(images, output_directory=output, **options), World())
        return Reference(images, options, contents(output))

    def build_again(self, output: Path) -> None:
        """In this process, where no fault is."""
        build(BuildConfig(self.images, output_directory=output, **self.options), World())

    def command(self, output: Path) -> list[str]:
        flags = {"train_directory": self.images, "output_directory": output, **self.options}
        words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        return [sys.executable, "-m", "shardtune", "build", *words]

    def finished_shards(self, output: Path) -> dict[str, Identity]:
        """The shards that a build need not write again, after a check of all that it must hold to however it ended.

        A file that has its final name is what an undisturbed build writes, and beside a manifest no such file is missing.
        """
        left = {name: data for name, data in contents(output).items() if name[0] != "."} if output.exists() else {}
        wrong = [name for name, data in left.items() if data != self.files.get(name)]
        assert not wrong, f"{wrong} are not what an undisturbed build writes"
        if MANIFEST_NAME in left:
            assert left.keys() == self.files.keys()
            manifest = Manifest.load(output)
            return identities(output, [shard.name for shard in manifest.shards])
        paths = (output / WORK_NAME / RECEIPTS_NAME).glob("[!.]*.json")
        receipts = {path.stem: load_receipt(output, path.stem) for path in paths}
        for name, receipt in receipts.items():
            assert receipt is not None
            assert receipt.sha256 == sha256_file(output / name)
        return identities(output, receipts)


def identities(output: Path, names: Any) -> dict[str, Identity]:
    status = {name: (output / name).stat() for name in names}
    return {name: (s.st_ino, s.st_mtime_ns) for name, s in status.items()}
