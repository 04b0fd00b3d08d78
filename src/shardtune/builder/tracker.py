"""What all ranks do, as rank 0 hears of it while it writes its own shards: progress, and the shards that are finished."""

import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from shardtune.builder.receipts import Reject, ShardReceipt
from shardtune.runtime.progress import ProgressReporter
from shardtune.runtime.world import World

SECONDS_BETWEEN_REPORTS = 1.0
RANKS_TOLD = 4  # of those that were not heard of for longest, when a build is stopped


@dataclass(frozen=True)
class Report:
    """How far a rank is.

    Attributes:
        counts: "images" begun, their "bytes", those "rejected", and "reused": images in shards of an earlier attempt.
        path: the last image begun.
        rejects: the images rejected since its last report.
    """

    rank: int
    name: str
    counts: Counter[str]
    path: str
    rejects: list[Reject]


class BuildTracker:
    """To be used by every rank around its writing; rank 0 leaves it when every shard is in.

    Args:
        images: how many the whole build is to store.
        check: called on rank 0 with all rejects that it has heard of, whenever there are new ones. What it raises there ends
            the build.
    """

    def __init__(self, world: World, images: int, check: Callable[[list[Reject]], None]) -> None:
        self._world, self._check = world, check
        self._rejects: list[Reject] = []  # to report
        self._all_rejects: list[Reject] = []
        self._counts, self._path = Counter[str](), ""
        self._reported = time.monotonic()
        self._heard: dict[int, tuple[float, Report]] = {}
        self._shown = Counter[str]()
        self._bytes_untimed = 0  # of images before the clock last started
        self._progress = ProgressReporter(world, "images", images)
        self.shards: dict[str, ShardReceipt] = {}

    def __enter__(self) -> "BuildTracker":
        self._progress.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.__exit__(kind, error, trace)
        if isinstance(error, KeyboardInterrupt) and self._world.is_root:
            self._tell_where_all_were()

    def next_image(self, path: str, size: int) -> None:
        self._path = path
        self._world.guard.heartbeat(f"at {path}")
        self._counts.update(images=1, bytes=size)
        if time.monotonic() - self._reported >= SECONDS_BETWEEN_REPORTS:
            self._report()

    def rejected(self, reject: Reject) -> None:
        self._counts["rejected"] += 1
        self._rejects.append(reject)
        self._report()  # at once: it may be one too many

    def finished(self, shard: ShardReceipt, *, reused: bool) -> None:
        """Send the account of a shard that is in place to rank 0."""
        if reused:
            self._counts.update(reused=len(shard.offsets) + len(shard.rejects), rejected=len(shard.rejects))
            self._rejects += shard.rejects
        self._report()  # first: rank 0 stops listening after the last shard
        self._world.send_to_root(shard)

    def wait(self, shards: int) -> None:
        """On rank 0: listen until so many shards are in. On the others: nothing."""
        while self._world.is_root and len(self.shards) < shards:
            if self._listen():
                self._world.guard.heartbeat("waiting for the shards of other ranks", phase=1)
            time.sleep(0.01)

    def _report(self) -> None:
        self._reported = time.monotonic()
        self._world.send_to_root(Report(self._world.rank, self._world.name, self._counts.copy(), self._path, self._rejects))
        self._rejects = []
        if self._world.is_root:
            self._listen()

    def _listen(self) -> bool:
        news = self._world.receive_pending()
        for message in news:
            if isinstance(message, ShardReceipt):
                self.shards[message.name] = message
            else:
                self._heard[message.rank] = time.monotonic(), message
                self._all_rejects += message.rejects
        if news:
            self._show()
            self._check(self._all_rejects)
        return bool(news)

    def _show(self) -> None:
        counts = sum((report.counts for _, report in self._heard.values()), Counter[str]())
        new = counts - self._shown
        self._shown = counts
        rejected = f"{counts['rejected']} rejected"
        if new["reused"]:
            self._progress.advance_untimed(new["reused"], rejected)
            self._bytes_untimed = counts["bytes"] - new["bytes"]
        if new["images"]:
            speed = (counts["bytes"] - self._bytes_untimed) / 1e6 / self._progress.seconds
            self._progress.advance(f"{rejected}, {speed:.1f} MB/s", new["images"])

    def _tell_where_all_were(self) -> None:
        """If a rank was killed, its launcher stops the others: then this says at which image it was."""
        now = time.monotonic()
        for heard, report in sorted(self._heard.values(), key=lambda each: each[0])[:RANKS_TOLD]:
            print(f"{report.name} was at {report.path} {now - heard:.0f} s ago", file=sys.stderr, flush=True)
