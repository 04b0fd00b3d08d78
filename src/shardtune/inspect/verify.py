"""`shardtune verify`: find every byte of a data set that has changed since it was built. Each rank checks some shards.

One sequential read checks the SHA-256 of a shard. Only where it differs, each record is checked, to report where.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

from shardtune.dataset.columns import RecordIndex
from shardtune.dataset.example import decode_example, source_path
from shardtune.dataset.integrity import check_metadata_files, load_record_index_by_shard
from shardtune.dataset.manifest import Manifest, Shard
from shardtune.dataset.splits import SPLITS
from shardtune.dataset.tfrecord import FOOTER_BYTES, HEADER_BYTES, data_length, stored_crc, unframe
from shardtune.errors import DataError
from shardtune.inspect.config import VerifyConfig
from shardtune.runtime.balance import balance
from shardtune.runtime.files import list_matching, sha256_file
from shardtune.runtime.progress import ProgressReporter, print_on_root
from shardtune.runtime.world import World


def verify(config: VerifyConfig, world: World) -> None:
    """Compare a data directory with its manifest.

    Raises:
        DataError: something differs, with a line for each finding; or there is no manifest, or it was edited.
    """
    directory = config.data_dir
    world.guard.set_timeout(config.hang_timeout)
    manifest = world.broadcast_from_root(lambda: Manifest.load(directory))
    shards = manifest.shards
    records = cache(lambda: load_record_index_by_shard(directory, manifest))  # read only if a shard is wrong
    shards_by_rank = balance([shard.bytes for shard in shards], world.size)
    own_shards = shards_by_rank[world.rank]
    own_findings: dict[int, list[str]] = {}
    with ProgressReporter(world, "shards", len(shards)) as progress:
        for turn in range(max(map(len, shards_by_rank))):
            for i in own_shards[turn : turn + 1]:
                world.guard.heartbeat(f"at {shards[i].name}")
                own_findings[i] = check_shard(directory, manifest, i, records)
            world.barrier()  # the barrier tells a rank that the slower ones make progress
            progress.advance(count=sum(turn < len(indices) for indices in shards_by_rank))
    findings = {i: lines for by_shard in world.allgather(own_findings) for i, lines in by_shard.items()}
    in_shards = [line for i in range(len(shards)) for line in findings[i]]
    world.broadcast_from_root(lambda: _raise_if_any(directory, in_shards + check_other_files(directory, manifest)))
    print_on_root(
        world, f"Verified {sum(shard.examples for shard in shards)} examples in {len(shards)} shards: all as written."
    )


def check_shard(directory: Path, manifest: Manifest, number: int, records: Callable[[], list[RecordIndex] | None]) -> list[str]:
    """Findings about one shard: none if its digest is right, else at least one.

    Args:
        number: of the shard in the manifest.
        records: called only if the digest is wrong, returns those of each shard; without them, the check ends at the first
            record whose length is damaged.
    """
    shard = manifest.shards[number]
    path = directory / shard.name
    if not path.is_file():
        return [f"{shard.name}: is missing"]
    try:
        digest = sha256_file(path)
        if digest == shard.sha256:
            return []
        same = [other.name for other in manifest.shards if other.sha256 == digest and other.bytes]
        if same:
            return [f"{shard.name}: has the bytes of {same[0]}"]
        by_shard = records()
        return [f"{shard.name}: {finding}" for finding in _check_records(path, shard, by_shard[number] if by_shard else None)]
    except OSError as error:
        return [f"{shard.name}: cannot be read ({error.strerror})"]


def check_other_files(directory: Path, manifest: Manifest) -> list[str]:
    """Findings about the labels, the record index and the reports, and about shards that the manifest does not list."""
    present = {path.name for split in SPLITS for path in list_matching(directory, f"{split}-?????-of-?????")}
    extra = sorted(present - {shard.name for shard in manifest.shards})
    return check_metadata_files(directory, manifest) + [f"{name}: is not a shard of this data set" for name in extra]


def _check_records(path: Path, shard: Shard, records: RecordIndex | None) -> list[str]:
    """Findings about the records of a shard whose digest is wrong: at least one."""
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
                    raise ValueError("its CRC matches, but it is not the record that was written")
            except ValueError as error:
                findings.append(f"record {number} at byte {start}{_describe_image(record)}: {error}")
    return findings or ["the CRC of every record matches, but they are not the records that were written"]


def _bounds_by_length(file: int, size: int) -> Iterator[tuple[int, int]]:
    """Start and end of each record, from its length. A damaged length ends the search: its record is the last, cut to it."""
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


def _describe_image(record: bytes) -> str:
    """The image of a damaged record for a message, or "" if it cannot be read."""
    try:
        return f" (image {source_path(decode_example(record[HEADER_BYTES:-FOOTER_BYTES]))!r})"
    except (ValueError, LookupError, AttributeError):  # not an Example, or one without a name, or one whose name is a number
        return ""


def _raise_if_any(directory: Path, findings: list[str]) -> None:
    if findings:
        raise DataError(
            f"{directory} has changed since it was built.",
            "Restore the files listed here from a copy, or remove them and run the same shardtune build again.\n"
            + "\n".join(findings),
        )
