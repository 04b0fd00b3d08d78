"""Write one shard, completely or not at all."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import xxhash

from shardtune.builder.duplicates import digest, placeholder_digest
from shardtune.builder.example import image_example
from shardtune.builder.listing import printable_path
from shardtune.builder.partition import ShardPlan
from shardtune.builder.receipts import Reject, ShardReceipt, hash_names
from shardtune.builder.sources import SourceReader
from shardtune.builder.tracker import BuildTracker
from shardtune.dataset.tfrecord import FOOTER_BYTES, frame
from shardtune.errors import DataError
from shardtune.images.pixels import ImageOptions
from shardtune.images.source import RejectedError
from shardtune.images.stored import to_stored_image
from shardtune.runtime.files import atomic_write, sha256_file, xxh3_file


def write_shard(
    shard: ShardPlan,
    directory: Path,
    names: list[str],
    words: list[str],
    options: ImageOptions,
    sources: SourceReader,
    tracker: BuildTracker,
    sha256: str | None = None,
) -> ShardReceipt:
    """Write the file of one shard into `directory`. Images that cannot be stored are left out and reported to `tracker`.

    Args:
        names: class names.
        words: what people call each class; empty if that is not known.
        sources: its next files are those of this shard.
        sha256: the digest that the file must have; None: any.

    Raises:
        OtherShardError: the file would have another digest; it is as before then.
        DataError: the file, read again, is not what was written.
    """
    receipt = ShardReceipt(shard.split, shard.name)
    shard_digest, fast_digest = hashlib.sha256(), xxhash.xxh3_128()
    digests, crcs, stored = bytearray(), bytearray(), list[bytes]()
    with atomic_write(directory / shard.name) as file:
        for index in range(len(shard.sources)):
            path, label = shard.sources.path(index), int(shard.sources.labels[index])
            tracker.image_started(path, int(shard.sources.sizes[index]))
            source_path, data = shard.root / path, b""
            try:
                data = sources.read(shard.root, path)
                image = to_stored_image(data, options)
            except RejectedError as error:
                reject = Reject(split=shard.split, path=printable_path(path), reason=error.code, detail=error.detail)
                receipt.rejects.append(reject)
                receipt.rejected_at.append(index)
                tracker.image_rejected(reject)
            except Exception as error:  # a bug here or in a decoder: name the image that shows it
                raise RuntimeError(f"{source_path}: {error!r}") from error
            else:
                name, called = names[label - 1], words[label - 1] if words else ""
                record = frame(image_example(image, path, label, name, called, shard.boxes.get(path, ())))
                file.write(record)
                shard_digest.update(record)
                fast_digest.update(record)
                receipt.offsets.append(receipt.bytes)
                receipt.bytes += len(record)
                receipt.labels.append(label)
                if image.reencoded:
                    receipt.reencoded[image.reencoded] = receipt.reencoded.get(image.reencoded, 0) + 1
                crcs += record[-FOOTER_BYTES:]
                stored.append(shard.sources.name(index))
            digests += digest(data) if data else placeholder_digest(source_path)
        receipt.sha256, receipt.digests, receipt.crcs = shard_digest.hexdigest(), bytes(digests), bytes(crcs)
        receipt.stored = hash_names(stored)
        if sha256 not in (None, receipt.sha256):
            raise OtherShardError(receipt)
    if xxh3_file(directory / shard.name) != fast_digest.hexdigest():
        raise shard_overwritten_error(directory / shard.name)
    return receipt


class OtherShardError(Exception):
    """A shard has another digest than it must have; with the receipt that it would get."""

    def __init__(self, receipt: ShardReceipt) -> None:
        super().__init__(receipt.name)
        self.receipt = receipt


@dataclass(frozen=True)
class ShardStamp:
    """Size, time and digest of a finished shard's file, by which a change of it is found at the end of a build.

    Attributes:
        modified: modification time in nanoseconds.
    """

    path: Path
    bytes: int
    modified: int
    sha256: str

    @staticmethod
    def of(path: Path, receipt: ShardReceipt) -> "ShardStamp":
        """The stamp of a shard that was just written, or just compared with its receipt."""
        return ShardStamp(path, receipt.bytes, path.stat().st_mtime_ns, receipt.sha256)

    def is_unchanged(self) -> bool:
        """Whether the file has the same size and time, or else the same content."""
        try:
            status = self.path.stat()
            return (status.st_size, status.st_mtime_ns) == (self.bytes, self.modified) or sha256_file(self.path) == self.sha256
        except FileNotFoundError:
            return False


def shard_overwritten_error(path: Path) -> DataError:
    """The error about a shard that another job, or the file system, changed during the build."""
    return DataError(
        f"{path} is not what this build wrote there.",
        "Look for another job that writes into this directory, then run the same command again.",
    )
