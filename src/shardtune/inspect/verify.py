"""`shardtune verify`: is every byte of a data set as it was written? The ranks share out the shards.

One sequential read for SHA-256 settles a shard. Only one that fails is walked record by record, to say where.
"""

import os
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

from shardtune.dataset.example import decode_example, source_path
from shardtune.dataset.integrity import check_metadata_files, load_record_index_by_shard
from shardtune.dataset.manifest import SPLITS, Manifest, RecordIndex, Shard
from shardtune.dataset.tfrecord import FOOTER_BYTES, HEADER_BYTES, data_length, stored_crc, unframe
from shardtune.errors import DataError
from shardtune.inspect.config import VerifyConfig
from shardtune.runtime.balance import balance
from shardtune.runtime.files import sha256_file
from shardtune.runtime.progress import ProgressReporter, print_on_root
from shardtune.runtime.world import World


def verify(config: VerifyConfig, world: World) -> None:
    """Compare a data directory with its manifest.

    Raises:
        DataError: something differs: a line for each finding follows the sentence. Or there is no manifest, or it was edited.
    """
    directory = config.data_dir
    world.guard.set_timeout(config.hang_timeout)
    manifest = world.broadcast_from_root(lambda: Manifest.load(directory))
    shards = manifest.shards
    records = load_record_index_by_shard(directory, manifest)
    shares = balance([shard.bytes for shard in shards], world.size)
    found: dict[int, list[str]] = {}
    with ProgressReporter(world, "shards", len(shards)) as progress:
        for number in range(max(map(len, shares))):
            for i in shares[world.rank][number : number + 1]:
                world.guard.heartbeat(f"at {shards[i].name}")
                found[i] = check_shard(directory, manifest, shards[i], None if records is None else records[i])
            world.barrier()  # a rank that waits for a slow one hears that it gets on
            progress.advance(count=sum(number < len(share) for share in shares))
    everything = {i: findings for part in world.allgather(found) for i, findings in part.items()}
    in_shards = [finding for i in range(len(shards)) for finding in everything[i]]
    world.broadcast_from_root(lambda: _require_none(directory, in_shards + check_other_files(directory, manifest)))
    print_on_root(
        world, f"Verified {sum(shard.examples for shard in shards)} examples in {len(shards)} shards: all as written."
    )


def check_shard(directory: Path, manifest: Manifest, shard: Shard, records: RecordIndex | None) -> list[str]:
    """What is wrong with one shard: nothing if its digest is right, else at least one finding.

    Args:
        records: of the shard; without them, the walk ends where a record's length is damaged.
    """
    path = directory / shard.name
    if not path.is_file():
        return [f"{shard.name}: is missing"]
    try:
        digest = sha256_file(path)
        if digest == shard.sha256:
            return []
        held = [other.name for other in manifest.shards if other.sha256 == digest and other.bytes]
        if held:
            return [f"{shard.name}: holds the bytes of {held[0]}"]
        return [f"{shard.name}: {finding}" for finding in _walk(path, shard, records)]
    except OSError as error:
        return [f"{shard.name}: cannot be read ({error.strerror})"]


def check_other_files(directory: Path, manifest: Manifest) -> list[str]:
    """What is wrong beside the shards of the manifest: labels, records, reports, and shards that it does not list."""
    present = {path.name for split in SPLITS for path in directory.glob(f"{split}-?????-of-?????")}
    extra = sorted(present - {shard.name for shard in manifest.shards})
    return check_metadata_files(directory, manifest) + [f"{name}: is no shard of this data set" for name in extra]


def _walk(path: Path, shard: Shard, records: RecordIndex | None) -> list[str]:
    """What is wrong with the records of a shard whose digest is wrong: at least one finding."""
    findings = []
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if size != shard.bytes:
            findings.append(f"has {size} bytes instead of {shard.bytes}")
        bounds: Iterable[tuple[int, int]]
        if records is None:
            bounds = _bounds_by_length(file.fileno(), size)
        else:
            bounds = pairwise([*records["start"].tolist(), shard.bytes])
        for number, (start, end) in enumerate(bounds):
            if start >= size:
                findings.append(f"ends before record {number} of {shard.examples} at byte {start}")
                break
            record = os.pread(file.fileno(), min(end, size) - start, start)
            try:
                unframe(record)
                if records is not None and stored_crc(record) != records["crc"][number]:
                    raise ValueError("it passes its CRC, but is not the one that was written")
            except ValueError as error:
                findings.append(f"record {number} at byte {start}{_image(record)}: {error}")
    return findings or ["each record passes its CRC, but they are not those that were written"]


def _bounds_by_length(file: int, size: int) -> Iterator[tuple[int, int]]:
    """Start and end of each record, by its length; of the first record whose length is damaged, only that: it is the last."""
    start = 0
    while start < size:
        header = os.pread(file, HEADER_BYTES, start)
        try:
            end = start + HEADER_BYTES + data_length(header) + FOOTER_BYTES
        except ValueError:
            yield start, start + HEADER_BYTES
            return
        yield start, end
        start = end


def _image(record: bytes) -> str:
    """Which image a damaged record holds, as far as it can be told."""
    try:
        return f" (image {source_path(decode_example(record[HEADER_BYTES:-FOOTER_BYTES]))!r})"
    except (ValueError, LookupError, AttributeError):  # no Example, one without a name, or one whose name is a number
        return ""


def _require_none(directory: Path, findings: list[str]) -> None:
    if findings:
        raise DataError(
            f"A data set stays as it was written, but {directory} did not: restore from a copy what is named here, or "
            "remove it and give the same shardtune build again, which writes it anew.\n" + "\n".join(findings)
        )
