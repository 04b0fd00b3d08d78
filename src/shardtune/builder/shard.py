"""One shard, written whole or not at all."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import xxhash

from shardtune.builder import images
from shardtune.builder.duplicates import digest, placeholder_digest
from shardtune.builder.example import image_example
from shardtune.builder.listing import printable_path
from shardtune.builder.partition import ShardPlan
from shardtune.builder.receipts import ShardReceipt, digest_of_names
from shardtune.builder.tracker import BuildTracker
from shardtune.dataset.tfrecord import FOOTER_BYTES, frame
from shardtune.errors import DataError
from shardtune.runtime.files import atomic_write, sha256_file, xxh3_file


def write_shard(
    shard: ShardPlan, directory: Path, names: list[str], options: images.ImageOptions, account: BuildTracker
) -> ShardReceipt:
    """Write the file of one shard into `directory`. Images that cannot be stored are left out and reported.

    Raises:
        DataError: what can be read there is not what was written.
    """
    done = ShardReceipt(shard.split, shard.name)
    whole, quick = hashlib.sha256(), xxhash.xxh3_128()
    digests, crcs, stored = bytearray(), bytearray(), list[bytes]()
    with atomic_write(directory / shard.name) as file:
        for index in range(len(shard.sources)):
            path, label = shard.sources.path(index), int(shard.sources.labels[index])
            account.next_image(path, int(shard.sources.sizes[index]))
            place, data = shard.root / path, b""
            try:
                data = images.read_source(shard.root, path)
                image = images.convert(data, options)
            except images.RejectedError as error:
                reject = {"split": shard.split, "path": printable_path(path), "reason": error.code, "detail": error.detail}
                done.rejects.append(reject)
                done.rejected_at.append(index)
                account.rejected(reject)
            except Exception as error:  # ours or a decoder's: which image brings it out is what helps
                raise RuntimeError(f"{place}: {error!r}") from error
            else:
                record = frame(image_example(image, path, label, names[label - 1], shard.boxes.get(path, ())))
                file.write(record)
                whole.update(record)
                quick.update(record)
                done.offsets.append(done.bytes)
                crcs += record[-FOOTER_BYTES:]
                done.labels.append(label)
                stored.append(shard.sources.name(index))
                done.bytes += len(record)
                if image.reencoded:
                    done.reencoded[image.reencoded] = done.reencoded.get(image.reencoded, 0) + 1
            digests += digest(data) if data else placeholder_digest(place)
    done.sha256, done.digests, done.crcs, done.stored = whole.hexdigest(), digests.hex(), crcs.hex(), digest_of_names(stored)
    if xxh3_file(directory / shard.name) != quick.hexdigest():
        raise not_as_written(directory / shard.name)
    return done


@dataclass(frozen=True)
class Seal:
    """What tells at the end of a build that a shard still is what this rank wrote, or found finished.

    Attributes:
        modified: when it was, in nanoseconds.
    """

    path: Path
    bytes: int
    modified: int
    sha256: str

    @staticmethod
    def on(path: Path, shard: ShardReceipt) -> "Seal":
        """For a shard that was just written, or digested."""
        return Seal(path, shard.bytes, path.stat().st_mtime_ns, shard.sha256)

    @property
    def holds(self) -> bool:
        """Whether size and time are the same, or else the content is."""
        try:
            status = self.path.stat()
            return (status.st_size, status.st_mtime_ns) == (self.bytes, self.modified) or sha256_file(self.path) == self.sha256
        except FileNotFoundError:
            return False


def not_as_written(path: Path) -> DataError:
    """The error about a shard that somebody else, or the file system, has changed during the build."""
    return DataError(
        f"A shard stays as it was written, but {path} is not what this build wrote there: look for another job that writes "
        f"into this directory, and run the same command again."
    )
