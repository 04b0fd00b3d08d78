"""Collect the progress of all ranks, and the receipts of finished shards, on rank 0 while it writes its own shards."""

import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from shardtune.builder.receipts import Reject, ShardReceipt
from shardtune.runtime.progress import ProgressReporter, print_on_root
from shardtune.runtime.world import World

SECONDS_BETWEEN_REPORTS = 1.0
MAX_RANKS_LISTED = 4  # the ranks that have been silent for longest, when a build is stopped


@dataclass(frozen=True)
class RankProgress:
    """How far a rank is.

    Attributes:
        counts: numbers of "images" that it has started, of their "bytes", of images "rejected", and of images "reused", that
            is, in shards of an earlier attempt.
        path: the last image that it has started.
        rejects: the images rejected since its last report.
    """

    rank: int
    name: str
    counts: Counter[str]
    path: str
    rejects: list[Reject]


class BuildTracker:
    """A context around the writing of shards, on every rank. Rank 0 leaves it when all receipts have arrived.

    Args:
        images: how many images the whole build is to store.
        check: called on rank 0 with all rejects that it knows, whenever messages arrive. An exception that it raises ends the
            build.

    Attributes:
        receipts: on rank 0, the receipts that have arrived, by name of the shard.
    """

    def __init__(self, world: World, images: int, check: Callable[[list[Reject]], None]) -> None:
        self._world, self._check = world, check
        self._unreported_rejects: list[Reject] = []
        self._all_rejects: list[Reject] = []
        self._counts, self._path = Counter[str](), ""
        self._reported = time.monotonic()
        self._last_reports: dict[int, tuple[float, RankProgress]] = {}  # time of arrival and report, by rank
        self._displayed = Counter[str]()
        self._bytes_untimed = 0  # of images before the clock last started
        self._progress = ProgressReporter(world, "images", images)
        self.receipts: dict[str, ShardReceipt] = {}

    def __enter__(self) -> "BuildTracker":
        self._progress.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.__exit__(kind, error, trace)
        if isinstance(error, KeyboardInterrupt) and self._world.is_root:
            self._print_last_positions()

    def image_started(self, path: str, size: int) -> None:
        """Count an image; `size` is that of its file in bytes."""
        self._path = path
        self._world.guard.heartbeat(f"at {path}")
        self._counts.update(images=1, bytes=size)
        if time.monotonic() - self._reported >= SECONDS_BETWEEN_REPORTS:
            self._report()

    def image_rejected(self, reject: Reject) -> None:
        self._counts["rejected"] += 1
        self._unreported_rejects.append(reject)
        self._report()  # at once, because it may be one too many

    def shard_finished(self, receipt: ShardReceipt, *, reused: bool) -> None:
        """Send the receipt of a finished shard to rank 0.

        Args:
            reused: an earlier attempt wrote the shard.
        """
        if reused:
            self._counts.update(reused=len(receipt.offsets) + len(receipt.rejects), rejected=len(receipt.rejects))
            self._unreported_rejects += receipt.rejects
        self._report()  # before the receipt, because rank 0 stops receiving after the last one
        self._world.send_to_root(receipt)

    def wait_for_shards(self, shards: int) -> None:
        """On rank 0, receive until the receipts of this many shards have arrived. On other ranks, do nothing."""
        while self._world.is_root and len(self.receipts) < shards:
            if self._receive():
                self._world.guard.heartbeat("waiting for the shards of other ranks", phase=1)
            time.sleep(0.01)

    def _report(self) -> None:
        self._reported = time.monotonic()
        world, rejects = self._world, self._unreported_rejects
        world.send_to_root(RankProgress(world.rank, world.name, self._counts.copy(), self._path, rejects))
        self._unreported_rejects = []
        if world.is_root:
            self._receive()

    def _receive(self) -> bool:
        """Process the messages that have arrived. Returns whether there were any."""
        messages = self._world.receive_pending()
        for message in messages:
            if isinstance(message, ShardReceipt):
                self.receipts[message.name] = message
            else:
                self._last_reports[message.rank] = time.monotonic(), message
                self._all_rejects += message.rejects
        if messages:
            self._display()
            self._check(self._all_rejects)
        return bool(messages)

    def _display(self) -> None:
        counts = sum((report.counts for _, report in self._last_reports.values()), Counter[str]())
        new = counts - self._displayed
        self._displayed = counts
        rejected = f"{counts['rejected']} rejected"
        if new["reused"]:
            self._progress.advance_untimed(new["reused"], rejected)
            self._bytes_untimed = counts["bytes"] - new["bytes"]
        if new["images"]:
            speed = (counts["bytes"] - self._bytes_untimed) / 1e6 / self._progress.seconds
            self._progress.advance(f"{rejected}, {speed:.1f} MB/s", new["images"])

    def _print_last_positions(self) -> None:
        """Print at which image the silent ranks were: if one was killed, its launcher has stopped all others."""
        now = time.monotonic()
        for arrived, report in sorted(self._last_reports.values(), key=lambda each: each[0])[:MAX_RANKS_LISTED]:
            print_on_root(self._world, f"{report.name} was at {report.path} {now - arrived:.0f} s ago", sys.stderr)
